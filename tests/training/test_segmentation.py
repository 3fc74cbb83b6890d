"""Whole runs on masks: what they measure and leave, that they resume, and what they never see."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i import data
from keras_i2i.evaluation import metrics
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import load_model, load_reader, steps_of, train

from .conftest import BRIEF, TINY, small_data
from .runs import (
    Trained,
    assert_same_run,
    continue_quietly,
    history_of,
    interrupt_in_an_epoch,
    interrupted_run,
    learning_eagerly,
    same_weights,
    starter,
    write_images,
)

SCENES = {"source": "rendered_streets", "target": "night_streets"}
CLASSES = ("road", "sky", "car")
TEST_SCENES = 6
FIELDS = {
    **TINY,
    **BRIEF,
    **SCENES,
    "image_size": 32,
    "crop_size": 20,  # so that whole images are enlarged by 1.6
    "channels": 3,
    "source_size": 8,
    "target_size": 8,
    "source_validation_size": 3,
    "target_validation_size": 0,
    "flip": 0.5,
    "warm_start": True,
    "encoder_learning_rate": 1e-4,
    "image_objective": "least_squares",
    "loss_weights": {
        "feature": 0.0, "cycle": 0.0, "translation": 0.1, "identity": 1.0, "translated_task": 1.0,
    },
}  # fmt: skip
TERMS = ("task", "translation", "identity", "translated_task")


def scenes(count, seed, night):
    """Tiny streets of 24x40 pixels: sky above road, and a car; the frame does not count."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 24, 40), "uint8")
    for mask in masks:
        mask[: rng.integers(6, 12)] = 1
        left = rng.integers(0, 30)
        mask[14:20, left : left + 8] = 2
    colors = np.array([[90, 90, 90], [120, 160, 240], [200, 40, 40]])
    noisy = colors[masks] + rng.integers(-20, 20, (count, 24, 40, 3))
    images = (noisy // (3 if night else 1)).clip(0, 255).astype("uint8")
    masks[:, :, :2] = data.IGNORED
    return data.Examples(images, masks)


@contextlib.contextmanager
def tiny_streets(target_masks=lambda masks: masks):
    """Both domains of rendered streets, as `scenes`.

    Args:
        target_masks: what becomes of the target's *training* masks.
    """
    with small_data(), pytest.MonkeyPatch.context() as patch:
        for number, name in enumerate(SCENES.values()):

            def read(split, data_dir, number=number):
                if split == "test":
                    return scenes(TEST_SCENES, 10 + number, night=number)
                examples = scenes(16, number, night=number)
                change = target_masks if number else (lambda masks: masks)
                return data.Examples(examples.images, change(examples.labels))

            patch.setitem(
                data.DOMAINS,
                name,
                dataclasses.replace(
                    data.get_domain(name),
                    read=read,
                    class_names=CLASSES,
                    palette=((90, 90, 90), (120, 160, 240), (200, 40, 40)),
                    image_shape=(24, 40, 3),
                ),
            )
        yield


@pytest.fixture(scope="module", autouse=True)
def few_scenes_eagerly():
    with tiny_streets(), learning_eagerly():
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(**fields)`: an experiment with a folder of its own."""
    return starter(tmp_path_factory, FIELDS)


@pytest.fixture(scope="module")
def full(start):
    """The run that others are held against."""
    return Trained(start())


STEPS = ("source_only", "target_only", "adapted")


class TestAFinishedRun:
    def test_metrics_keep_their_contract(self, full):
        found = json.loads(full.metrics.read_text())
        assert found == json.loads(json.dumps(full.returned))
        assert (found["method"], found["task"]) == ("i2i_adapt", "segmentation")
        assert (found["source"], found["target"]) == tuple(SCENES.values())
        assert (found["seeds"], len(found["seconds"])) == ([0], 1)
        for step in STEPS:
            assert set(found[step]) == {"target_test_miou", "source_test_miou"}
            for (miou,) in found[step].values():
                assert 0 <= miou <= 1
        assert "translations_read_correctly" not in found

    @pytest.mark.parametrize("step", STEPS)
    def test_the_mious_are_those_of_the_saved_models_on_whole_images(self, full, step):
        model = load_model(full, step, 0)
        for domain, name in SCENES.items():
            test = data.load(name, "test")
            read = []
            for image in test.images:
                # At the scale of training, where crops of 20 pixels become 32.
                seen = tf.image.resize(np.float32(image) / 127.5 - 1, (38, 64))
                logits = model.segment(np.asarray(seen), domain)
                enlarged = tf.image.resize(logits, (24, 40))
                read.append(np.argmax(enlarged, -1))
            confusion = metrics.pixel_confusion(test.labels, np.stack(read), len(CLASSES))
            assert confusion.sum() == np.sum(test.labels != data.IGNORED)
            (miou,) = full.returned[step][f"{domain}_test_miou"]
            assert miou == pytest.approx(metrics.mean_iou(confusion), abs=1e-3)

    def test_it_leaves_every_file_of_the_contract(self, full):
        assert {path.name for path in full.path.iterdir()} == {
            "flags.cfg", "metrics.json", "model.keras", "source_only.keras", "target_only.keras",
            "report.html", "figures", "history", "tensorboard", "checkpoints", "provenance.json",
            ".lock",
        }  # fmt: skip
        drawn = {path.stem for path in (full.path / "figures").glob("*.png")}
        assert drawn >= {
            "panels_source", "panels_target", "confusion", "per_class_iou", "training",
            "translation_source_to_target", "translation_target_to_source",
        }  # fmt: skip
        assert RunDirectory.open(full.path).experiment == full.experiment

    def test_every_epoch_is_logged_with_losses_and_mious(self, full):
        common = {"step", "learning_rate", "loss", "task"}
        common |= {"source_validation_miou", "target_test_miou"}
        for step in ("source_only", "target_only"):
            assert all(set(entry) == common for entry in history_of(full, step))
        entries = history_of(full, "adapted")
        assert [entry["step"] for entry in entries] == [1, 2]
        for entry in entries:
            entry.pop("warnings", None)  # so little training deserves some
            assert set(entry) == common | {*TERMS, "d_source", "d_target", "diversity"}
            assert all(np.isfinite(value) for value in entry.values())
        # All of the target's test images are few enough to be watched.
        assert entries[-1]["target_test_miou"] == pytest.approx(
            full.returned["adapted"]["target_test_miou"][0]
        )

    def test_it_says_what_it_does_and_how_it_went(self, full):
        assert full.lines[0] == (
            "rendered_streets → night_streets: 8 labelled, 8 unlabelled images of 32x32x3."
        )
        assert any(
            line.strip().startswith("Mean intersection over union on night_streets test images")
            for line in full.lines
        )
        miou = full.returned["adapted"]["target_test_miou"][0]
        assert f"  {'adapted':38s} {100 * miou:5.1f}%" in full.lines
        assert f"{100 * miou:.1f}" in full.report.read_text(encoding="utf-8")

    def test_what_reads_for_the_user_segments_images_of_any_size(self, full):
        reader = load_reader(full, 0)
        assert reader.has_masks and reader.encoder_rate == pytest.approx(0.5)
        assert reader.segment(np.zeros((17, 50, 3), "float32")).shape == (17, 50, len(CLASSES))


class TestAnInterruptedRun:
    def test_ends_as_if_it_had_not_been(self, start, full):
        experiment = start()
        run = interrupted_run(experiment, full, ["source_only", "target_only"], "adapted", epoch=1)
        assert "adapted, seed 0: continuing from step 1." in continue_quietly(experiment)
        assert_same_run(run, full, STEPS)

    @pytest.mark.slow
    def test_in_the_baseline_too(self, start, full):
        experiment = start()
        with pytest.MonkeyPatch.context() as patch:
            interrupt_in_an_epoch(patch, "source_only", epoch=1, batch=0)
            with pytest.raises(KeyboardInterrupt):
                train(experiment, lambda line: None)
        lines = []
        train(experiment, lines.append, only=["source_only"])
        assert "source_only, seed 0: continuing from step 1." in lines
        run = RunDirectory.open(experiment.run_dir)
        assert same_weights(run.model("source_only", 0), full.model("source_only", 0))
        assert history_of(run, "source_only") == history_of(full, "source_only")


class TestTargetMasks:
    """Rule: masks of the target's training images reach nothing but the ceiling."""

    def test_the_adapted_models_batches_have_the_sources_alone(self, full):
        (batches,) = (batches for name, batches in full.spy.fits if name == "I2IAdapt")
        images = tf.TensorSpec((4, 32, 32, 3), tf.float32)
        masks = tf.TensorSpec((4, 32, 32), tf.uint8)
        assert batches.element_spec == ({"source": images, "target": images}, masks)
        for _, seen in batches.take(2):
            assert set(np.unique(seen)) <= {0, 1, 2, data.IGNORED}

    @pytest.mark.slow
    def test_other_masks_change_the_ceiling_and_nothing_else(self, start, full):
        experiment = start()
        with tiny_streets(target_masks=lambda masks: np.where(masks < 3, (masks + 1) % 3, masks)):
            train(experiment, lambda line: None, only=STEPS)
        other = RunDirectory.open(experiment.run_dir)
        for step in ("source_only", "adapted"):
            assert same_weights(full.model(step, 0), other.model(step, 0))
            assert history_of(full, step) == history_of(other, step)
        assert not same_weights(full.model("target_only", 0), other.model("target_only", 0))


def test_a_target_without_masks_is_adapted_to_and_looked_at(start, tmp_path):
    write_images(tmp_path / "photos", [(30, 44), (40, 40), (25, 60)] * 4)
    run = Trained(start(target=f"image_folder:{tmp_path / 'photos'}", target_size=0, steps=1))
    assert steps_of(run.experiment) == ["source_only", "adapted"]
    for step in ("source_only", "adapted"):
        assert run.returned[step]["target_test_miou"] == [None]
        assert 0 <= run.returned[step]["source_test_miou"][0] <= 1
        assert "source_validation_miou" in history_of(run, step)[0]
        assert "target_test_miou" not in history_of(run, step)[0]
    assert (run.path / "figures" / "panels_target.png").exists()
    assert run.report.exists()
    assert not any("Mean intersection" in line for line in run.lines)


def test_the_baseline_alone_is_the_one_beside_the_adapted_model(start, full):
    run = Trained(start(method="source_only", loss_weights={}))
    assert same_weights(run.model("source_only", 0), full.model("source_only", 0))
    assert run.returned["source_only"] == full.returned["source_only"]
