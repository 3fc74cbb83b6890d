"""`RunData`: the images of a run, as its steps, its curves and its evaluation see them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_i2i import data
from keras_i2i.errors import InputError
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_data import RunData

from .conftest import TEST_IMAGES, TINY, small_data, tiny
from .runs import write_images

SIZES = [(40, 60), (33, 33), (50, 36), (64, 40)]


@pytest.fixture(scope="module", autouse=True)
def few_images():
    with small_data():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of four images of different sizes each, and as many for the test."""
    root = tmp_path_factory.mktemp("pets")
    for number, (split, name) in enumerate(
        [("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")]
    ):
        write_images(root / split / name, SIZES, seed=number)
    return root


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """The name of a domain without labels."""
    root = tmp_path_factory.mktemp("flat")
    write_images(root, 3 * SIZES, seed=9)
    return f"image_folder:{root}"


@pytest.fixture
def of_folders(folder):
    """`of_folders(**fields)`: the data of a run between the folder and itself."""

    def of_folders(**fields):
        name = f"image_folder:{folder}"
        sizes = {"source_validation_size": 2, "target_validation_size": 0}
        cut = {"load_size": 30, "crop_size": 24, "fit": "crop", "channels": 3}
        return RunData(
            Experiment(**{**TINY, "source": name, "target": name, **sizes, **cut, **fields})
        )

    return of_folders


@pytest.fixture
def of_digits():
    """`of_digits(**fields)`: the data of a run of small digits."""
    return lambda **fields: RunData(Experiment(**tiny(**fields)))


class Reader:
    """Reads every image as class 1; what it was asked is remembered."""

    can_classify, has_masks = True, False

    def __init__(self, image_shape, can_classify=True):
        self.image_shape, self.can_classify, self.asked = image_shape, can_classify, []

    def image_shape_of(self, domain):
        return self.image_shape

    def classify(self, images, domain):
        self.asked.append((images, domain))
        return np.tile([0.0, 1.0], (len(images), 1))


class Segmenter(Reader):
    """Reads every pixel as class 1."""

    has_masks, num_classes = True, 2

    def segment(self, image, domain, size):
        self.asked.append((image, domain, size))
        return np.broadcast_to([0.0, 1.0], (*size, 2))


def centers(folder, split, experiment):
    """The test or training images of the folder, through its geometry, as uint8."""
    seen = []
    for path in sorted((folder / split).rglob("*.png")):
        with Image.open(path) as image:
            view = experiment.geometry.for_test(np.asarray(image), (16, 16, 3))
            seen.append(data.to_uint8(view))
    return np.stack(seen)


def assert_same_images(images, expected):
    """In whatever order, and but for rounding."""
    images, expected = (np.asarray(some).astype(int) for some in (images, expected))
    differences = np.abs(images[:, None] - expected[None]).max((2, 3, 4))
    assert sorted(differences.argmin(1)) == list(range(len(expected)))
    assert differences.min(1).max() <= 1


def as_set(images):
    return {np.asarray(image).tobytes() for image in images}


class TestWhatIsRead:
    def test_the_targets_labels_stay_behind(self, of_digits, of_folders):
        for domains in (of_digits(), of_folders()):
            assert domains.target.labels is None
            assert domains.source.labels is not None
            assert domains.target_test.labels is not None

    def test_sizes_are_those_of_the_flags(self, of_digits, of_folders):
        domains = of_digits(source_size=30, target_size=20, source_validation_size=7)
        assert [len(part) for part in (domains.source, domains.target)] == [30, 20]
        assert len(domains.source_validation) == 7
        assert of_digits(source_validation_size=0).source_validation is None
        domains = of_folders()
        assert [len(part) for part in (domains.source, domains.target)] == [6, 8]

    def test_a_source_without_labels_gets_zeros(self, flat):
        domains = RunData(Experiment(**tiny(method="cyclegan", source=flat, target=flat)))
        np.testing.assert_array_equal(domains.source.labels, np.zeros(len(domains.source)))

    def test_few_labels_are_a_draw_of_the_seed(self, of_digits):
        assert of_digits().few_labelled_target(0) is None
        domains = of_digits(target_labels_per_class=2)
        few = domains.few_labelled_target(0)
        np.testing.assert_array_equal(few.labels, np.repeat(np.arange(10), 2))
        again, other = domains.few_labelled_target(0), domains.few_labelled_target(1)
        np.testing.assert_array_equal(few.images, again.images)
        assert not np.array_equal(few.images, other.images)


