"""Whole runs on folders of a user's own images: of many sizes, some broken, some without labels."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_i2i import data
from keras_i2i.data.batches import read_prepared
from keras_i2i.errors import InputError
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_data import RunData
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import load_model, load_reader, steps_of, train

from .conftest import BRIEF, small_data, tiny
from .runs import (
    Trained,
    assert_same_run,
    continue_quietly,
    history_of,
    interrupted_run,
    learning_eagerly,
    same_weights,
    write_images,
)

SIZES = [(40, 60), (33, 33), (50, 36), (64, 40), (20, 24)]
BROKEN = "cat/03.png"
STEPS = ("source_only", "translator", "on_translated_source")
TRANSLATES = {"task": 1.0, "feature": 0.0, "translation": 0.1, "identity": 1.0, "cycle": 0.0}


@pytest.fixture(scope="module", autouse=True)
def few_images_eagerly():
    with small_data(), learning_eagerly():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Photographs of two classes, one file broken, and others that nobody has labelled or split."""
    root = tmp_path_factory.mktemp("folders")
    for number, name in enumerate(("cat", "dog")):
        write_images(root / "shop" / "train" / name, 2 * SIZES, seed=number)
        write_images(root / "shop" / "test" / name, SIZES[:3], seed=10 + number)
    (root / "shop" / "train" / BROKEN).write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    write_images(root / "photos", 3 * SIZES, seed=20)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory, folders):
    """`start(**fields)`: an experiment with a folder of its own."""

    def start(**fields):
        run_dir = str(tmp_path_factory.mktemp("runs") / "run")
        common = {
            "source": f"image_folder:{folders / 'shop'}",
            "target": f"image_folder:{folders / 'photos'}",
            "run_dir": run_dir,
            "channels": 3,
            "source_validation_size": 4,
            "target_validation_size": 0,
        }
        return Experiment(**tiny(**{**BRIEF, **common, **fields}))

    return start


FIELDS = {
    "fit": "crop",
    "load_size": 30,
    "crop_size": 24,
    "flip": 0.5,
    "cache": "disk",
    "adaptation": "on_translated_source",
    "translated_copy": True,
    "image_objective": "least_squares",
    "loss_weights": TRANSLATES,
}


@pytest.fixture(scope="module")
def full(start):
    """A run with all of it; its classifier learns from the translated copy."""
    return Trained(start(**FIELDS))


