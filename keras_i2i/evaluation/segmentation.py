"""One seed's segmentation models through every measure and picture; the sibling of `evaluate`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_i2i.data.examples import Examples, StoredExamples
from keras_i2i.data.geometry import Geometry
from keras_i2i.errors import InputError
from keras_i2i.evaluation import common, embeddings, figures, metrics
from keras_i2i.evaluation.common import DIRECTIONS, STAGES, percent
from keras_i2i.files import jsonable

PANELS = 5
TRANSLATED = 24  # As many are in memory at once.
GRID_COLUMNS = 5
CELL_WIDTH = 1.7  # inches


def evaluate_segmentation(
    models: Mapping[str, Any],
    source_test: Examples | StoredExamples,
    target_test: Examples | StoredExamples,
    *,
    geometry: Geometry,
    class_names: Sequence[str],
    palette: Sequence[tuple[int, int, int]] | None,
    out_dir: str | os.PathLike,
    seed: int,
    history: Sequence[Mapping[str, float]] | None = None,
    domain_names: tuple[str, str] = ("source", "target"),
    seed_in_names: bool = False,
) -> dict[str, Any]:
    """Measures the segmentation models of one seed and draws their figures.

    Test images are read one at a time, each once for all models, and are seen whole, at the scale
    of training (`Geometry.whole`). Predictions are compared with masks pixel by pixel at the masks'
    own size. Intersections and unions are summed over all images before they are divided, as
    Cityscapes does; the mean is over classes that appear in masks or predictions.

    A model offers `image_shape_of(domain)` and `segment(image, domain, size)`, from one float image
    (h, w, C) in [-1, 1] to logits (*size, classes); one that translates, what `evaluate` says.

    Args:
        models: by the names that `evaluate` knows.
        source_test: with masks of any sizes; without them there is no mIoU on the source.
        target_test: the same of the target; the masks are for reporting only.
        geometry: how images were brought to the networks' size in training.
        class_names: one name per class.
        palette: an RGB colour in [0, 255] for each class; None for colours of our own.
        out_dir: the run's folder; figures go to its `figures`.
        seed: of the run; also seeds the samples that figures are drawn from.
        history: one dict per epoch, name → value, for the training curves.
        domain_names: what figures call the domains, fit to stand before "images".
        seed_in_names: whether file names end in `_seed{seed}`, for runs of several seeds.

    Returns:
        JSON-able: `task`, which is "segmentation"; `seed`, `class_names`, `domain_names`; `models`,
        name → `finite` (whether its logits are), `target_test_miou`, `source_test_miou`,
        `target_test_pixel_accuracy`, `target_test_per_class_iou` (a list, None for a class that
        does not appear), `target_test_confusion` (counts of pixels, mask by prediction), of a
        weighted sum its `weight`; `adapted_is`, `translations`, direction → `checkerboard`,
        `diversity`, `within_class` and `rows`, of a sample, `figures`, `curves` and `warnings` as
        from `evaluate`. What cannot be known without masks is None; with no masks at all, `models`
        is empty.

    Raises:
        InputError: no models, no test examples, a mask with a class that has no name, or more
            images that cannot be read than the examples put up with.
    """
    tests = {"source": source_test, "target": target_test}
    _check(models, tests)
    drawing = common.Drawing(
        out_dir=Path(out_dir),
        domain_names=common.readable_names(domain_names),
        suffix=f"_seed{seed}" if seed_in_names else "",
    )
    readers = common.readers_of(models)
    result: dict[str, Any] = {
        "task": "segmentation",
        "seed": seed,
        "class_names": list(class_names),
        "domain_names": drawing.domain_names,
        "adapted_is": common.other_name(readers),
    }
    counts = {}
    finite = dict.fromkeys(readers, True)
    for domain, test in tests.items():
        seen = _look(readers, domain, test, geometry, len(class_names), seed)
        counts[domain] = seen.counts if test.has_masks else None
        finite = {name: finite[name] and seen.finite[name] for name in readers}
        if readers and seen.panels:
            title = f"{drawing.domain_names[domain == 'target']} test images"
            rows = seen.panels
            drawing.draw(
                f"panels_{domain}", figures.segmentation_panels, rows, class_names, palette, title
            )
    scores = {}
    if any(test.has_masks for test in tests.values()):
        scores = {name: _score(readers[name], name, counts, finite[name]) for name in readers}
    result["models"] = scores
    translator = common.translator_of(models)
    if translator is not None:
        images = {
            domain: _sample(test, geometry, translator.image_shape_of(domain), seed)
            for domain, test in tests.items()
        }
        result["translations"] = {
            direction: _translate(translator, images, direction, drawing)
            for direction in translator.directions
        }
    _draw_scores(scores, class_names, drawing)
    result["curves"] = drawing.draw_training(history)
    result["figures"] = drawing.figures
    result["warnings"] = _warnings(result)
    return jsonable(result)


def _check(models: Mapping[str, Any], tests: Mapping[str, Examples | StoredExamples]) -> None:
    if not models:
        raise InputError("No model to evaluate; expected one, such as source_only or adapted.")
    for domain, test in tests.items():
        if not len(test):
            raise InputError(
                f"There are no {domain} test examples; expected at least one image. Give a test "
                "split that has some."
            )


@dataclass
class _Seen:
    """What the models make of one domain's test images.

    Attributes:
        counts: model → confusion matrix of pixels.
        finite: model → whether its logits are.
        panels: the rows of a figure.
    """

    counts: dict[str, np.ndarray]
    finite: dict[str, bool]
    panels: list[dict[str, np.ndarray]]


def _look(
    readers: Mapping[str, Any],
    domain: str,
    test: Examples | StoredExamples,
    geometry: Geometry,
    num_classes: int,
    seed: int,
) -> _Seen:
    """Segments a domain's test images: all that have masks, else those that a figure shows."""
    counts = {name: np.zeros((num_classes, num_classes), "int64") for name in readers}
    seen = _Seen(counts, dict.fromkeys(readers, True), [])
    columns = [name for name in readers if name in STAGES] or list(readers)
    shown = embeddings.sample(len(test), PANELS, seed)
    if not test.has_masks:
        test, shown = test[shown], np.arange(len(shown))
    for position, image, mask in test.readable():
        size = image.shape[:2] if mask is None else mask.shape
        row = {"image": image} if mask is None else {"image": image, "mask": mask}
        views: dict[tuple, np.ndarray] = {}
        for model, names in _unique(readers):
            shape = tuple(model.image_shape_of(domain))
            if shape not in views:
                views[shape] = np.asarray(geometry.whole(image, shape))
            logits = model.segment(views[shape], domain=domain, size=size)
            is_finite = bool(np.isfinite(logits).all())
            classes = logits.argmax(axis=-1)
            for name in names:
                seen.finite[name] &= is_finite
                if mask is not None:
                    counts[name] += metrics.pixel_confusion(mask, classes, num_classes)
                if name in columns:
                    row[name.replace("_", " ")] = classes
        if position in shown:
            seen.panels.append(row)
    return seen


