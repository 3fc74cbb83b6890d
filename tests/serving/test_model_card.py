"""What metadata and the card say, from runs whose results are known."""

import copy
import json

import numpy as np
import pytest

import keras_i2i
from keras_i2i.data import Geometry
from keras_i2i.errors import InputError
from keras_i2i.serving.model_card import metadata, model_card, signature_line
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory

SIGNATURES = {
    "classify": {
        "inputs": {"images": {"dtype": "uint8", "shape": [None, None, None, 1]}},
        "outputs": {
            "class_names": {"dtype": "string", "shape": [None]},
            "probabilities": {"dtype": "float32", "shape": [None, 10]},
        },
    }
}
DIGITS = [str(digit) for digit in range(10)]


class Reader:
    """What the card asks of a model."""

    can_classify, has_masks = True, False
    directions = ("target_to_source",)

    def image_shape_of(self, domain):
        return (16, 16, 1)


class Translator(Reader):
    can_classify = False


class Segmenter(Reader):
    has_masks, directions = True, ()


def score(accuracy, seed=0):
    """What an evaluation says of a model that reads 40 images, 4 of each class."""
    matrix = 4 * np.eye(10, dtype=int)
    per_class = [1.0 - digit / 100 for digit in range(10)]
    return {
        "target_test_accuracy": accuracy + seed / 100,
        "target_test_per_class": per_class,
        "target_test_confusion": matrix.tolist(),
    }


def evaluation(seed=0, **models):
    """What metrics.json holds of a seed."""
    return {
        "seed": seed,
        "class_names": DIGITS,
        "models": models,
        "warnings": [f"A warning of seed {seed}."],
    }


def full(seed=0):
    return evaluation(
        seed,
        source_only=score(0.5, seed),
        target_only=score(0.9, seed),
        adapted=score(0.75, seed),
    )


@pytest.fixture
def make_run(tmp_path):
    """`make_run(*evaluations, **fields)`: a run, with no more of its models than their dates."""

    def make_run(*evaluations, **fields):
        fields = {"source": "printed_digits", "target": "handwritten_digits", **fields}
        run = RunDirectory.create(Experiment(run_dir=str(tmp_path / "run"), **fields))
        if evaluations:
            run.metrics.write_text(json.dumps({"per_seed": evaluations}))
        return run

    return make_run


@pytest.fixture(autouse=True)
def saved(monkeypatch):
    """Models that were saved at a known time."""
    known = {"finished": "2026-11-21@20:00:00", "keras": "3.15.1"}
    monkeypatch.setattr("keras_i2i.serving.model_card._saved", lambda run, seed: known)


def facts_of(run, seed=0, model=None):
    return metadata(
        run, seed, model or Reader(), name="digits", format="saved_model", signatures=SIGNATURES
    )


