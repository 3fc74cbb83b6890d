"""What holds whatever is given: hypothesis looks for what it does not hold of.

Any experiment is refused with a list of what is wrong, or comes back out of its flagfile; images of
any shape become those that networks see; measures keep their bounds. `pytest -m slow` looks longer.
"""

import dataclasses
import pathlib
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from keras_i2i import data
from keras_i2i.data.domain import Domain
from keras_i2i.data.translated_copy import class_folders
from keras_i2i.errors import InputError
from keras_i2i.evaluation import metrics
from keras_i2i.files import fits_in_a_line
from keras_i2i.training import flags
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.methods import ADAPTATIONS, BASELINES, METHODS, SCHEDULES

# The same examples every time: a test that fails now and then is none. No deadline: the first
# example of many traces a graph.
COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def looking(few, many):
    """Makes two tests of a property: with a few examples, and, slow, with many.

    Args:
        few: examples by default.
        many: with `pytest -m slow`.
    """

    def of(test):
        counts = [few, pytest.param(many, marks=pytest.mark.slow)]

        @pytest.mark.parametrize("examples", counts)
        def looked_for(examples):
            settings(max_examples=examples, **COMMON)(test)()

        looked_for.__doc__ = test.__doc__
        return looked_for

    return of


# Experiments

NUMBERS = {
    int: st.one_of(st.integers(-2, 70), st.integers(), st.sampled_from([16, 32, 64, 128])),
    float: st.one_of(st.floats(0, 1.5), st.floats(), st.integers(-1, 3)),
}
TEXT = st.one_of(st.text(max_size=8), st.sampled_from(["a/b", "~", "~/x", "~nobody_x", "a ", "\0"]))
TERMS = sorted({term for method in METHODS.values() for term in method.terms})
DOMAINS = ["printed_digits", "handwritten_digits", "rendered_streets", "night_streets", "x"]
PRESETS = [preset for method in METHODS.values() for preset in method.presets]
WORDS = {
    "method": [*METHODS, *BASELINES],
    "preset": ["", *PRESETS],
    "adaptation": ["", *ADAPTATIONS],
    "schedule": SCHEDULES,
    "source": DOMAINS,
    "target": DOMAINS,
    "encoder": ["", "lenet", "densenet", "generate_to_adapt", "domain_transfer", "resnet18"],
    "encoder_sharing": ["", "all", "none", "all_but_batch_norm"],
    "image_objective": ["", "least_squares", "wasserstein", "minimax"],
    "profile": ["", "1,2", "9,1", "1"],
}


def values_of(field):
    """Values for a field: mostly of its type, often of those that it knows."""
    default = getattr(Experiment(source="mnist", target="usps", run_dir="x"), field.name)
    if field.name in WORDS:
        return st.one_of(st.sampled_from(WORDS[field.name]), TEXT)
    kinds = {
        bool: st.booleans(),
        str: st.one_of(st.just(default), TEXT),
        list: st.lists(st.one_of(st.integers(0, 5), st.integers(), st.booleans()), max_size=3),
        dict: st.dictionaries(st.one_of(st.sampled_from(TERMS), TEXT), NUMBERS[float], max_size=3),
    }
    kind = type(default)
    own = kinds[kind] if kind in kinds else NUMBERS[kind]
    choices = field.metadata["choices"]
    if isinstance(choices, tuple):
        own = st.one_of(st.sampled_from(choices), own)
    strange = st.one_of(st.none(), TEXT, st.floats(), st.lists(st.none(), max_size=1))
    return st.one_of(*[own] * 9, strange)


FIELDS = {field.name: field for field in dataclasses.fields(Experiment)}
STRATEGIES = {name: values_of(field) for name, field in FIELDS.items()}
GOOD = {"source": "printed_digits", "target": "handwritten_digits", "run_dir": "runs/x"}


@st.composite
def configs(draw):
    """Fields of a good experiment, with some changed."""
    changed = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=6, unique=True))
    return {**GOOD, **{name: draw(STRATEGIES[name]) for name in changed}}