def _unique(readers: Mapping[str, Any]) -> list[tuple[Any, list[str]]]:
    """Each model once, with all of its names."""
    unique: dict[int, tuple[Any, list[str]]] = {}
    for name, model in readers.items():
        unique.setdefault(id(model), (model, []))[1].append(name)
    return list(unique.values())


def _score(
    model: Any, name: str, counts: Mapping[str, Mapping[str, np.ndarray] | None], finite: bool
) -> dict[str, Any]:
    source, target = (
        counts[domain][name] if counts[domain] else None for domain in ("source", "target")
    )
    score: dict[str, Any] = {
        "target_test_miou": None if target is None else metrics.mean_iou(target),
        "source_test_miou": None if source is None else metrics.mean_iou(source),
        "target_test_pixel_accuracy": None if target is None else metrics.pixel_accuracy(target),
        "target_test_per_class_iou": None if target is None else metrics.iou(target),
        "target_test_confusion": target,
        "finite": finite,
    }
    if getattr(model, "weight", None) is not None:
        score["weight"] = float(model.weight)
    return score


def _sample(
    test: Examples | StoredExamples, geometry: Geometry, image_shape: Sequence[int], seed: int
) -> np.ndarray:
    """A few test images as in training, (n, H, W, C) in [-1, 1]."""
    chosen = test[embeddings.sample(len(test), TRANSLATED, seed)].without_labels()
    images = [geometry.for_test(image, tuple(image_shape)) for _, image, _ in chosen.readable()]
    if not images:
        raise InputError(f"None of {len(chosen)} test images can be read; nothing to translate.")
    return np.stack(images)