class TestTests:
    def test_digits_are_tested_as_they_are(self, of_digits):
        domains = of_digits()
        assert domains.tests() == (domains.source_test, domains.target_test)
        assert domains.shaped_first() == {}

    def test_images_of_many_sizes_are_tested_on_their_centers(self, of_folders, folder):
        domains = of_folders()
        for test in domains.tests():
            assert isinstance(test, data.Examples)
            expected = centers(folder, "test", domains._experiment)
            assert_same_images(test.images, expected)
            assert sorted(test.labels) == [0] * 4 + [1] * 4

    def test_a_copy_is_made_of_centers_too(self, of_folders):
        domains = of_folders()
        geometry = data.Geometry(load_size=30, crop_size=24, fit="crop")
        assert domains.shaped_first() == {"image_shape": (16, 16, 3), "geometry": geometry}

    def test_digits_that_are_cut_are_so_in_the_test(self, of_digits):
        domains = of_digits(crop_size=12)
        source, _ = domains.tests()
        geometry = data.Geometry(crop_size=12)
        for seen, image in zip(source.images[:3], domains.source_test.images, strict=False):
            expected = data.to_uint8(geometry.for_test(image, (16, 16, 1)))
            np.testing.assert_allclose(seen.astype(int), expected, atol=1)
        assert source.images.shape == (TEST_IMAGES, 16, 16, 1)
        assert domains.shaped_first()["geometry"] == geometry

    def test_masks_stay_with_whole_images(self):
        streets = {"source": "rendered_streets", "target": "night_streets", "channels": 3}
        small = {"loss_weights": {"feature": 0.0}, "source_size": 2, "target_size": 2}
        with pytest.MonkeyPatch.context() as patch:
            masks = np.zeros((4, 20, 30), "uint8")
            images = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), "uint8")
            examples = data.Examples(images, masks)
            for name in ("rendered_streets", "night_streets"):
                domain = data.get_domain(name)
                patch.setitem(data.DOMAINS, name, _reading(domain, examples))
            domains = RunData(
                Experiment(**{**TINY, **streets, **small, "source_validation_size": 1})
            )
        assert domains.target.labels is None
        for test in domains.tests():
            assert test.has_masks and test.images.shape == (4, 20, 30, 3)


def _reading(domain, examples):
    return dataclasses.replace(domain, read=lambda split, data_dir: examples, image_shape=None)


class TestLookedAt:
    def test_images_to_look_at_are_the_first_as_a_network_sees_them(self, of_digits):
        domains = of_digits()
        for images, examples in zip(
            domains.test_images(5) + domains.training_images(5),
            (domains.source_test, domains.target_test, domains.source, domains.target),
            strict=True,
        ):
            assert images.dtype == np.float32
            np.testing.assert_array_equal(images, data.preprocess(examples.images[:5], (16, 16, 1)))

    def test_there_may_be_fewer_than_asked_for(self, of_folders, folder):
        domains = of_folders()
        source, target = domains.test_images(100)
        assert source.shape == target.shape == (8, 16, 16, 3)
        assert_same_images(data.to_uint8(source), centers(folder, "test", domains._experiment))

    def test_neighbours_are_training_images_without_labels(self, of_digits, of_folders, folder):
        for domains in (of_digits(), of_folders()):
            found = domains.neighbours()
            assert set(found) == {"source_train", "target_train"}
            for examples in found.values():
                assert isinstance(examples, data.Examples)
                assert examples.labels is None
        expected = centers(folder, "train", domains._experiment)
        assert_same_images(found["target_train"].images, expected)