@looking(few=40, many=4000)
@given(configs())
@example({**GOOD, "seeds": [2**32 - 1]})
@example({**GOOD, "loss_weights": {"a=b,c": 1.0}, "method": "source_only"})
@example({**GOOD, "generator_stages": 10**9, "method": "cyclegan"})
@example({**GOOD, "run_dir": "a\x85b"})
@example({**GOOD, "image_size": True})
@example({**GOOD, "steps": "10"})
def test_any_experiment_is_refused_or_comes_back_out_of_its_flagfile(fields):
    try:
        experiment = Experiment(**fields)
    except InputError as error:
        lines = str(error).splitlines()
        assert lines and all(line.strip() for line in lines)
        assert len(set(lines)) == len(lines)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "flags.cfg")
        path.write_text(flags.to_flagfile(experiment), encoding="utf-8")
        assert flags.from_flagfile(path) == experiment
        assert len(path.read_text(encoding="utf-8").split("\n")) == len(FIELDS) + 1


def encoded(lines):
    return "\n".join(lines).encode("utf-8", "replace")


LINES = st.one_of(
    st.text(max_size=30),
    st.builds("--{}={}".format, st.sampled_from(sorted(FIELDS)), st.text(max_size=10)),
    st.builds("--{}={}".format, st.sampled_from(sorted(FIELDS)), st.integers(-1, 3)),
)


@looking(few=30, many=2000)
@given(st.one_of(st.lists(LINES, max_size=4).map(encoded), st.binary(max_size=40)))
def test_any_flagfile_of_a_run_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "flags.cfg")
        good = flags.to_flagfile(Experiment(**GOOD)).encode()
        path.write_bytes(good + content)
        try:
            read = flags.from_flagfile(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert isinstance(read, Experiment)


# Images

SHAPES = st.tuples(*[st.integers(1, 40)] * 2, st.sampled_from([1, 3]))
IMAGES = SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape, fill=st.integers(0, 255)))
WANTED = st.tuples(st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 3]))
GEOMETRIES = st.builds(
    data.Geometry,
    load_size=st.sampled_from([0, 12, 20]),
    crop_size=st.sampled_from([0, 8, 12]),
    fit=st.sampled_from(["stretch", "crop"]),
)


@looking(few=12, many=1000)
@given(IMAGES, WANTED)
def test_preprocessed_images_have_the_shape_asked_for_and_are_in_range(image, wanted):
    seen = np.asarray(data.preprocess(image[None], wanted))
    assert seen.shape == (1, *wanted) and seen.dtype == np.float32
    assert np.abs(seen).max() <= 1 + 1e-5
    if image.shape == wanted:
        np.testing.assert_array_equal(data.to_uint8(seen)[0], image)
    if (image == image.flat[0]).all():
        # TensorFlow's three weights of luma sum to 0.9999: white of 255 turns to gray of 254.97.
        luma = 0.9999 if image.shape[-1] > wanted[-1] else 1.0
        np.testing.assert_allclose(seen, luma * image.flat[0] / 127.5 - 1, atol=1e-5)


@looking(few=12, many=1000)
@given(IMAGES, WANTED, GEOMETRIES, st.integers(0, 2**31 - 1))
def test_any_geometry_gives_images_and_masks_that_belong_together(image, wanted, geometry, seed):
    mask = image[..., 0] // 128
    seen, labels = geometry.for_training(image, mask, wanted, (seed, 1))
    assert seen.shape == wanted and labels.shape == wanted[:2]
    for view in (seen, geometry.for_test(image, wanted), geometry.whole(image, wanted)):
        view = np.asarray(view)
        assert view.shape[-1] == wanted[-1] and min(view.shape) >= 1
        low, high = image.min() / 127.5 - 1, image.max() / 127.5 - 1
        assert low - 1e-4 <= view.min() and view.max() <= high + 1e-4
    assert set(np.unique(labels)) <= set(np.unique(mask))


