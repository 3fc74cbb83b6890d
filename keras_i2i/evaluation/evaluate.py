"""One seed's models through every measure and picture; several seeds into one metrics.json."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_i2i.data.domain import Examples
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError
from keras_i2i.evaluation import embeddings, figures, metrics
from keras_i2i.evaluation.files import jsonable

DIRECTIONS = {"source_to_target": ("source", "target"), "target_to_source": ("target", "source")}

POINTS_PER_DOMAIN = 500  # t-SNE is the slowest part of an evaluation.
NEIGHBOUR_POOL = 5000
GRID_COLUMNS = 10

# What deserves a warning. A lattice of 1 % of the contrast is about where an eye notices it.
VISIBLE_LATTICE = 0.01
COLLAPSED_DIVERSITY = 0.5
NEAR_CHANCE = 0.05


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

    A model offers `image_shape`, `classify(images, domain)` → logits and `embed(images, domain)` →
    features `(n, d)`; with `can_translate`, also `translate(images, direction)` and
    `reconstruct(images, domain)` → images. All take and give NumPy arrays, images in [-1, 1].

    Args:
        models: "source_only" (no adaptation), "adapted", "target_only" (trained on target labels:
            the ceiling, and an independent reader of translations), each optional; "translator" if
            it is not the adapted model that translates; any further classifier by a name of its own.
        source_test: labelled examples.
        target_test: labelled examples; the labels are for reporting only.
        source_train: where translations to the source look for their nearest neighbours.
        target_train: the same of the target; labels are not looked at.
        class_names: one name per class.
        out_dir: the run's folder.
        seed: of the run; also seeds the samples that figures are drawn from.
        history: one dict per epoch, name → value, for the training curves.
        domain_names: what figures call the domains, fit to stand before "images".
        seed_in_names: whether file names end in `_seed{seed}`, for runs of several seeds.

    Returns:
        JSON-able: `seed`, `class_names`, `domain_names`, `models` (name → `target_test_accuracy`,
        `source_test_accuracy`, `target_test_per_class`, `target_test_confusion`), `warnings` in
        words, `figures` (name → path relative to `out_dir`) and, if something translates,
        `translations` (direction → `reader`, `read_correctly`, `per_class`, `matrix`, `permuted`;
        `checkerboard` and `diversity`, each beside the same of `…_real` images of the domain
        translated to). Numbers that are not finite are None.

    Raises:
        InputError: no models, test examples without labels, or labels without a class name.
    """
    tests = {"source": source_test, "target": target_test}
    _check(models, tests, class_names)
    inputs = _Inputs(tests)
    suffix = f"_seed{seed}" if seed_in_names else ""
    drawn: dict[str, str] = {}

    def draw(name: str, function, *args, **kwargs) -> None:
        path = function(*args, path=Path(out_dir, "figures", f"{name}{suffix}.png"), **kwargs)
        drawn[name] = path.relative_to(out_dir).as_posix()

    result: dict[str, Any] = {
        "seed": seed,
        "class_names": list(class_names),
        "domain_names": list(domain_names),
        "models": {
            name: _score(model, inputs, len(class_names))
            for name, model in models.items()
            if _classifies(model)
        },
    }

    translator = models.get("translator", models.get("adapted"))
    if getattr(translator, "can_translate", False):
        result["translations"] = {}
        for direction, (origin, destination) in DIRECTIONS.items():
            images = inputs[origin, translator]
            translated = _finite(translator.translate(images, direction))
            reading = _read(models, translated, tests[origin].labels, destination, class_names)
            real = inputs[destination, translator]
            result["translations"][direction] = reading | {
                "checkerboard": metrics.checkerboard(translated),
                "checkerboard_real": metrics.checkerboard(real),
                "diversity": metrics.diversity(translated, tests[origin].labels),
                "diversity_real": metrics.diversity(real, tests[destination].labels),
            }

            shown = _one_per_class(tests[origin].labels)
            names = [class_names[label] for label in tests[origin].labels[shown]]
            title = " → ".join(domain_names[:: 1 if origin == "source" else -1])
            draw(
                f"translation_{direction}",
                figures.image_grid,
                _translation_rows(translator, images[shown], translated[shown], direction),
                names,
                title,
                notes=_notes(models, translated[shown], names, destination, class_names),
            )
            train = source_train if destination == "source" else target_train
            draw(
                f"neighbours_{direction}",
                figures.image_grid,
                _neighbour_rows(translated[shown], train, translator.image_shape, seed),
                names,
                f"{title}: nearest real images",
            )

    scores = result["models"]
    stages = {"source_only": "Source only", "adapted": "Adapted"}
    present = [name for name in stages if name in scores]
    if present:
        draw(
            "confusion",
            figures.confusions,
            {
                f"{stages[name]}: {100 * scores[name]['target_test_accuracy']:.1f} %": scores[name][
                    "target_test_confusion"
                ]
                for name in present
            },
            class_names,
        )
    if scores:
        draw(
            "per_class",
            figures.per_class,
            {name: score["target_test_per_class"] for name, score in scores.items()},
            class_names,
        )
    present = [name for name in stages if hasattr(models.get(name), "embed")]
    if present:
        chosen = {
            domain: embeddings.sample(len(test.images), POINTS_PER_DOMAIN, seed)
            for domain, test in tests.items()
        }
        draw(
            "tsne",
            figures.tsne_maps,
            {
                stages[name]: embeddings.tsne(
                    *(
                        models[name].embed(inputs[domain, models[name]][indices], domain=domain)
                        for domain, indices in chosen.items()
                    ),
                    seed=seed,
                )
                for name in present
            },
            *(test.labels[chosen[domain]] for domain, test in tests.items()),
            class_names,
            domain_names,
        )
    if history is not None and len(history) > 1:  # One epoch is a point, not a curve.
        draw("training", figures.training_curves, history)

    result["figures"] = drawn
    result["warnings"] = _warnings(result)
    for score in scores.values():
        del score["finite"]
    return jsonable(result)