class TestWatched:
    def test_it_measures_accuracy_on_the_first_images(self, of_digits):
        domains, reader = of_digits(), Reader((16, 16, 1))
        watched = domains.watched("adapted", reader, 10)
        assert list(watched) == ["source_validation_accuracy", "target_test_accuracy"]
        for (name, measure), examples, domain in zip(
            watched.items(),
            (domains.source_validation, domains.target_test),
            ("source", "target"),
            strict=True,
        ):
            assert measure(reader) == np.mean(examples.labels[:10] == 1), name
            images, asked = reader.asked[-1]
            assert asked == domain
            np.testing.assert_array_equal(
                images, data.preprocess(examples.images[:10], (16, 16, 1))
            )

    def test_images_of_many_sizes_are_watched_by_their_centers(self, of_folders, folder):
        domains, reader = of_folders(), Reader((16, 16, 3))
        watched = domains.watched("source_only", reader, 100)
        assert watched["target_test_accuracy"](reader) == 0.5
        images, _ = reader.asked[-1]
        expected = centers(folder, "test", domains._experiment)
        assert_same_images(data.to_uint8(images), expected)

    def test_what_there_is_nothing_to_measure_on_is_not(self, of_digits, flat):
        reader = Reader((16, 16, 1))
        domains = of_digits(source_validation_size=0)
        assert set(domains.watched("adapted", reader, 10)) == {"target_test_accuracy"}
        domains = of_digits(target=flat)
        assert set(domains.watched("adapted", reader, 10)) == {"source_validation_accuracy"}
        assert domains.watched("translator", Reader((16, 16, 1), can_classify=False), 10) == {}

    def test_a_reader_of_translations_is_not_asked_for_source_images(self, of_digits):
        watched = of_digits().watched("on_translated_source", Reader((16, 16, 1)), 10)
        assert set(watched) == {"target_test_accuracy"}

    def test_masks_are_measured_at_their_own_size_on_whole_images(self):
        rng = np.random.default_rng(0)
        masks = rng.choice([0, 1, data.IGNORED], (30, 20, 30)).astype("uint8")
        images = rng.integers(0, 256, (30, 20, 30, 3), "uint8")
        streets = {"source": "rendered_streets", "target": "night_streets", "channels": 3}
        with pytest.MonkeyPatch.context() as patch:
            for name in ("rendered_streets", "night_streets"):
                domain = _reading(data.get_domain(name), data.Examples(images, masks))
                patch.setitem(data.DOMAINS, name, domain)
            domains = RunData(
                Experiment(
                    **{**TINY, **streets, "source_validation_size": 5, "crop_size": 10},
                    loss_weights={"feature": 0.0},
                )
            )
        reader = Segmenter((16, 16, 3))
        watched = domains.watched("adapted", reader, 100)
        assert list(watched) == ["source_validation_miou", "target_test_miou"]
        # All is read as class 1: nothing of class 0 is found. 20 images are enough.
        counted = masks[:20]
        expected = np.mean([0, (counted == 1).sum() / (counted < 2).sum()])
        assert watched["target_test_miou"](reader) == pytest.approx(expected)
        assert len(reader.asked) == 20
        for image, domain, size in reader.asked:
            # Crops of 10 pixels become 16.
            assert (image.shape, domain, size) == ((32, 48, 3), "target", (20, 30))


class TestBatches:
    def test_each_step_sees_its_domain(self, of_digits):
        domains = of_digits()
        for step, name in (
            ("source_only", "printed_digits"),
            ("target_only", "handwritten_digits"),
        ):
            known = data.load(name, "train")
            known = as_set(np.asarray(data.preprocess(known.images, (16, 16, 1))))
            for images, _ in domains.batches(step, 0, 0).take(2):
                assert as_set(images) <= known

    def test_they_are_a_function_of_seed_and_step(self, of_folders):
        domains = of_folders(flip=0.5, rotation=5.0)
        first, second = (list(domains.batches("adapted", 3, 0).take(4)) for _ in range(2))
        later = list(domains.batches("adapted", 3, 2).take(2))
        for one, other in zip(first + first[2:], second + later, strict=True):
            for domain in ("source", "target"):
                np.testing.assert_array_equal(one[0][domain], other[0][domain])
            np.testing.assert_array_equal(one[1], other[1])
        (other,) = domains.batches("adapted", 4, 0).take(1)
        assert not np.array_equal(other[0]["source"], first[0][0]["source"])

    def test_the_domains_may_have_two_shapes(self, of_digits):
        domains = of_digits(method="lstnet", image_size=28, target_image_size=16)
        images, _ = domains.batches("translator", 0, 0).element_spec
        assert images["source"].shape == (4, 28, 28, 1)
        assert images["target"].shape == (4, 16, 16, 1)
        for step, side in (("source_only", 28), ("target_only", 16)):
            assert domains.batches(step, 0, 0).element_spec[0].shape == (4, side, side, 1)

    def test_a_translated_copy_is_not_cut_again(self, of_folders, tmp_path):
        domains = of_folders()
        data.write_translated_copy(
            tmp_path / "copy",
            domains.source,
            lambda images: 255 - images,
            ["cat", "dog"],
            **domains.shaped_first(),
        )
        copy = data.read_translated_copy(tmp_path / "copy")
        known = as_set(np.asarray(data.preprocess(copy.images, (16, 16, 3))))
        batches = domains.batches("on_translated_source", 0, 0, tmp_path / "copy")
        for images, labels in batches.take(2):
            assert as_set(images) <= known
            assert set(labels.numpy()) <= {0, 1}