@looking(few=8, many=500)
@given(
    arrays.arrays(np.uint8, (2, 9, 7, 3), fill=st.integers(0, 255)),
    st.builds(
        data.Augmentation,
        rotation=st.floats(0, 180),
        scale=st.floats(0, 0.99),
        translation=st.floats(0, 1),
        pixels=st.floats(0, 9),
        levels=st.floats(0, 2),
        invert=st.floats(0, 1),
        flip=st.floats(0, 1),
    ),
    st.integers(0, 2**31 - 1),
)
def test_any_augmentation_keeps_shape_range_and_classes(images, augmentation, seed):
    images = np.asarray(data.preprocess(images, (9, 7, 3)))
    masks = (images[..., 0] > 0).astype(np.uint8)
    changed, moved = augmentation(images, (seed, 0), masks)
    assert changed.shape == images.shape and moved.shape == masks.shape
    assert np.abs(changed).max() <= 1 + 1e-5
    assert set(np.unique(moved)) <= {*np.unique(masks), data.IGNORED}
    again = augmentation(images, (seed, 0))
    np.testing.assert_array_equal(again, changed)


ANY_ARRAY = arrays.arrays(
    st.sampled_from([np.uint8, np.int64, np.float32, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=4, max_side=3),
)


@looking(few=75, many=3000)
@given(
    st.one_of(ANY_ARRAY, arrays.arrays(np.uint8, (3, 2, 2, 1))),
    st.one_of(st.none(), ANY_ARRAY, arrays.arrays(np.int64, 3)),
    st.sampled_from([(), ("a", "b"), ("a", "b", "c")]),
    st.booleans(),
)
def test_any_arrays_are_refused_or_are_what_a_domain_says(images, labels, names, has_masks):
    def read(split, data_dir):
        return data.Examples(images, labels)

    domain = Domain("mine", names, None, read, validation_size=1, has_masks=has_masks)
    try:
        examples = domain.load("test")
    except InputError as error:
        assert str(error).startswith("mine, test split: ")
        return
    assert len(examples) >= 1 and examples.channels in (1, 3)
    assert (examples.labels is not None) == bool(names)
    if names:
        assert examples.has_masks == has_masks
        known = {*range(len(names)), *([data.IGNORED] if has_masks else [])}
        assert set(np.unique(examples.labels)) <= known
    np.testing.assert_array_equal(examples[1:].images, images[1:])
    assert examples.without_labels().labels is None


# Labels

NAMES = st.lists(st.text(max_size=60), min_size=1, max_size=6)


@looking(few=50, many=5000)
@given(NAMES)
@example(["..", ".", "/", "\0", "CON", "", "a" * 500, "a" * 501, "é" * 90, "A", "a", "<b>"])
def test_names_of_classes_become_different_names_of_folders(names):
    folders = class_folders(names)
    assert len({folder.casefold() for folder in folders}) == len(names)
    for folder in folders:
        assert pathlib.PurePath(folder).name == folder
        assert not set("./\\\0:<>") & set(folder)
        assert 0 < len(folder.encode("utf-8")) < 255


@looking(few=30, many=2000)
@given(NAMES, NAMES)
def test_domains_go_together_if_and_only_if_their_classes_are_the_same(first, second):
    def named(name, names):
        return Domain(name, tuple(names), None, lambda *_: None, validation_size=0)

    def fit(names):
        return len(set(names)) == len(names) and all(n and fits_in_a_line(n) for n in names)

    if not (fit(first) and fit(second)):
        with pytest.raises(InputError):
            named("a", first), named("b", second)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DOMAINS, "a", named("a", first))
        patch.setitem(data.DOMAINS, "b", named("b", second))
        if first == second:
            data.check_same_classes("a", "b")
        else:
            with pytest.raises(InputError, match="need the same classes in the same order"):
                data.check_same_classes("a", "b")


@looking(few=30, many=3000)
@given(st.integers(2, 5), st.data())
def test_measures_of_any_labels_keep_their_bounds(classes, draw):
    labels = st.integers(0, classes - 1)
    pairs = draw.draw(st.lists(st.tuples(labels, labels), min_size=1, max_size=30))
    true, read = np.array(pairs).T
    confusion = metrics.pixel_confusion(
        true.reshape(1, -1).astype(np.uint8), read.reshape(1, -1), classes
    )
    assert confusion.shape == (classes, classes) and confusion.sum() == len(pairs)
    mean = metrics.mean_iou(confusion)
    assert 0 <= mean <= 1
    assert (mean == 1) == bool((true == read).all())
    order = draw.draw(st.permutations(range(classes)))
    swapped = confusion[np.ix_(order, order)]
    assert metrics.mean_iou(swapped) == pytest.approx(mean)