class TestMetadata:
    def test_it_is_strict_json_with_all_that_is_known(self, make_run):
        facts = facts_of(make_run(full()))
        assert json.loads(json.dumps(facts, allow_nan=False))["signatures"] == SIGNATURES
        assert (facts["name"], facts["format"]) == ("digits", "saved_model")
        assert facts["versions"]["keras_i2i"] == keras_i2i.__version__
        assert facts["exported"].endswith("+00:00")
        assert facts["model"]["method"] == "i2i_adapt"
        assert facts["model"]["adaptation"] == "joint"
        assert facts["data"]["class_names"] == DIGITS
        assert facts["images"]["target_shape"] == [16, 16, 1]
        assert facts["training"]["flags"]["learning_rate"] == 2e-4
        assert facts["training"]["keras"] == "3.15.1"
        assert facts["training"]["provenance"] is None, "a run from before there was a record"

    def test_the_revision_that_trained_it_is_named(self, make_run):
        run = make_run(full())
        git = {"revision": "abc123", "dirty": True}
        start = {"versions": {"keras": "3.15.1"}, "git": git}
        made_of = {"data": {"source": {}}, "starts": [{**start, "git": None}, start]}
        run.provenance.write_text(json.dumps(made_of))
        assert facts_of(run)["training"]["provenance"] == made_of
        card = model_card(facts_of(run))
        assert "by Keras 3.15.1, trained at git revision abc123 with changes." in card

    def test_its_geometry_makes_the_same_images(self, make_run):
        run = make_run(load_size=40, crop_size=32, fit="crop")
        assert Geometry(**facts_of(run)["images"]["geometry"]) == run.experiment.geometry

    def test_measured_is_the_seeds_own(self, make_run):
        run = make_run(full(3), full(5), seeds=[3, 5])
        for seed in (3, 5):
            facts = facts_of(run, seed)
            measured = facts["measured"]
            assert measured["value"] == 0.75 + seed / 100
            assert measured["without_adaptation"] == 0.5 + seed / 100
            assert measured["ceiling"] == 0.9 + seed / 100
            assert measured["seed"] == facts["training"]["seed"] == seed
            assert measured["every_seed"] == {3: 0.78, 5: 0.80}
            assert measured["images"] == 40
            assert facts["warnings"] == [f"A warning of seed {seed}."]

    @pytest.mark.parametrize("method", ["source_only", "target_only"])
    def test_a_baseline_is_not_measured_against_itself(self, make_run, method):
        measured = facts_of(make_run(evaluation(**{method: score(0.6)}), method=method))["measured"]
        assert measured["value"] == 0.6
        assert "without_adaptation" not in measured
        assert "ceiling" not in measured

    def test_segmentation_is_measured_in_pixels(self, make_run):
        scores = {
            "target_test_miou": 0.5,
            "target_test_per_class_iou": [0.5] * 9 + [None],
            "target_test_confusion": [[1000, 200], [0, 34]],
        }
        measured = facts_of(make_run(evaluation(adapted=scores)))["measured"]
        assert (measured["measure"], measured["pixels"]) == ("mean intersection over union", 1234)
        assert "images" not in measured

    @pytest.mark.parametrize(
        ("evaluations", "model", "why"),
        [
            ([], Reader(), "the run was not evaluated"),
            (
                [evaluation(adapted=score(0) | {"target_test_accuracy": None})],
                Reader(),
                "the target's test images have no labels",
            ),
            ([evaluation()], Translator(), "it does not classify"),
        ],
    )
    def test_what_was_not_measured_says_why(self, make_run, evaluations, model, why):
        facts = facts_of(make_run(*evaluations), model=model)
        assert facts["measured"] is None
        assert facts["not_measured"] == why
        assert f"Not measured: {why}." in model_card(facts)

    def test_damaged_results_are_an_error(self, make_run):
        run = make_run()
        run.metrics.write_text("{")
        with pytest.raises(InputError, match="is damaged"):
            facts_of(run)

    @pytest.mark.parametrize(
        ("fields", "learned_from"),
        [
            ({}, "labelled training images of printed_digits, and training images of "
                 "handwritten_digits, without labels"),
            ({"target_labels_per_class": 5}, "labelled training images of printed_digits, and "
             "training images of handwritten_digits, 5 of each class with their labels"),
            ({"method": "source_only"}, "labelled training images of printed_digits"),
            ({"method": "target_only"}, "labelled training images of handwritten_digits"),
        ],
    )  # fmt: skip
    def test_it_says_which_labels_were_learned_from(self, make_run, fields, learned_from):
        assert facts_of(make_run(**fields))["training"]["images"] == learned_from

    @pytest.mark.parametrize(
        ("fields", "weights"),
        [
            ({}, "all from random numbers"),
            ({"encoder": "resnet18"}, "all from random numbers"),
            (
                {"encoder": "resnet50", "encoder_weights": "imagenet"},
                "encoder resnet50 from keras-cv's, pre-trained on ImageNet; all else from random "
                "numbers",
            ),
            (
                {"encoder": "resnet34", "encoder_weights": "mine.weights.h5"},
                "encoder resnet34 from the file mine.weights.h5; all else from random numbers",
            ),
            (
                {"method": "dtn", "encoder_file": "f.keras"},
                "encoder from the file f.keras, all else from random numbers",
            ),
        ],
    )
    def test_it_says_where_weights_come_from(self, make_run, fields, weights):
        facts = facts_of(make_run(**fields))
        assert facts["training"]["weights"] == weights
        assert f"- Weights: {weights}." in model_card(facts)