class TestWhatWasSeen:
    """Test images that are training images too."""

    @pytest.fixture
    def of_copies(self, tmp_path):
        """`of_copies(**fields)`: of each domain, two classes of images, and where copies go."""

        def of_copies(*copies, **fields):
            for number, (domain, split, name) in enumerate(
                (domain, split, name)
                for domain in ("one", "two")
                for split in ("train", "test")
                for name in ("cat", "dog")
            ):
                write_images(tmp_path / domain / split / name, SIZES, seed=number)
            for old, new in copies:
                (tmp_path / new).write_bytes((tmp_path / old).read_bytes())
            names = {"source": "one", "target": "two"}
            names = {key: f"image_folder:{tmp_path / name}" for key, name in names.items()}
            sizes = {"source_validation_size": 2, "target_validation_size": 0, "channels": 3}
            return RunData(Experiment(**{**TINY, **names, **sizes, **fields}))

        return of_copies

    def test_is_nothing_where_splits_are_apart(self, of_copies, of_digits):
        none = {"images": 0, "of": 8, "transductive": False}
        assert of_copies().seen == {"source": none, "target": {**none, "left_out": 0}}
        for seen in of_digits().seen.values():
            assert (seen["images"], seen["of"], seen["transductive"]) == (0, TEST_IMAGES, False)

    @pytest.mark.parametrize(
        ("copy", "refused", "whose"),
        [
            (("one/train/cat/00.png", "one/test/dog/01.png"), "source", "source"),
            (("one/train/cat/00.png", "two/test/dog/01.png"), "target", "source"),
            (("two/train/cat/00.png", "two/test/cat/01.png"), "target", "target"),
            (("two/train/cat/00.png", "one/test/cat/03.png"), "source", "target"),
        ],
    )
    def test_in_any_training_images_is_refused(self, copy, refused, whose, of_copies):
        domains = of_copies(copy)
        old, new = (path.partition("/")[2] for path in copy)
        with pytest.raises(InputError) as error:
            domains.seen  # noqa: B018, it raises
        first, pair, rest = str(error.value).split("\n")
        assert first.startswith(f"1 of 8 test images of --{refused}=image_folder:")
        assert pair in [
            f"  {new} is {old} of the {whose} {part} images" for part in ("training", "validation")
        ]
        assert "--transductive" in rest

    def test_three_are_named(self, of_copies):
        copies = [(f"one/train/cat/0{n}.png", f"one/test/dog/0{n}.png") for n in range(4)]
        with pytest.raises(InputError) as error:
            of_copies(*copies).seen  # noqa: B018, it raises
        lines = str(error.value).split("\n")
        assert lines[0].startswith("4 of 8 test images")
        assert len(lines) == 6 and lines[4] == "  and 1 more"

    def test_counts_what_is_used_only(self, of_copies):
        copies = [(f"two/train/cat/0{n}.png", f"two/test/dog/0{n}.png") for n in range(4)]
        domains = of_copies(*copies, target_size=4)
        used = {domains.target.reader.stored(p)[0].name for p in domains.target.positions}
        with pytest.raises(InputError) as error:
            domains.seen  # noqa: B018, it raises
        count = sum(f"train/cat/0{n}.png" in used for n in range(4))
        assert str(error.value).startswith(f"{count} of 8 ")

    def test_is_meant_to_be_where_the_protocol_is_transductive(self, of_copies):
        own = ("two/train/cat/00.png", "two/test/dog/01.png")
        domains = of_copies(own, transductive=True)
        assert domains.seen["target"] == {
            "images": 0, "of": 8, "transductive": True, "left_out": 0,
        }  # fmt: skip

    @pytest.mark.parametrize("seeds", [[3], [3, 4]])
    @pytest.mark.parametrize("kind", ["stored", "in memory"])
    def test_is_not_tested_on_where_its_label_is_among_the_few(
        self, kind, seeds, of_copies, monkeypatch
    ):
        """Of all seeds, so that one test is that of all."""
        fields = {"transductive": True, "target_labels_per_class": 1, "seeds": seeds}
        if kind == "in memory":
            whole = data.get_domain(TINY["target"])
            own = dataclasses.replace(
                whole, read=lambda split, data_dir: whole.read("test", data_dir), transductive=True
            )
            monkeypatch.setitem(data.DOMAINS, TINY["target"], own)
            domains = RunData(Experiment(**{**TINY, **fields, "target_validation_size": 0}))
            size = TEST_IMAGES
        else:
            copies = [
                (f"two/train/{name}/0{n}.png", f"two/test/{name}/0{n}.png")
                for name in ("cat", "dog")
                for n in range(4)
            ]
            domains, size = of_copies(*copies, **fields), 8
        few = [domains.few_labelled_target(seed) for seed in seeds]
        learnt = {image.tobytes() for part in few for _, image, _ in part.readable()}
        tested = {image.tobytes() for _, image, _ in domains.target_test.readable()}
        assert len(learnt) > len(few[0]) * (len(seeds) - 1)
        assert not learnt & tested
        assert len(domains.target_test) == size - len(learnt)
        assert domains.seen["target"] == {
            "images": 0,
            "of": size - len(learnt),
            "transductive": True,
            "left_out": len(learnt),
        }
        assert domains.fingerprints()["target"]["test"]["images"] == size - len(learnt)

    def test_labels_that_leave_no_test_are_refused(self, of_copies):
        copies = [
            (f"two/train/{name}/0{n}.png", f"two/test/{name}/0{n}.png")
            for name in ("cat", "dog")
            for n in range(4)
        ]
        with pytest.raises(InputError) as error:
            of_copies(*copies, transductive=True, target_labels_per_class=4)
        assert str(error.value).startswith(
            "--target_labels_per_class=4 leaves no test: over all --seeds, the labels of all 8 test"
        )

    def test_with_labels_of_the_other_domain_is_refused_all_the_same(self, of_copies):
        other = ("one/train/cat/00.png", "two/test/dog/01.png")
        with pytest.raises(InputError, match=r"of the source (training|validation) images"):
            of_copies(other, transductive=True).seen  # noqa: B018, it raises

    @pytest.mark.parametrize(("copies", "refused"), [(2, False), (3, True)])
    def test_a_thousandth_may_be_seen(self, copies, refused, monkeypatch, of_digits):
        images = np.random.default_rng(0).integers(0, 256, (3000, 2, 2, 3), np.uint8)
        labels = np.arange(3000) % 10
        domains = of_digits()
        domains.target_test = data.Examples(images[:2000], labels[:2000])
        domains.target = data.Examples(images[2000 - copies :], None)
        if refused:
            with pytest.raises(InputError, match=r"number 1997 is number 0 of the target training"):
                domains.seen  # noqa: B018, it raises
        else:
            assert domains.seen["target"]["images"] == copies

    def test_fingerprints_are_of_all_that_is_used(self, of_digits):
        found = of_digits(target_size=20).fingerprints()
        assert {domain: list(splits) for domain, splits in found.items()} == {
            "source": ["train", "validation", "test"],
            "target": ["train", "test"],
        }
        assert found["target"]["train"]["images"] == 20
        assert found["target"]["train"]["of"] == "pixels", "labels stay behind"
        assert found["target"]["test"]["of"] == "pixels and labels"
        assert "validation" not in of_digits(source_validation_size=0).fingerprints()["source"]