def combine(
    per_seed: Sequence[Mapping[str, Any]],
    *,
    method: str,
    source: str,
    target: str,
    seconds: Sequence[float],
    command: str | None = None,
    flags: str | None = None,
) -> dict[str, Any]:
    """The content of metrics.json, from what `evaluate` returned for each seed.

    Args:
        per_seed: at least one result; all with the same models.
        method: the method's name.
        source: the source domain's name.
        target: the target domain's name.
        seconds: what each seed took.
        command: the command line that repeats the run, for the report.
        flags: the run's flagfile, for the report.

    Returns:
        JSON-able: `method`, `source`, `target`, `seeds`, `seconds`; under each classifier's name
        `target_test_accuracy` and `source_test_accuracy`, one per seed; if there are translations,
        `translations_read_correctly` by direction, one per seed; `command` and `flags` if given;
        `per_seed`, everything else.

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
    }
    for name in names:
        combined[name] = {
            key: [result["models"][name][key] for result in per_seed]
            for key in ("target_test_accuracy", "source_test_accuracy")
        }
    if "translations" in per_seed[0]:
        combined["translations_read_correctly"] = {
            direction: [result["translations"][direction]["read_correctly"] for result in per_seed]
            for direction in DIRECTIONS
        }
    given = {"command": command, "flags": flags}
    combined |= {key: value for key, value in given.items() if value is not None}
    return jsonable(combined | {"per_seed": list(per_seed)})


class _Inputs:
    """Test images as a model wants them: `inputs[domain, model]`, made once per image shape."""

    def __init__(self, tests: Mapping[str, Examples]):
        self.tests = tests
        self._made: dict[tuple, np.ndarray] = {}

    def __getitem__(self, key: tuple[str, Any]) -> np.ndarray:
        domain, model = key
        key = domain, tuple(model.image_shape)
        if key not in self._made:
            self._made[key] = preprocess(self.tests[domain].images, key[1])
        return self._made[key]


def _check(
    models: Mapping[str, Any], tests: Mapping[str, Examples], class_names: Sequence[str]
) -> None:
    if not models:
        raise InputError("No model to evaluate; expected source_only, adapted or target_only.")
    for domain, test in tests.items():
        if test.labels is None or not len(test.labels):
            raise InputError(
                f"The {domain} test examples have no labels; an accuracy needs them. Give a "
                "labelled test split."
            )
        if test.labels.min() < 0 or test.labels.max() >= len(class_names):
            raise InputError(
                f"The {domain} test labels go from {test.labels.min()} to {test.labels.max()}, but "
                f"there are {len(class_names)} class names. Give one name per class."
            )


def _classifies(model: Any) -> bool:
    return getattr(model, "can_classify", True)


def _finite(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] even from a model that diverged, so that it still gets its report."""
    return np.clip(np.nan_to_num(images), -1, 1)


def _score(model: Any, inputs: _Inputs, num_classes: int) -> dict[str, Any]:
    logits = {
        domain: model.classify(inputs[domain, model], domain=domain) for domain in inputs.tests
    }
    predictions = {domain: values.argmax(axis=-1) for domain, values in logits.items()}
    labels = {domain: test.labels for domain, test in inputs.tests.items()}
    target = labels["target"], predictions["target"]
    return {
        "target_test_accuracy": metrics.accuracy(*target),
        "source_test_accuracy": metrics.accuracy(labels["source"], predictions["source"]),
        "target_test_per_class": metrics.per_class_accuracy(*target, num_classes),
        "target_test_confusion": metrics.confusion(*target, num_classes),
        "finite": all(np.isfinite(values).all() for values in logits.values()),
    }


def _reader(models: Mapping[str, Any], domain: str) -> str | None:
    """Who reads translations to `domain`: a model trained on its real labels, or the adapted one."""
    for name in ("target_only" if domain == "target" else "source_only", "adapted"):
        if name in models and _classifies(models[name]):
            return name
    return None


