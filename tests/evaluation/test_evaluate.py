import json

import numpy as np
import pytest

from keras_i2i.data.examples import Examples
from keras_i2i.errors import InputError
from keras_i2i.evaluation import evaluate as module
from keras_i2i.evaluation.evaluate import combine, evaluate

HISTORY = [{"loss": 1.0, "accuracy": 0.5}, {"loss": 0.5, "accuracy": 0.8}]
LARGE = (32, 32, 3)  # The fakes know how to go there.


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    monkeypatch.setattr(module, "POINTS_PER_DOMAIN", 20)


@pytest.fixture
def run(domains, class_names, tmp_path):
    def run(models, **options):
        everything = {"class_names": class_names, "out_dir": tmp_path, "seed": 0}
        return evaluate(models, **(domains | everything | options))

    return run


def test_every_number_and_figure_of_a_full_run(run, models, domains, tmp_path):
    result = run(models, history=HISTORY)
    assert result == json.loads(json.dumps(result, allow_nan=False))
    assert set(result["models"]) == {"source_only", "adapted", "target_only"}
    # The source-only model takes inverted digits for what they are not; the others invert back.
    before, after = (result["models"][name] for name in ("source_only", "adapted"))
    assert before["target_test_accuracy"] < 0.3 < 0.7 < after["target_test_accuracy"]
    assert before["source_test_accuracy"] == after["source_test_accuracy"]

    labels = domains["target_test"].labels
    matrix = np.array(after["target_test_confusion"])
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(labels, minlength=10))
    assert np.trace(matrix) / len(labels) == pytest.approx(after["target_test_accuracy"])
    np.testing.assert_allclose(
        after["target_test_per_class"], np.diagonal(matrix) / matrix.sum(axis=1)
    )

    to_target, to_source = (result["translations"][d] for d in module.DIRECTIONS)
    assert (to_target["reader"], to_source["reader"]) == ("target_only", "source_only")
    # Inverting is perfect, so translations are read exactly as well as what was translated.
    assert to_target["read_correctly"] == pytest.approx(before["source_test_accuracy"])
    assert to_source["read_correctly"] == pytest.approx(after["target_test_accuracy"])
    assert result["warnings"] == []

    assert set(result["figures"]) == {
        "translation_source_to_target", "neighbours_source_to_target",
        "translation_target_to_source", "neighbours_target_to_source",
        "confusion", "per_class", "tsne", "tsne_images", "training",
    }  # fmt: skip
    assert {tmp_path / path for path in result["figures"].values()} == set(
        tmp_path.glob("figures/*")
    )


@pytest.mark.usefixtures("undrawn")
def test_a_permuting_translator_is_caught(run, models, fake):
    adapted = fake(can_translate=True, swap=(2, 8))
    result = run(models | {"adapted": adapted})
    for direction in module.DIRECTIONS:
        permuted = result["translations"][direction]["permuted"]
        assert [(one["label"], one["read_as"]) for one in permuted] == [(2, 8), (8, 2)]
    assert any("2 is read as 8" in warning for warning in result["warnings"])


@pytest.mark.usefixtures("undrawn")
def test_a_reader_that_mistakes_real_images_too_accuses_nobody(run, models, fake):
    reader = fake()
    reader.prototypes = reader.prototypes[[0, 1, 8, 3, 4, 5, 6, 7, 2, 9]]
    measured = run(models | {"target_only": reader})["translations"]["source_to_target"]
    assert measured["reader"] == "target_only"
    assert measured["matrix"][2][8] > 10 and measured["permuted"] == []


@pytest.mark.usefixtures("undrawn")
def test_a_lattice_of_spots_is_caught(run, models, fake):
    result = run(models | {"adapted": fake(can_translate=True, lattice=1.0)})
    measured = result["translations"]["source_to_target"]
    assert measured["checkerboard"] > measured["checkerboard_real"] + 0.01
    assert any("lattice" in warning for warning in result["warnings"])


@pytest.mark.usefixtures("undrawn")
def test_a_collapsed_translator_is_caught(run, models, fake):
    adapted = fake(can_translate=True)
    adapted.translate = lambda images, direction: np.repeat(-images[:1], len(images), axis=0)
    assert any("resemble" in warning for warning in run(models | {"adapted": adapted})["warnings"])


