"""One seed's models through every measure and picture; several seeds into one metrics.json."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_i2i.data.examples import Examples
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError
from keras_i2i.evaluation import common, embeddings, figures, metrics
from keras_i2i.evaluation.common import DIRECTIONS, STAGES, percent
from keras_i2i.files import jsonable

# The two classifiers of "sum", in words that follow "the classifier".
HALVES = {
    "on_translated_source": "trained on translations",
    "reads_translated_target": "that reads translations",
}

POINTS_PER_DOMAIN = 500  # t-SNE is the slowest part of an evaluation.
NEIGHBOUR_POOL = 5000
GRID_COLUMNS = 10

# What metrics.json holds of each model beside its details.
COMBINED = (
    "target_test_accuracy", "source_test_accuracy",
    "target_test_miou", "source_test_miou", "weight",
)  # fmt: skip

# What deserves a warning.
NEAR_CHANCE = 0.05
WORSE_SUM = 0.005


def evaluate(
    models: Mapping[str, Any],
    source_test: Examples,
    target_test: Examples,
    *,
    source_train: Examples,
    target_train: Examples,
    class_names: Sequence[str],
    out_dir: str | os.PathLike,
    seed: int,
    history: Sequence[Mapping[str, float]] | None = None,
    domain_names: tuple[str, str] = ("source", "target"),
    seed_in_names: bool = False,
) -> dict[str, Any]:
    """Measures the models of one seed and draws their figures into `out_dir/figures`.

    A model offers `image_shape_of(domain)`, `classify(images, domain)` → logits and, for the maps,
    `embed(images, domain)` → features `(n, d)`; one that translates names its `directions` and
    offers `translate(images, direction)` → images of the other domain's shape,
    `can_reconstruct(domain)` and `reconstruct(images, domain)`. One with `can_classify` false only
    translates. All take and give NumPy arrays, images in [-1, 1].

    Args:
        models: all optional, but one there must be. "source_only" (no adaptation), "adapted" (what
            the method reports), "target_only" (trained on target labels: the ceiling, and an
            independent reader of translations); of two-step methods "on_translated_source",
            "reads_translated_target" and their "sum", which says its `weight` of the first;
            "joint"; further classifiers by names of their own. "translator", if it is neither
            "adapted" nor "joint" that translates, and never counts as a classifier. "adapted" may
            be the same object as another one.
        source_test: labelled examples; without labels there are no accuracies on the source.
        target_test: the same of the target; the labels are for reporting only.
        source_train: where translations to the source look for their nearest neighbours.
        target_train: the same of the target; labels are not looked at.
        class_names: one name per class; empty if nothing is labelled.
        out_dir: the run's folder.
        seed: of the run; also seeds the samples that figures are drawn from.
        history: one dict per epoch, name → value, for the training curves; what counts time rather
            than progress (`epoch`, `step`, `seconds`) is not drawn.
        domain_names: what figures call the domains, fit to stand before "images".
        seed_in_names: whether file names end in `_seed{seed}`, for runs of several seeds.

    Returns:
        JSON-able: `seed`, `class_names` and `domain_names`; `models`, name → `finite` (whether its
        logits are), `target_test_accuracy`, `source_test_accuracy`, `target_test_per_class`,
        `target_test_confusion`, of a weighted sum its `weight`; `adapted_is`, the other name of the
        adapted model, or None; if something translates, `translations`, direction → `reader`,
        `read_correctly`, `matrix`, `permuted` (as in `metrics.keeps_class`, of classes the reader
        knows), `checkerboard`, `diversity`, `within_class` (whether that is of images of one class,
        not of all), beside a value the same of `…_real` images of the domain translated to, and
        `rows`, what its figure shows; `figures`, name → path relative to `out_dir`; `curves`, what
        the training curves show; `warnings`, in words. Numbers that are not finite or cannot be
        known without labels are None; with no labels at all, `models` is empty.

    Raises:
        InputError: no models, no test examples, or labels without a class name.
    """
    tests = {"source": source_test, "target": target_test}
    _check(models, tests, class_names)
    context = _Context(
        tests=tests,
        trains={"source": source_train, "target": target_train},
        class_names=list(class_names),
        domain_names=common.readable_names(domain_names),
        seed=seed,
        out_dir=Path(out_dir),
        suffix=f"_seed{seed}" if seed_in_names else "",
    )
    classifiers = common.readers_of(models)
    result: dict[str, Any] = {
        "seed": seed,
        "class_names": context.class_names,
        "domain_names": context.domain_names,
        "models": _scores(classifiers, context),
        "adapted_is": common.other_name(classifiers),
    }
    translator = common.translator_of(models)
    if translator is not None:
        result["translations"] = {
            direction: _translate(translator, classifiers, direction, context)
            for direction in translator.directions
        }
    _draw_scores(result["models"], context)
    _draw_features(classifiers, context)
    result["curves"] = context.draw_training(history)
    result["figures"] = context.figures
    result["warnings"] = _warnings(result)
    return jsonable(result)


def combine(
    per_seed: Sequence[Mapping[str, Any]],
    *,
    method: str,
    source: str,
    target: str,
    seconds: Sequence[float],
    target_labels_per_class: int = 0,
    judged_by: str | None = None,
    command: str | None = None,
    flags: str | None = None,
    seen: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of metrics.json, from what the evaluation of each seed returned.

    Args:
        per_seed: at least one result of `evaluate`, or of `segmentation.evaluate_segmentation`; all
            with the same models.
        method: the method's name.
        source: the source domain's name.
        target: the target domain's name.
        seconds: what each seed took.
        target_labels_per_class: how many labels of each class the adapted model saw of the target.
        judged_by: what the report begins with: "translations", how many are read correctly; else
            what the adapted model reads.
        command: the command line that repeats the run, for the report.
        flags: the run's flagfile, for the report.
        seen: of "source" and "target", how many of the test images are training images too:
            `images`, `of` how many, and `transductive`, whether they are meant to be; of "target"
            also `left_out`, how many the test lacks because few-label adaptation learns their
            labels.
        provenance: what the run was made of, as its provenance.json has it.

    Returns:
        JSON-able: `method`, `source`, `target`, `seeds`, `seconds`, `target_labels_per_class`;
        under each classifier's name `target_test_accuracy` and `source_test_accuracy`, one per
        seed, None without labels, and of a weighted sum `weight`, one per seed; if translations
        were read, `translations_read_correctly` by direction, one per seed, and
        `translations_read_by`, the reader's name by direction; `judged_by`, `command`, `flags`,
        `test_images_seen` and `provenance` if given; `per_seed`, everything else. Of segmentation
        also `task`, which is "segmentation", and `target_test_miou` and `source_test_miou` instead
        of the accuracies.

    Raises:
        InputError: no seeds, not one duration per seed, or seeds with different models.
    """
    if not per_seed:
        raise InputError("No seed has been evaluated; expected at least one result to combine.")
    if len(seconds) != len(per_seed):
        raise InputError(f"Expected {len(per_seed)} durations, one per seed. Received: {seconds}")
    names = list(per_seed[0]["models"])
    for result in per_seed:
        if list(result["models"]) != names:
            raise InputError(
                f"Every seed must have the same models. Seed {per_seed[0]['seed']} has {names}, "
                f"seed {result['seed']} has {list(result['models'])}."
            )
    combined = {
        "method": method,
        "source": source,
        "target": target,
        "seeds": [result["seed"] for result in per_seed],
        "seconds": list(seconds),
        "target_labels_per_class": target_labels_per_class,
    }
    if "task" in per_seed[0]:
        combined["task"] = per_seed[0]["task"]
    for name in names:
        combined[name] = {
            key: [result["models"][name][key] for result in per_seed]
            for key in COMBINED
            if key in per_seed[0]["models"][name]
        }
    read = {
        direction: [result["translations"][direction].get("read_correctly") for result in per_seed]
        for direction in per_seed[0].get("translations", ())
    }
    read = {way: values for way, values in read.items() if any(v is not None for v in values)}
    if read:
        combined["translations_read_correctly"] = read
        combined["translations_read_by"] = {
            way: per_seed[0]["translations"][way].get("reader") for way in read
        }
    given = {
        "judged_by": judged_by,
        "command": command,
        "flags": flags,
        "test_images_seen": seen,
        "provenance": provenance,
    }
    combined |= {key: value for key, value in given.items() if value is not None}
    return jsonable(combined | {"per_seed": list(per_seed)})