def _predict(model: Any, images: np.ndarray, domain: str) -> np.ndarray:
    """Classes of images in [-1, 1] that another model, perhaps of another size, has made."""
    if images.shape[1:] != tuple(model.image_shape):
        images = preprocess(to_uint8(images), model.image_shape)
    return model.classify(images, domain=domain).argmax(axis=-1)


def _read(
    models: Mapping[str, Any],
    translated: np.ndarray,
    labels: np.ndarray,
    domain: str,
    class_names: Sequence[str],
) -> dict[str, Any]:
    reader = _reader(models, domain)
    if reader is None:
        return {"reader": None, "read_correctly": None, "per_class": [], "matrix": [], "permuted": []}
    read_as = _predict(models[reader], translated, domain)
    reading = metrics.keeps_class(labels, read_as, len(class_names))
    return {
        "reader": reader,
        "read_correctly": reading.accuracy,
        "per_class": metrics.per_class_accuracy(labels, read_as, len(class_names)),
        "matrix": reading.matrix,
        "permuted": [permutation._asdict() for permutation in reading.permuted],
    }


def _one_per_class(labels: np.ndarray) -> np.ndarray:
    """Indices of the first image of each class, of as many classes as a grid has columns."""
    return np.unique(labels, return_index=True)[1][:GRID_COLUMNS]


def _translation_rows(
    translator: Any, images: np.ndarray, translated: np.ndarray, direction: str
) -> dict[str, np.ndarray]:
    origin, destination = DIRECTIONS[direction]
    rows = {
        "input": images,
        "translated": translated,
        "reconstructed": translator.reconstruct(images, domain=origin),
        "and back": translator.translate(translated, f"{destination}_to_{origin}"),
    }
    return {name: to_uint8(_finite(row)) for name, row in rows.items()}


def _notes(
    models: Mapping[str, Any],
    translated: np.ndarray,
    names: Sequence[str],
    domain: str,
    class_names: Sequence[str],
) -> dict[str, list[tuple[str, bool]]]:
    reader = _reader(models, domain)
    if reader is None:
        return {}
    read_as = [class_names[label] for label in _predict(models[reader], translated, domain)]
    pairs = zip(read_as, names, strict=True)
    return {"translated": [(f"read as {read}", read == name) for read, name in pairs]}


def _neighbour_rows(
    translated: np.ndarray, train: Examples, image_shape: Sequence[int], seed: int
) -> dict[str, np.ndarray]:
    pool = train.images[embeddings.sample(len(train.images), NEIGHBOUR_POOL, seed)]
    pool = preprocess(pool, image_shape)
    count = min(3, len(pool))
    indices, _ = metrics.nearest_neighbours(translated, pool, count)
    rows = {"translated": translated}
    rows |= zip(("nearest", "second", "third"), pool[indices.T], strict=False)
    return {name: to_uint8(row) for name, row in rows.items()}


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader should know before believing the numbers, in words."""
    classes = result["class_names"]
    names = dict(zip(("source", "target"), result["domain_names"], strict=True))
    scores = result["models"]
    found = [
        f"The {name} model's outputs are not all finite numbers: its training diverged."
        for name, score in scores.items()
        if not score["finite"]
    ]
    reached = {name: score["target_test_accuracy"] for name, score in scores.items()}
    adapted = reached.get("adapted")
    if adapted is not None and adapted < 1 / len(classes) + NEAR_CHANCE:
        found.append(
            f"The adapted model is at the level of chance: it reads {_percent(adapted)} of "
            f"{names['target']} images, and guessing among {len(classes)} classes would read "
            f"{_percent(1 / len(classes))}."
        )
    if adapted is not None and adapted < reached.get("source_only", 0):
        found.append(
            f"Adaptation did harm: {_percent(adapted)} of {names['target']} images read, "
            f"{_percent(reached['source_only'])} without it."
        )
    for direction, measured in result.get("translations", {}).items():
        origin, destination = (names[domain] for domain in DIRECTIONS[direction])
        way = f"from {origin} to {destination}"
        for permuted in measured["permuted"]:
            found.append(
                f"Translation {way} changes the class: {_percent(permuted['share'])} of the images "
                f"of class {classes[permuted['label']]} are read as "
                f"{classes[permuted['read_as']]} afterwards."
            )
        if measured["checkerboard"] > measured["checkerboard_real"] + VISIBLE_LATTICE:
            found.append(
                f"Translations {way} carry a regular lattice of spots: it makes up "
                f"{_percent(measured['checkerboard'])} of their contrast, "
                f"{_percent(measured['checkerboard_real'])} in real images."
            )
        if measured["diversity"] < COLLAPSED_DIVERSITY * measured["diversity_real"]:
            found.append(
                f"Translations {way} resemble each other: within a class they differ "
                f"{_percent(measured['diversity'] / measured['diversity_real'])} as much as real "
                "images do. The translator may have collapsed onto a few outputs."
            )
    return found


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