@pytest.mark.usefixtures("undrawn")
def test_chance_level_and_harm_are_said(run, fake):
    guessing = fake()
    guessing.classify = lambda images, domain="target": np.eye(10)[np.zeros(len(images), int)]
    warnings = run({"source_only": fake(), "adapted": guessing})["warnings"]
    assert any("chance" in warning for warning in warnings)
    assert any("harm" in warning for warning in warnings)


def test_a_model_that_diverged_gets_its_result(run, models, fake):
    diverged = fake(can_translate=True)
    diverged.classify = lambda images, domain="target": np.full((len(images), 10), np.nan)
    diverged.embed = lambda images, domain="target": np.full((len(images), 4), np.nan)
    diverged.translate = lambda images, direction: np.full_like(images, np.nan)
    diverged.reconstruct = lambda images, domain: np.full_like(images, np.nan)
    result = run(models | {"adapted": diverged})
    assert any("diverged" in warning for warning in result["warnings"])


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_translation_has_none(run, models):
    result = run({"source_only": models["source_only"]})
    assert "translations" not in result
    assert set(result["figures"]) == {"confusion", "per_class", "tsne"}


@pytest.mark.usefixtures("undrawn")
def test_without_a_ceiling_the_source_only_model_reads_not_one_trained_on_translations(run, models):
    result = run({"source_only": models["source_only"], "adapted": models["adapted"]})
    assert {one["reader"] for one in result["translations"].values()} == {"source_only"}
    result = run({"adapted": models["adapted"]})
    assert result["translations"]["source_to_target"]["reader"] == "adapted"


@pytest.mark.usefixtures("undrawn")
def test_a_translator_beside_the_classifier(run, fake):
    """Two-step methods: one model translates, another one reads."""
    translator = fake(can_translate=True)
    translator.can_classify = False
    result = run({"source_only": fake(), "adapted": fake(), "translator": translator})
    assert set(result["models"]) == {"source_only", "adapted"}
    assert result["translations"]["source_to_target"]["read_correctly"] > 0.7


@pytest.mark.usefixtures("undrawn")
def test_readers_of_another_size_get_images_of_that_size(run, models, fake):
    reader = fake()
    reader.image_shape_of = lambda domain: (24, 24, 3)
    reader.distances = lambda images, domain: np.zeros((len(images), 10))
    assert run(models | {"target_only": reader})["models"]["target_only"]


@pytest.mark.usefixtures("undrawn")
def test_an_adapted_model_with_two_names_is_run_once(run, models, fake):
    both = fake(can_translate=True)
    both.weight = np.float64(0.7)
    result = run({"source_only": models["source_only"], "sum": both, "adapted": both})
    assert result["models"]["adapted"] == result["models"]["sum"]
    assert result["models"]["sum"]["weight"] == 0.7
    assert result["adapted_is"] == "sum"
    assert both.classified == 2, "both test sets once; the source-only model reads translations"
    assert run({"adapted": fake(), "sum": both})["adapted_is"] is None
    assert run({"adapted": both, "target_only": both})["adapted_is"] is None


@pytest.mark.usefixtures("undrawn")
def test_a_sum_worse_than_its_better_half_is_said(run, fake):
    models = {"on_translated_source": fake(blind=True), "reads_translated_target": fake()}
    worse, same = fake(blind=True), fake()
    assert any(
        "weighted sum" in warning and "classifier that reads translations" in warning
        for warning in run(models | {"sum": worse})["warnings"]
    )
    assert run(models | {"sum": same})["warnings"] == []


def test_domains_of_different_shapes(run, fake):
    """LSTNet: native sizes; its classifiers know one of the two."""
    adapted = fake(can_translate=True, target_shape=LARGE)
    models = {
        "source_only": fake(blind=True),
        "adapted": adapted,
        "target_only": fake(target_shape=LARGE),
    }
    result = run(models)
    reached = result["models"]["target_only"]["target_test_accuracy"]
    assert reached > 0.7
    assert result["models"]["adapted"]["target_test_accuracy"] == reached
    to_target, to_source = (result["translations"][d] for d in module.DIRECTIONS)
    assert to_target["read_correctly"] > 0.7 and to_source["read_correctly"] > 0.7
    assert to_target["diversity"] / to_target["diversity_real"] == pytest.approx(1, abs=0.2)
    assert "tsne_images" in result["figures"]


