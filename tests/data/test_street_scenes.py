import itertools

import numpy as np
import pytest

from keras_i2i.data import street_scenes
from keras_i2i.data.examples import IGNORED
from keras_i2i.data.street_scenes import (
    CLASS_NAMES,
    DAYLIGHT,
    HEIGHT,
    NIGHT,
    NIGHT_STREETS,
    RENDERED_STREETS,
    ROLES,
    WIDTH,
    Part,
    Scene,
    compose,
    render,
)

LOOKS = {"daylight": DAYLIGHT, "night": NIGHT}
COUNT = 40


@pytest.fixture(scope="module")
def streets():
    """The same scenes in both looks."""
    return {name: render(look, COUNT, seed=7) for name, look in LOOKS.items()}


def class_means(examples):
    """The mean color of each class: (classes, 3)."""
    return np.stack([examples.images[examples.labels == k].mean(axis=0) for k in range(8)])


@pytest.mark.parametrize("look", LOOKS)
def test_shapes(streets, look):
    examples = streets[look]
    assert examples.images.shape == (COUNT, 96, 128, 3) == (COUNT, HEIGHT, WIDTH, 3)
    assert examples.images.dtype == examples.labels.dtype == np.uint8
    assert examples.has_masks and examples.channels == 3
    assert examples.images.min() < 30 and examples.images.max() == 255