class TestARun:
    def test_it_did_what_can_be_done_without_target_labels(self, full):
        assert steps_of(full.experiment) == [
            "source_only", "translator", "translated_copy", "on_translated_source",
        ]  # fmt: skip
        found = json.loads(full.metrics.read_text())
        for step in ("source_only", "on_translated_source", "adapted"):
            assert found[step]["target_test_accuracy"] == [None]
        assert not any("Accuracy" in line for line in full.lines)
        assert 0 <= found["source_only"]["source_test_accuracy"][0] <= 1
        assert set(history_of(full, "source_only")[0]) == {
            "step", "learning_rate", "loss", "task", "source_validation_accuracy",
        }  # fmt: skip
        assert full.report.exists()

    def test_splits_are_those_of_the_folders_or_of_the_flags(self, full):
        # Of 20 source images 4 are kept for validation; of 15 target images a fifth for the test.
        assert "16 labelled, 12 unlabelled images of 16x16x3." in full.lines[0]
        domains = RunData(full.experiment)
        assert [len(part) for part in (domains.source_test, domains.target_test)] == [6, 3]

    def test_its_batches_have_one_size_and_no_target_labels(self, full):
        (batches,) = (batches for name, batches in full.spy.fits if name == "I2IAdapt")
        for images, labels in batches.take(2):
            assert {name: image.shape for name, image in images.items()} == {
                "source": (4, 16, 16, 3), "target": (4, 16, 16, 3),
            }  # fmt: skip
            assert labels.shape == (4,)
            assert all(np.abs(image).max() <= 1 for image in images.values())

    def test_accuracies_are_of_centers_of_whole_images(self, full, folders):
        model, right = load_model(full, "source_only", 0), []
        for label, name in enumerate(("cat", "dog")):
            for path in sorted((folders / "shop" / "test" / name).glob("*.png")):
                with Image.open(path) as image:
                    seen = full.experiment.geometry.for_test(np.asarray(image), (16, 16, 3))
                seen = np.round((np.asarray(seen) + 1) * 127.5) / 127.5 - 1
                right.append(model.classify(seen[None].astype("float32")).argmax() == label)
        accuracy = full.returned["source_only"]["source_test_accuracy"]
        assert accuracy == [pytest.approx(np.mean(right))]

    def test_decoded_images_are_kept_in_the_runs_folder(self, full):
        cached = [np.load(path) for path in (full.path / "cache").rglob("*.npy")]
        # All but the broken one.
        assert len(cached) == 20 - 1 + 6 + 15
        assert {image.shape[:2] for image in cached} == set(SIZES)

    def test_the_translated_copy_is_of_centers_and_leaves_out_what_cannot_be_read(self, full):
        copy = data.read_translated_copy(full.translated_copy(0))
        source = RunData(full.experiment).source
        images, readable = read_prepared(source, (16, 16, 3), full.experiment.geometry)
        assert len(copy) == len(readable) == 15
        np.testing.assert_array_equal(copy.labels, source.labels[readable])
        translated = load_model(full, "translator", 0).translate(
            np.asarray(data.preprocess(images, (16, 16, 3))), "source_to_target"
        )
        difference = copy.images.astype(int) - data.to_uint8(translated)
        assert np.abs(difference).max() <= 1
        record = json.loads((full.translated_copy(0) / "train.json").read_text())
        assert len(record["left_out"]) == 1

    def test_the_classifier_learned_from_the_copy_as_it_is(self, full):
        copy = data.read_translated_copy(full.translated_copy(0))
        batches = full.spy.fits[-1][1]
        # A mirror image is all that may happen to it: nothing is scaled or cut any more.
        known = np.asarray(data.preprocess(copy.images, (16, 16, 3)))
        known = np.concatenate([known, known[:, :, ::-1]])
        for images, _ in batches.take(3):
            for image in images.numpy():
                assert np.abs(known - image).max((1, 2, 3)).min() < 1e-6

    def test_what_reads_for_the_user_translates_and_classifies(self, full):
        reader = load_reader(full, 0)
        assert reader.can_classify
        assert reader.classify(np.zeros((2, 16, 16, 3), "float32")).shape == (2, 2)

    def test_what_was_left_out_is_named(self, start, folders, capsys):
        # Four batches of four come to every image.
        train(start(**FIELDS | {"classifier_steps": 4}), lambda line: None, only=["source_only"])
        out = capsys.readouterr().out
        assert out.count("warning: left out, it cannot be read: ") == 1
        assert str(folders / "shop" / "train" / BROKEN) in out


def test_labels_of_the_targets_test_alone_are_measured_on(start, folders, tmp_path):
    write_images(tmp_path / "photos" / "train", SIZES, seed=20)
    shutil.copytree(folders / "shop" / "test", tmp_path / "photos" / "test")
    run = Trained(
        start(
            target=f"image_folder:{tmp_path / 'photos'}",
            preset="fcns_in_the_wild",
            steps=1,
            classifier_steps=1,
        )
    )
    assert steps_of(run.experiment) == ["source_only", "adapted"]
    for step in ("source_only", "adapted"):
        (accuracy,) = run.returned[step]["target_test_accuracy"]
        assert 6 * accuracy == pytest.approx(round(6 * accuracy))
        # The test images of both domains are the same here.
        assert run.returned[step]["source_test_accuracy"] == [pytest.approx(accuracy)]
        assert "target_test_accuracy" in history_of(run, step)[0]


@pytest.mark.slow  # by default in test_segmentation.py, and in test_two_steps.py
class TestAnInterruptedRun:
    @pytest.mark.parametrize("step", ["translator", "on_translated_source"])
    def test_ends_as_if_it_had_not_been(self, step, start, full):
        experiment = start(**FIELDS)
        run = interrupted_run(experiment, full, STEPS[: STEPS.index(step)], step, epoch=1)
        assert f"{step}, seed 0: continuing from step 1." in continue_quietly(experiment)
        assert_same_run(run, full, STEPS)

    @pytest.mark.parametrize("cache", ["none", "memory"])
    def test_how_images_are_kept_does_not_change_it(self, cache, start, full):
        experiment = start(**{**FIELDS, "cache": cache})
        train(experiment, lambda line: None, only=["source_only"])
        run = RunDirectory.open(experiment.run_dir)
        assert same_weights(run.model("source_only", 0), full.model("source_only", 0))
        assert not (run.path / "cache").exists()