class TestCard:
    @pytest.fixture
    def facts(self, make_run):
        return facts_of(make_run(full(0), full(1), seeds=[0, 1]), 1)

    def test_it_is_made_of_the_metadata_alone(self, facts):
        before = copy.deepcopy(facts)
        card = model_card(facts)
        assert facts == before
        assert model_card(json.loads(json.dumps(facts))) == card

    def test_it_says_how_well_the_model_reads(self, facts):
        card = model_card(facts)
        assert (
            "**76.0 %** accuracy on the test images of `handwritten_digits` (40 images), seed 1."
        ) in card
        assert "- Without adaptation: 51.0 %\n" in card
        assert "- Trained on the target's labels, the ceiling: 91.0 %\n" in card
        assert "- All 2 seeds of the run: from 75.0 % to 76.0 %\n" in card
        assert "- Weakest classes, 9: 91.0 %, 8: 92.0 %, 7: 93.0 %\n" in card

    def test_it_owns_up_to_a_test_on_training_images(self, make_run):
        told = "- These are training images: a model trained on the target's labels has learnt thei"
        run = make_run(full())
        assert told not in model_card(facts_of(run))
        seen = {"target": {"images": 0, "of": 40, "transductive": True, "left_out": 0}}
        run.metrics.write_text(json.dumps({"per_seed": [full()], "test_images_seen": seen}))
        assert told in model_card(facts_of(run))

    def test_it_says_what_goes_in_and_comes_out(self, facts):
        card = model_card(facts)
        assert card.startswith("# digits\n\nTells which of 10 classes an image of ")
        assert "Classes, numbered from 0 as in labels.txt: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.\n" in card
        assert f"```\n{signature_line('classify', SIGNATURES['classify'])}\n```\n" in card

    def test_it_says_where_the_model_ends(self, facts):
        card = model_card(facts)
        for part in (
            "Probabilities are not calibrated",
            "one of the classes, also where none fits",
            "Labels of the target were used for that number only.",
            "Translations are plausible, not true",
            "\n> A warning of seed 1.\n",
        ):
            assert part in card

    @pytest.mark.parametrize("fields", [{"method": "target_only"}, {"target_labels_per_class": 5}])
    def test_it_does_not_deny_labels_that_were_learned_from(self, make_run, fields):
        name = fields.get("method", "adapted")
        card = model_card(facts_of(make_run(evaluation(**{name: score(0.9)}), **fields)))
        assert "for that number only" not in card

    def test_a_translator_has_no_probabilities(self, make_run):
        card = model_card(facts_of(make_run(), model=Translator()))
        assert "Translates images between `printed_digits` and `handwritten_digits`." in card
        assert "Probabilities" not in card
        assert "Every image gets" not in card

    def test_a_sum_is_explained_by_its_halves(self, make_run):
        card = model_card(facts_of(make_run(method="cyclegan")))
        assert (
            "Adapted from `printed_digits` by `cyclegan`, preset `cyclegan`, CycleGAN for domain "
            "adaptation (Basci): the weighted sum, a classifier trained on source images "
            "translated to the target + the source-only classifier reads target images"
        ) in card

    def test_other_formats_leave_the_images_to_the_caller(self, facts):
        words = "Whoever calls brings them to that, as floats with black at -1 and white at 1"
        assert words not in model_card(facts)
        assert words in model_card({**facts, "format": "onnx"})

    def test_many_classes_are_counted(self, facts):
        facts["data"]["class_names"] = [f"class {number}" for number in range(45)]
        card = model_card(facts)
        assert "class 19, and 25 more.\n" in card
        assert "class 20" not in card

    @pytest.mark.parametrize(
        ("model", "fields", "words"),
        [
            (Reader(), {}, "of any size, resized to 16x16, gray."),
            (Reader(), {"load_size": 40}, "of any size, resized to 16x16, gray."),
            (Reader(), {"fit": "crop"},
             "of any size, the central square cut out, resized to 16x16, gray."),
            (Reader(), {"fit": "crop", "load_size": 40, "crop_size": 32},
             "of any size, scaled until the shorter side is 40, the central square of 32 cut out, "
             "resized to 16x16, gray."),
            (Reader(), {"load_size": 40, "crop_size": 32},
             "of any size, scaled to 40x40, the central square of 32 cut out, resized to 16x16, "
             "gray."),
            (Segmenter(), {}, "of any size, resized to 16x16, read as a whole, gray."),
            (Segmenter(), {"crop_size": 16}, "of any size, read as a whole, gray."),
            (Segmenter(), {"crop_size": 64},
             "of any size, scaled by 16/64, read as a whole, gray."),
            (Segmenter(), {"fit": "crop", "load_size": 40},
             "of any size, scaled until the shorter side is 16, read as a whole, gray."),
        ],
    )  # fmt: skip
    def test_it_says_how_images_are_brought_to_size(self, make_run, model, fields, words):
        card = model_card(facts_of(make_run(**fields), model=model))
        assert f"Images like those of `handwritten_digits`: {words}\n" in card


def test_a_signature_in_a_line():
    assert signature_line("classify", SIGNATURES["classify"]) == (
        "classify(images: uint8[?, ?, ?, 1]) → class_names: string[?], probabilities: "
        "float32[?, 10]"
    )