@dataclass(kw_only=True)
class _Context(common.Drawing):
    """What every step of one evaluation works with."""

    tests: Mapping[str, Examples]
    trains: Mapping[str, Examples]
    class_names: list[str]
    seed: int
    _prepared: dict[tuple, np.ndarray] = field(default_factory=dict)

    def images(self, domain: str, model: Any) -> np.ndarray:
        """A domain's test images as a model wants them, made once for each image shape."""
        return self.images_of_shape(domain, model.image_shape_of(domain))

    def images_of_shape(self, domain: str, shape: Sequence[int]) -> np.ndarray:
        """A domain's test images in one shape."""
        key = domain, tuple(shape)
        if key not in self._prepared:
            self._prepared[key] = _prepare(self.tests[domain].images, key[1])
        return self._prepared[key]


def _check(
    models: Mapping[str, Any], tests: Mapping[str, Examples], class_names: Sequence[str]
) -> None:
    if not models:
        raise InputError("No model to evaluate; expected one, such as source_only or adapted.")
    for domain, test in tests.items():
        if not len(test.images):
            raise InputError(
                f"There are no {domain} test examples; expected at least one image. Give a test "
                "split that has some."
            )
        if test.labels is None:
            continue
        if test.labels.min() < 0 or test.labels.max() >= len(class_names):
            raise InputError(
                f"The {domain} test labels go from {test.labels.min()} to {test.labels.max()}, but "
                f"there are {len(class_names)} class names. Give one name per class."
            )