def test_a_scene_has_one_mask_and_two_looks(streets):
    daylight, night = streets.values()
    np.testing.assert_array_equal(daylight.labels, night.labels)
    assert (daylight.images != night.images).mean() > 0.9


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_same_seed_same_bits_other_seed_others(look):
    first, again, other = (render(look, 3, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert all((a != b).any() for a, b in zip(first.labels, other.labels, strict=True))
    # An image does not depend on how many there are.
    np.testing.assert_array_equal(render(look, 2, 4).images, first.images[:2])


def test_every_scene_is_another(streets):
    masks = streets["daylight"].labels
    agreement = [(a == b).mean() for a, b in itertools.combinations(masks[:20], 2)]
    assert max(agreement) < 0.95
    # Streets are alike, though: road is below, sky above.
    assert 0.4 < np.mean(agreement) < 0.8


def test_every_class_has_its_share(streets):
    masks = streets["daylight"].labels
    counts = np.bincount(masks.ravel(), minlength=256)
    assert set(np.flatnonzero(counts)) == {*range(len(CLASS_NAMES)), IGNORED}
    shares = dict(zip(CLASS_NAMES, counts / masks.size, strict=False))
    for name, (low, high) in {
        "road": (0.25, 0.45),
        "sidewalk": (0.03, 0.15),
        "building": (0.15, 0.35),
        "pole": (0.01, 0.04),
        "vegetation": (0.04, 0.2),
        "sky": (0.08, 0.25),
        "person": (0.003, 0.03),
        "car": (0.04, 0.15),
    }.items():
        assert low < shares[name] < high, name
        appears = (masks == CLASS_NAMES.index(name)).any(axis=(1, 2)).mean()
        assert appears > 0.6, name


def test_only_the_hood_is_ignored(streets):
    ignored = streets["daylight"].labels == IGNORED
    assert 0.002 < ignored.mean() < 0.03
    assert 0.2 < ignored.any(axis=(1, 2)).mean() < 0.6, "in some images"
    assert not ignored[:, : HEIGHT - 12].any(), "at the lower rim"


def test_classes_differ_in_color_by_day(streets):
    means = class_means(streets["daylight"])
    for (a, first), (b, second) in itertools.combinations(enumerate(means), 2):
        difference = np.abs(first - second).max()
        assert difference > 8, (CLASS_NAMES[a], CLASS_NAMES[b])
    sky, green = (means[CLASS_NAMES.index(name)] for name in ("sky", "vegetation"))
    assert sky.argmax() == 2 and green.argmax() == 1


def test_a_mask_lies_on_its_image(streets):
    """Where the mask changes, so does the image; moved by two pixels it fits less well."""
    images = streets["daylight"].images.astype(float)
    masks = streets["daylight"].labels
    steps = np.abs(np.diff(images, axis=2)).mean(axis=-1)
    borders = np.diff(masks.astype(int), axis=2) != 0
    fit = {shift: steps[np.roll(borders, shift, axis=2)].mean() for shift in (-2, -1, 0, 1, 2)}
    assert max(fit, key=fit.get) == 0
    assert fit[0] > 5 * steps[~borders].mean()
    steps = np.abs(np.diff(images, axis=1)).mean(axis=-1)
    borders = np.diff(masks.astype(int), axis=1) != 0
    fit = {shift: steps[np.roll(borders, shift, axis=1)].mean() for shift in (-2, -1, 0, 1, 2)}
    assert max(fit, key=fit.get) == 0


def test_night_looks_different(streets):
    daylight, night = streets.values()
    brightness = {name: e.images.mean(axis=(1, 2, 3)) for name, e in streets.items()}
    # The same scene is darker, and more blue than red.
    assert (brightness["daylight"] > brightness["night"]).all()
    assert brightness["daylight"].mean() > 1.25 * brightness["night"].mean()
    red, _, blue = night.images.mean(axis=(0, 1, 2))
    assert blue > 1.1 * red
    sky = CLASS_NAMES.index("sky")
    assert class_means(night)[sky].mean() < 140 < 180 < class_means(daylight)[sky].mean()
    # Windows and shops shine.
    building = night.labels == CLASS_NAMES.index("building")
    assert (night.images[building].max(axis=-1) > 220).mean() > 0.02
    # Noise and rain: next to each other, pixels of the upper sky are alike only by day.
    upper = {name: e.images[:, 0][e.labels[:, 0] == sky] for name, e in streets.items()}
    rough = {name: np.abs(np.diff(row.astype(float), axis=0)) for name, row in upper.items()}
    assert np.median(rough["night"]) > 1.5 * np.median(rough["daylight"])


def test_pixels_are_averages_of_points_and_masks_their_middles():
    """A scene of our own: one wall that ends within a pixel."""
    sky = Part("sky", (), 100.0, 0.0, 1.0)
    # Points 0 to 31 are wall, that is 10 pixels and two thirds of the next.
    wall = Part("facade", [0, 0, 31, 0, 31, 500, 0, 500], 0.0, 0.0, 1.0)
    scene = Scene((sky, wall), 48.0)
    mask = scene.mask()
    assert (mask[:, :11] == CLASS_NAMES.index("building")).all()
    assert (mask[:, 11:] == CLASS_NAMES.index("sky")).all()
    layers = DAYLIGHT._layers(scene)
    np.testing.assert_allclose(layers.sky[5, 9:13, 0], [0, 1 / 3, 1, 1], atol=0.01)
    facade = np.array([int(DAYLIGHT.colors["facade"][i : i + 2], 16) for i in (0, 2, 4)])
    np.testing.assert_array_equal(layers.color[5, 9], facade)
    expected = layers.color[5, 9] * 2 / 3 + layers.color[5, 20] / 3
    np.testing.assert_allclose(layers.color[5, 10], expected, atol=1)
    assert layers.light.max() == 0 and layers.road.max() == 0


def test_lights_shine_by_night_only():
    sky = Part("sky", (), 100.0, 0.0, 1.0)
    lit, dark = (
        Part("window", [x, 60, x + 20, 60, x + 20, 90, x, 90], 5.0, tint, 1.0)
        for x, tint in ((30, 0.1), (300, 0.9))
    )
    scene = Scene((sky, lit, dark), 48.0)
    light = NIGHT._layers(scene).light
    assert light[25, 13].min() > 50 and light[25, 103].max() == 0
    assert DAYLIGHT._layers(scene).light.max() == 0


def test_roles_are_of_known_classes_and_every_look_knows_them():
    assert {name for name in ROLES.values() if name is not None} == set(CLASS_NAMES)
    for look in LOOKS.values():
        assert set(look.colors) == set(ROLES)
        assert set(look.lights) <= set(ROLES)


def test_scene_is_drawn_from_far_to_near():
    scene = compose(np.random.default_rng(0))
    assert scene.parts[0].role == "sky"
    cars = [part.depth for part in scene.parts if part.role == "plate"]
    assert cars == sorted(cars, reverse=True)
    assert 0.3 * HEIGHT < scene.horizon < 0.6 * HEIGHT


class TestDomains:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        for name, size in {"TRAIN_SIZE": 6, "VALIDATION_SIZE": 2, "TEST_SIZE": 4}.items():
            monkeypatch.setattr(street_scenes, name, size)

    def test_describe_themselves(self):
        assert (RENDERED_STREETS.name, NIGHT_STREETS.name) == ("rendered_streets", "night_streets")
        assert RENDERED_STREETS.class_names == NIGHT_STREETS.class_names == CLASS_NAMES
        for domain in (RENDERED_STREETS, NIGHT_STREETS):
            assert domain.has_masks and domain.image_shape == (96, 128, 3)
            assert domain.validation_size == 100
            assert dict(zip(domain.class_names, domain.palette, strict=True)) == {
                "road": (128, 64, 128),
                "sidewalk": (244, 35, 232),
                "building": (70, 70, 70),
                "pole": (153, 153, 153),
                "vegetation": (107, 142, 35),
                "sky": (70, 130, 180),
                "person": (220, 20, 60),
                "car": (0, 0, 142),
            }

    def test_share_no_scene(self):
        seen = [
            {mask.tobytes() for mask in domain.load(split, validation_size=2).labels}
            for domain in (RENDERED_STREETS, NIGHT_STREETS)
            for split in ("train", "validation", "test")
        ]
        assert [len(masks) for masks in seen] == [6, 2, 4, 6, 2, 4]
        assert len(set.union(*seen)) == 24

    def test_look_as_their_names_say(self):
        day, night = (d.read("test", None) for d in (RENDERED_STREETS, NIGHT_STREETS))
        np.testing.assert_array_equal(day.images, render(DAYLIGHT, 4, seed=1).images)
        np.testing.assert_array_equal(night.images, render(NIGHT, 4, seed=3).images)

    def test_keep_images_that_cannot_be_changed(self):
        examples = NIGHT_STREETS.read("test", None)
        assert examples is NIGHT_STREETS.read("test", "anywhere")
        for kept in (examples.images, examples.labels):
            with pytest.raises(ValueError, match="read-only"):
                kept[0] = 0