def _translate(
    translator: Any, samples: Mapping[str, np.ndarray], direction: str, drawing: common.Drawing
) -> dict[str, Any]:
    """Measures and draws the translations of a few images in one direction."""
    origin, destination = DIRECTIONS[direction]
    images = samples[origin]
    translated = common.in_range(translator.translate(images, direction))
    measured = common.translation_quality(translated, samples[destination])
    shown = slice(GRID_COLUMNS)
    rows = common.translation_rows(translator, direction, images[shown], translated[shown])
    height, width = images.shape[1:3]
    drawing.draw(
        f"translation_{direction}",
        figures.image_grid,
        rows,
        [""] * len(rows["input"]),
        drawing.way(direction),
        cell=(CELL_WIDTH, CELL_WIDTH * height / width),
    )
    return measured | {"rows": list(rows)}


def _draw_scores(
    scores: Mapping[str, Mapping[str, Any]], class_names: Sequence[str], drawing: common.Drawing
) -> None:
    known = {
        name: score
        for name, score in scores.items()
        if name in (*STAGES, "target_only") and np.any(score["target_test_confusion"])
    }
    matrices = {
        f"{title}: {percent(known[name]['target_test_miou'])}": known[name]["target_test_confusion"]
        for name, title in STAGES.items()
        if name in known
    }
    if matrices:
        drawing.draw("confusion", figures.confusions, matrices, class_names)
    if known:
        ious = {name: score["target_test_per_class_iou"] for name, score in known.items()}
        drawing.draw("per_class_iou", figures.iou_bars, ious, class_names)


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader should know before believing the numbers, in words."""
    names = dict(zip(("source", "target"), result["domain_names"], strict=True))
    scores = result["models"]
    found = common.warn_of_divergence(scores, result["adapted_is"])
    reached = {
        name: score["target_test_miou"]
        for name, score in scores.items()
        if score["target_test_miou"] is not None
    }
    if "adapted" in reached and reached["adapted"] < reached.get("source_only", 0):
        found.append(
            f"Adaptation did harm: a mIoU of {percent(reached['adapted'])} on {names['target']} "
            f"images, {percent(reached['source_only'])} without it."
        )
    for name in ("adapted", "source_only"):
        if name in reached:
            found += _warn_of_missing(name, scores[name], result["class_names"], names["target"])
            break  # What the source-only model lacks matters only if it is the one reported.
    for direction, measured in result.get("translations", {}).items():
        origin, destination = (names[domain] for domain in DIRECTIONS[direction])
        found += common.warn_of_translation(measured, f"from {origin} to {destination}")
    return found


def _warn_of_missing(
    name: str, score: Mapping[str, Any], class_names: Sequence[str], target: str
) -> list[str]:
    """A sentence on classes that masks hold and a model never predicts."""
    counts = score["target_test_confusion"]
    missing = [
        class_name
        for class_name, there, predicted in zip(
            class_names, counts.sum(axis=1), counts.sum(axis=0), strict=True
        )
        if there and not predicted
    ]
    if not missing:
        return []
    return [
        f"The {name.replace('_', ' ')} model never predicts {_listed(missing)}, which {target} "
        f"test images show: the IoU of {'this class is' if len(missing) == 1 else 'these is'} 0."
    ]


def _listed(names: Sequence[str]) -> str:
    """Names as one says them: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