def test_a_translator_of_one_direction(run, models, fake):
    """DTN: from the source to the target, with other channels, and no way to rebuild the source."""
    translator = fake(
        can_translate=True, directions=("source_to_target",), target_shape=LARGE, rebuilds=False
    )
    translator.can_classify = False
    result = run({"source_only": models["source_only"], "translator": translator})
    assert list(result["translations"]) == ["source_to_target"]
    assert result["translations"]["source_to_target"]["rows"] == ["input", "translated"]
    assert {name for name in result["figures"] if "_to_" in name} == {
        "translation_source_to_target", "neighbours_source_to_target",
    }  # fmt: skip
    assert "tsne_images" in result["figures"]


@pytest.mark.usefixtures("undrawn")
def test_without_a_way_to_the_target_there_is_no_map_of_images(run, models, fake):
    adapted = fake(can_translate=True, directions=("target_to_source",))
    result = run(models | {"adapted": adapted})
    assert list(result["translations"]) == ["target_to_source"]
    assert result["translations"]["target_to_source"]["rows"] == [
        "input", "translated", "reconstructed",
    ]  # fmt: skip
    assert "tsne_images" not in result["figures"]


@pytest.mark.usefixtures("undrawn")
def test_a_translator_that_could_classify_is_none_of_the_classifiers(run, models, fake):
    result = run({"adapted": models["adapted"], "translator": fake(can_translate=True)})
    assert list(result["models"]) == ["adapted"]


@pytest.mark.usefixtures("undrawn")
def test_the_joint_model_translates_for_a_reported_one_that_does_not(run, fake):
    result = run({"adapted": fake(), "joint": fake(can_translate=True)})
    assert len(result["translations"]) == 2


def test_nothing_labelled_and_nothing_classified(run, domains, fake):
    """Faces: folders of images, and a model that translates."""
    translator = fake(can_translate=True)
    translator.can_classify = False
    unlabelled = {name: examples.without_labels() for name, examples in domains.items()}
    result = run({"translator": translator}, **unlabelled, class_names=(), history=HISTORY)
    assert result["models"] == {}
    measured = result["translations"]["source_to_target"]
    assert measured["reader"] is measured["read_correctly"] is None
    assert measured["diversity"] == pytest.approx(measured["diversity_real"], rel=0.1)
    assert not measured["within_class"]
    assert {"tsne_images", "training", "neighbours_source_to_target"} <= set(result["figures"])
    assert not {"tsne", "confusion", "per_class"} & set(result["figures"])
    combined = combine([result], method="dtn", source="a", target="b", seconds=[1.0])
    assert "accuracy" not in json.dumps({**combined, "per_seed": None})
    assert "translations_read_correctly" not in combined


@pytest.mark.usefixtures("undrawn")
def test_a_collapse_without_labels_is_caught(run, domains, fake):
    translator = fake()
    translator.directions, translator.can_classify = ("source_to_target",), False
    translator.translate = lambda images, direction: np.repeat(-images[:1], len(images), axis=0)
    unlabelled = {name: examples.without_labels() for name, examples in domains.items()}
    (warning,) = run({"translator": translator}, **unlabelled, class_names=())["warnings"]
    assert "collapsed" in warning and "class" not in warning


@pytest.mark.usefixtures("undrawn")
def test_an_unlabelled_target_leaves_the_source_accuracies(run, models, domains, fake):
    result = run(
        {"source_only": fake(), "adapted": models["adapted"]},
        target_test=domains["target_test"].without_labels(),
    )
    score = result["models"]["adapted"]
    assert score["source_test_accuracy"] > 0.7 and score["target_test_accuracy"] is None
    assert not {"confusion", "per_class"} & set(result["figures"])
    assert "tsne" in result["figures"]
    to_target, to_source = (result["translations"][d] for d in module.DIRECTIONS)
    assert to_target["read_correctly"] > 0.7 and to_target["read_correctly_real"] is None
    assert to_source["read_correctly"] is None


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("history", [None, [], HISTORY[:1], [{"seconds": 1.0}] * 3])
def test_what_is_no_curve_is_not_drawn(history, run, models):
    assert "training" not in run({"target_only": models["target_only"]}, history=history)["figures"]