def _prepare(images: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    return np.asarray(preprocess(images, image_shape))


def _scores(classifiers: Mapping[str, Any], context: _Context) -> dict[str, dict[str, Any]]:
    """Each classifier's score; a model with two names is run once."""
    if all(test.labels is None for test in context.tests.values()):
        return {}
    unique = {id(model): model for model in classifiers.values()}
    scores = {key: _score(model, context) for key, model in unique.items()}
    return {name: scores[id(model)] for name, model in classifiers.items()}


def _score(model: Any, context: _Context) -> dict[str, Any]:
    score: dict[str, Any] = {
        "target_test_accuracy": None,
        "source_test_accuracy": None,
        "target_test_per_class": None,
        "target_test_confusion": None,
        "finite": True,
    }
    if getattr(model, "weight", None) is not None:
        score["weight"] = float(model.weight)
    num_classes = len(context.class_names)
    for domain, test in context.tests.items():
        logits = model.classify(context.images(domain, model), domain=domain)
        score["finite"] &= bool(np.isfinite(logits).all())
        if test.labels is None:
            continue
        read = test.labels, logits.argmax(axis=-1)
        score[f"{domain}_test_accuracy"] = metrics.accuracy(*read)
        if domain == "target":
            score["target_test_per_class"] = metrics.per_class_accuracy(*read, num_classes)
            score["target_test_confusion"] = metrics.confusion(*read, num_classes)
    return score


def _translate(
    translator: Any, classifiers: Mapping[str, Any], direction: str, context: _Context
) -> dict[str, Any]:
    """Measures and draws the translations of all test images in one direction."""
    origin, destination = DIRECTIONS[direction]
    images, labels = context.images(origin, translator), context.tests[origin].labels
    real, real_labels = context.images(destination, translator), context.tests[destination].labels
    class_names = context.class_names
    translated = common.in_range(translator.translate(images, direction))
    measured = {
        "reader": None,
        "read_correctly": None,
        "read_correctly_real": None,
        "permuted": [],
        **common.translation_quality(translated, real, labels, real_labels),
    }

    if labels is None:
        shown = embeddings.sample(len(images), GRID_COLUMNS, context.seed)
        names = [""] * len(shown)
    else:
        shown = np.unique(labels, return_index=True)[1][:GRID_COLUMNS]  # One of each class.
        names = [class_names[label] for label in labels[shown]]
    notes = {}
    reader = _reader(classifiers, destination)
    if reader is not None and labels is not None:
        read_as = _read(classifiers[reader], translated, destination)
        reading = metrics.keeps_class(labels, read_as, len(class_names))
        measured |= {
            "reader": reader,
            "read_correctly": reading.accuracy,
            "matrix": reading.matrix,
        }
        if real_labels is not None:
            real_read = real_labels, _read(classifiers[reader], real, destination)
            knows = metrics.per_class_accuracy(*real_read, len(class_names))
            measured |= {
                "read_correctly_real": metrics.accuracy(*real_read),
                # Of a class whose real images the reader mostly mistakes, it is no witness.
                "permuted": [one._asdict() for one in reading.permuted if knows[one.label] > 0.5],
            }
        notes["translated"] = [
            (f"read as {class_names[read]}", read == label)
            for read, label in zip(read_as[shown], labels[shown], strict=True)
        ]

    way = context.way(direction)
    rows = common.translation_rows(translator, direction, images[shown], translated[shown])
    measured["rows"] = list(rows)
    context.draw(f"translation_{direction}", figures.image_grid, rows, names, way, notes)

    pool = context.trains[destination].images
    pool = pool[embeddings.sample(len(pool), NEIGHBOUR_POOL, context.seed)]
    pool = _prepare(pool, translated.shape[1:])
    neighbours, _ = metrics.nearest_neighbours(translated[shown], pool, min(3, len(pool)))
    rows = {"translated": rows["translated"]}
    for name, column in zip(("nearest", "second", "third"), neighbours.T, strict=False):
        rows[name] = to_uint8(pool[column])
    title = f"{way}: nearest real images"
    context.draw(f"neighbours_{direction}", figures.image_grid, rows, names, title)
    if direction == "source_to_target":
        _draw_image_maps(translated, context)
    return measured


def _reader(classifiers: Mapping[str, Any], domain: str) -> str | None:
    """Who reads translations to `domain`: preferably a model trained on that domain's labels.

    Else the source-only model, which has at least no part in the translations; the adapted model,
    perhaps trained on these very ones, only where there is no other.
    """
    names = ("target_only", "source_only", "adapted")
    return next((n for n in names[domain == "source" :] if n in classifiers), None)


def _read(model: Any, images: np.ndarray, domain: str) -> np.ndarray:
    """Classes of images in [-1, 1] that another model, perhaps of another size, has made."""
    shape = tuple(model.image_shape_of(domain))
    if images.shape[1:] != shape:
        images = _prepare(to_uint8(images), shape)
    return model.classify(images, domain=domain).argmax(axis=-1)


def _draw_scores(scores: Mapping[str, Mapping[str, Any]], context: _Context) -> None:
    known = {
        name: score
        for name, score in scores.items()
        if name in (*STAGES, "target_only") and score["target_test_accuracy"] is not None
    }
    matrices = {
        f"{title}: {percent(known[name]['target_test_accuracy'])}": (
            known[name]["target_test_confusion"]
        )
        for name, title in STAGES.items()
        if name in known
    }
    if matrices:
        context.draw("confusion", figures.confusions, matrices, context.class_names)
    if known:
        per_class = {name: score["target_test_per_class"] for name, score in known.items()}
        context.draw("per_class", figures.per_class, per_class, context.class_names)


def _draw_features(classifiers: Mapping[str, Any], context: _Context) -> None:
    """Before and after, what the encoder makes of the images."""
    chosen = _points(context)
    maps = {}
    for name, title in STAGES.items():
        if hasattr(classifiers.get(name), "embed"):
            model = classifiers[name]
            source, target = (
                model.embed(context.images(domain, model)[indices], domain=domain)
                for domain, indices in chosen.items()
            )
            maps[title] = embeddings.tsne(source, target, context.seed)
    if maps:
        _draw_maps("tsne", maps, context)


def _draw_image_maps(translated: np.ndarray, context: _Context) -> None:
    """Before and after translation to the target, the pixels: Basci's figure 11."""
    chosen = _points(context)
    shape = translated.shape[1:]
    source, target = (context.images_of_shape(domain, shape) for domain in context.tests)
    after = f"After: {context.domain_names[0]} translated"
    maps = {
        title: embeddings.tsne(
            *(
                images[indices].reshape(len(indices), -1)
                for images, indices in zip((origin, target), chosen.values(), strict=True)
            ),
            context.seed,
        )
        for title, origin in {"Before: as they are": source, after: translated}.items()
    }
    _draw_maps("tsne_images", maps, context)


def _points(context: _Context) -> dict[str, np.ndarray]:
    """Which test images of each domain the maps show: the same ones on all."""
    return {
        domain: embeddings.sample(len(test.images), POINTS_PER_DOMAIN, context.seed)
        for domain, test in context.tests.items()
    }


def _draw_maps(name: str, maps: Mapping[str, tuple], context: _Context) -> None:
    labels = [
        None if test.labels is None else test.labels[indices]
        for test, indices in zip(context.tests.values(), _points(context).values(), strict=True)
    ]
    names = context.class_names, context.domain_names
    context.draw(name, figures.tsne_maps, maps, *labels, *names)


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader should know before believing the numbers, in words."""
    classes = result["class_names"]
    names = dict(zip(("source", "target"), result["domain_names"], strict=True))
    scores = result["models"]
    found = common.warn_of_divergence(scores, result["adapted_is"])
    reached = {
        name: score["target_test_accuracy"]
        for name, score in scores.items()
        if score["target_test_accuracy"] is not None
    }
    adapted = reached.get("adapted")
    if adapted is not None and adapted < 1 / len(classes) + NEAR_CHANCE:
        found.append(
            f"The adapted model is at the level of chance: it reads {percent(adapted)} of "
            f"{names['target']} images, and guessing among {len(classes)} classes would read "
            f"{percent(1 / len(classes))}."
        )
    if adapted is not None and adapted < reached.get("source_only", 0):
        found.append(
            f"Adaptation did harm: {percent(adapted)} of {names['target']} images read, "
            f"{percent(reached['source_only'])} without it."
        )
    better = max((name for name in HALVES if name in reached), key=reached.get, default=None)
    if better and "sum" in reached and reached["sum"] < reached[better] - WORSE_SUM:
        found.append(
            f"The weighted sum reads {percent(reached['sum'])} of {names['target']} images, its "
            f"better half, the classifier {HALVES[better]}, {percent(reached[better])}. Only "
            "labels tell; the weight was chosen without them."
        )
    for direction, measured in result.get("translations", {}).items():
        origin, destination = (names[domain] for domain in DIRECTIONS[direction])
        way = f"from {origin} to {destination}"
        if measured["permuted"]:
            changes = ", ".join(
                f"{classes[change['label']]} is read as {classes[change['read_as']]} "
                f"({percent(change['share'])})"
                for change in measured["permuted"]
            )
            found.append(f"Translation {way} changes the class: afterwards {changes}.")
        found += common.warn_of_translation(measured, way)
    return found