class TestTooManyBrokenFiles:
    @pytest.fixture
    def damaged(self, folders, tmp_path):
        """The same with three broken files among the training images."""
        shutil.copytree(folders / "shop", tmp_path / "shop")
        broken = [tmp_path / "shop" / "train" / BROKEN]
        broken += [tmp_path / "shop" / "train" / "dog" / f"0{number}.png" for number in (1, 5)]
        for path in broken:
            path.write_bytes(b"GIF8 no more")
        return tmp_path / "shop", broken

    @pytest.mark.parametrize("eagerly", [True, False])
    def test_the_run_ends_with_their_names_and_what_to_do(
        self, eagerly, start, damaged, capsys, monkeypatch
    ):
        build = Experiment.build_classifier

        def built(self, domain):
            model = build(self, domain)
            model.run_eagerly = eagerly
            return model

        monkeypatch.setattr(Experiment, "build_classifier", built)
        folder, broken = damaged
        experiment = start(
            source=f"image_folder:{folder}", source_validation_size=0, max_unreadable=2,
            classifier_steps=8, steps_per_epoch=8,  # 32 of 20 images: it comes to all
        )  # fmt: skip
        with pytest.raises(InputError) as error:
            train(experiment, lambda line: None)
        message = str(error.value)
        assert all(str(path) in message for path in broken)
        assert "3 images cannot be read, and --max_unreadable=2 allows no more" in message
        assert "raise --max_unreadable to leave them out." in message
        for part_of_a_stack in ("Traceback", "{{node", "numpy_function", 'File "'):
            assert part_of_a_stack not in message
        assert error.value.__suppress_context__
        assert not RunDirectory.open(experiment.run_dir).model("source_only", 0).exists()
        assert capsys.readouterr().out.count("warning: left out") == 2

    def test_as_many_as_are_put_up_with_do_not_end_it(self, start, damaged):
        folder, _ = damaged
        experiment = start(source=f"image_folder:{folder}", max_unreadable=3)
        train(experiment, lambda line: None, only=["source_only"])
        assert RunDirectory.open(experiment.run_dir).model("source_only", 0).exists()

    def test_those_of_the_test_are_found_too(self, start, folders, tmp_path):
        shutil.copytree(folders / "shop", tmp_path / "shop")
        for path in (tmp_path / "shop" / "test" / "cat").glob("*.png"):
            path.write_bytes(b"BM")
        experiment = start(
            source=f"image_folder:{tmp_path / 'shop'}", method="source_only", max_unreadable=1
        )
        with pytest.raises(InputError, match=r"test split: 2 images cannot be read"):
            train(experiment, lambda line: None)


class TestTranslationAlone:
    @pytest.mark.slow
    def test_cyclegan_with_residual_generators_needs_no_labels(self, start, folders, tmp_path):
        write_images(tmp_path / "paintings" / "train", SIZES, seed=30)
        write_images(tmp_path / "paintings" / "test", SIZES[:2], seed=31)
        run = Trained(
            start(
                method="cyclegan",
                generator="resnet",
                source=f"image_folder:{tmp_path / 'paintings'}",
                source_validation_size=0,
                steps=1,
                flip=0.5,
                fit="crop",
            )
        )
        assert steps_of(run.experiment) == ["translator"]
        assert {path.name for path in run.path.glob("*.keras")} == {"model.keras"}
        assert not any("accuracy" in name or "miou" in name for name in run.returned)
        assert "adapted" not in run.returned
        translator = load_reader(run, 0)
        assert not translator.can_classify
        kinds = {type(layer).__name__ for layer in translator.to_target.layers}
        assert "ReflectionPadding2D" in kinds
        images = np.zeros((2, 16, 16, 3), "float32")
        for direction in ("source_to_target", "target_to_source"):
            assert translator.translate(images, direction).shape == images.shape
        assert run.report.exists()


@pytest.mark.slow
def test_a_backbone_reads_folders(start, shallow_backbones):
    experiment = start(
        encoder="resnet18", image_size=32, output_stride=16, pooling="average", anti_gridding=True,
        freeze_batch_norm=True, feature_discriminator="convolutional", steps=1, classifier_steps=1,
        load_size=40, crop_size=32, loss_weights={"cycle": 0.0},
        image_objective="least_squares",
    )  # fmt: skip
    run = Trained(experiment)
    model = load_model(run, "adapted", 0)
    assert model.stride_of(model.source_encoder) == 16
    norms = [
        layer
        for layer in model.source_encoder.layers
        if isinstance(layer, keras.layers.BatchNormalization) and "anti_gridding" not in layer.name
    ]
    assert norms and not any(layer.trainable for layer in norms)
    assert 0 <= run.returned["adapted"]["source_test_accuracy"][0] <= 1