@pytest.mark.usefixtures("undrawn")
def test_names_are_written_for_people(run, models):
    names = ("printed_digits", "usps")
    result = run({"target_only": models["target_only"]}, domain_names=names)
    assert result["domain_names"] == ["printed digits", "usps"]


@pytest.mark.usefixtures("undrawn")
def test_seeds_have_figures_of_their_own(run, models):
    result = run({"source_only": models["source_only"]}, seed=7, seed_in_names=True)
    assert result["figures"]["confusion"] == "figures/confusion_seed7.png"


def test_inputs_that_cannot_be_evaluated(run, models, domains):
    with pytest.raises(InputError, match="No model"):
        run({})
    with pytest.raises(InputError, match="3 class names"):
        run(models, class_names=["a", "b", "c"])
    empty = Examples(np.zeros((0, 8, 8, 1), "uint8"), np.zeros(0, "int64"))
    with pytest.raises(InputError, match="no source test examples"):
        run(models, source_test=empty)


def per_seed(seed, **models):
    return {
        "seed": seed,
        "models": {
            name: {"target_test_accuracy": value, "source_test_accuracy": 1.0}
            for name, value in models.items()
        },
        "translations": {
            direction: {"read_correctly": 0.5 + seed / 10, "reader": f"who reads {direction}"}
            for direction in module.DIRECTIONS
        },
    }


def test_combine_keeps_the_contract():
    names = {"method": "i2i_adapt", "source": "mnist", "target": "usps"}
    seeds = [per_seed(0, source_only=0.5, adapted=0.9), per_seed(3, source_only=0.6, adapted=0.8)]
    combined = combine(
        seeds, **names, seconds=[1.5, 2.5], judged_by="translations", command="python train.py"
    )
    details = combined.pop("per_seed")
    assert [one["seed"] for one in details] == [0, 3]
    assert combined == {
        **names,
        "seeds": [0, 3],
        "seconds": [1.5, 2.5],
        "target_labels_per_class": 0,
        "source_only": {"target_test_accuracy": [0.5, 0.6], "source_test_accuracy": [1.0, 1.0]},
        "adapted": {"target_test_accuracy": [0.9, 0.8], "source_test_accuracy": [1.0, 1.0]},
        "translations_read_correctly": {
            "source_to_target": [0.5, 0.8],
            "target_to_source": [0.5, 0.8],
        },
        "translations_read_by": {
            "source_to_target": "who reads source_to_target",
            "target_to_source": "who reads target_to_source",
        },
        "judged_by": "translations",
        "command": "python train.py",
    }


def test_combine_keeps_weights_and_existing_directions():
    names = {"method": "m", "source": "s", "target": "t"}
    seeds = [per_seed(0, adapted=0.9, sum=0.9), per_seed(1, adapted=0.8, sum=0.8)]
    for seed, weight in zip(seeds, (0.7, 0.6), strict=True):
        seed["models"]["sum"]["weight"] = weight
        del seed["translations"]["target_to_source"]
    combined = combine(seeds, **names, seconds=[1.0, 1.0])
    assert combined["sum"]["weight"] == [0.7, 0.6]
    assert combined["sum"]["target_test_accuracy"] == combined["adapted"]["target_test_accuracy"]
    assert combined["translations_read_correctly"] == {"source_to_target": [0.5, 0.6]}


def test_combine_refuses_what_does_not_fit():
    names = {"method": "m", "source": "s", "target": "t"}
    with pytest.raises(InputError, match="No seed"):
        combine([], **names, seconds=[])
    with pytest.raises(InputError, match="1 durations"):
        combine([per_seed(0, adapted=1.0)], **names, seconds=[])
    with pytest.raises(InputError, match="same models"):
        combine(
            [per_seed(0, adapted=1.0), per_seed(1, source_only=1.0)], **names, seconds=[1.0, 1.0]
        )
