"""What there is to say of an exported model: metadata.json for programs, MODEL_CARD.md for people.

The card says nothing that is not in the metadata.
"""

import dataclasses
import datetime
import html
import json
import platform
import re
import zipfile

import keras
import numpy as np
import tensorflow as tf

from keras_i2i import networks
from keras_i2i._version import __version__
from keras_i2i.evaluation import page
from keras_i2i.training import provenance
from keras_i2i.training.methods import ADAPTATIONS, BASELINES, METHODS
from keras_i2i.training.train import steps_of

_SHOWN_CLASSES = 20
_WEAKEST = 3
_MEASURES = {
    # What metrics.json calls it → its name, that of each class alone, what is counted.
    "target_test_accuracy": ("accuracy", "target_test_per_class", "images"),
    "target_test_miou": ("mean intersection over union", "target_test_per_class_iou", "pixels"),
}


def metadata(run, seed, model, *, name, format, signatures):
    """The facts of one exported model.

    Args:
        run: a `RunDirectory`.
        seed: whose model it is, one of the run's.
        model: what reads target images or translates, as `load_reader` gives it.
        name: the model's name at the server.
        format: "saved_model", "onnx" or "tflite".
        signatures: name → {"inputs": ..., "outputs": ...}, each tensor → {"dtype", "shape"}.

    Returns:
        JSON-able: `name`, `format`, `exported` (UTC), `versions` (of libraries, at the export);
        `model`, `data`, `images`, `signatures`, `training`; `measured`, the target's test accuracy
        (segmentation: mean intersection over union) of this seed beside that without adaptation
        and the ceiling, fractions of 1, or None and then `not_measured` says why; `warnings` of
        the evaluation, in words.

    Raises:
        InputError: the run's metrics.json or provenance.json is damaged.
    """
    experiment = run.experiment
    metrics = run.results() if run.metrics.exists() else None
    result = _of_seed(metrics, seed) if metrics else {"models": {}, "warnings": []}
    measured = _measured(experiment, metrics, result) if metrics else None
    return {
        "name": name,
        "format": format,
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "keras_i2i": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
        "model": {
            "class": type(model).__name__,
            "task": _task(model),
            "method": experiment.method,
            "preset": experiment.preset_name if experiment.method in METHODS else None,
            "adaptation": experiment.adapts_by if experiment.method in METHODS else None,
            "encoder": experiment.encoder_name,
            "translates": list(getattr(model, "directions", ())),
        },
        "data": {
            "source": experiment.source,
            "target": experiment.target,
            "class_names": list(experiment.domain("source").class_names),
        },
        "images": {
            "source_shape": list(model.image_shape_of("source")),
            "target_shape": list(model.image_shape_of("target")),
            "geometry": dataclasses.asdict(experiment.geometry),
        },
        "signatures": signatures,
        "training": {
            "run": str(run.path),
            "seed": seed,
            "seeds": list(experiment.seeds),
            **_saved(run, seed),
            "images": _images_learned_from(experiment),
            "weights": _origin_of_weights(experiment),
            "flags": dataclasses.asdict(experiment),
            "provenance": provenance.read(run),
        },
        "measured": measured,
        "not_measured": None if measured else _why_not(model, metrics),
        "warnings": list(result["warnings"]),
    }


def _task(model):
    if not model.can_classify:
        return "translation"
    return "segmentation" if getattr(model, "has_masks", False) else "classification"


def _of_seed(metrics, seed):
    """What metrics.json holds of a seed."""
    return next(result for result in metrics["per_seed"] if result["seed"] == seed)


def _measured(experiment, metrics, result):
    """How well the model reads the target's test images; None if that cannot be known."""
    scores = result["models"]
    name = next((n for n in ("adapted", "source_only", "target_only") if n in scores), None)
    own = scores.get(name, {})
    key = next((key for key in _MEASURES if own.get(key) is not None), None)
    if key is None:
        return None
    measure, per_class, counted = _MEASURES[key]
    others = {"source_only": "without_adaptation", "target_only": "ceiling"}
    return {
        "measure": measure,
        "value": own[key],
        "seed": result["seed"],
        "domain": experiment.target,
        "transductive": page.is_transductive(metrics),
        counted: int(np.sum(own["target_test_confusion"])),
        "per_class": dict(zip(result["class_names"], own[per_class], strict=True)),
        **{others[n]: scores[n][key] for n in others if n in scores and n != name},
        "every_seed": {r["seed"]: r["models"][name][key] for r in metrics["per_seed"]},
    }


def _why_not(model, metrics):
    if not model.can_classify:
        return "it does not classify"
    return "the target's test images have no labels" if metrics else "the run was not evaluated"


def _saved(run, seed):
    """When the model that was trained last was saved, and with which Keras."""
    files = [run.model(step, seed) for step in steps_of(run.experiment)]
    with zipfile.ZipFile([file for file in files if file.is_file()][-1]) as archive:
        saved = json.loads(archive.read("metadata.json"))
    return {"finished": saved.get("date_saved"), "keras": saved.get("keras_version")}


def _images_learned_from(experiment):
    """What the exported model has seen, in words."""
    source = f"training images of {experiment.source}"
    if experiment.method == "target_only":
        return f"labelled training images of {experiment.target}"
    labelled = f"labelled {source}" if experiment.num_classes else f"{source}, without labels"
    if experiment.method == "source_only":
        return labelled
    words = f"{labelled}, and training images of {experiment.target}, "
    labels = experiment.target_labels_per_class
    return words + (f"{labels} of each class with their labels" if labels else "without labels")


def _origin_of_weights(experiment):
    """Where the weights began, in words."""
    if experiment.encoder_file:
        return f"encoder from the file {experiment.encoder_file}, all else from random numbers"
    given = experiment.encoder_weights
    if not given or experiment.encoder_name not in networks.BACKBONES:
        return "all from random numbers"
    whose = "keras-cv's, pre-trained on ImageNet" if given == "imagenet" else f"the file {given}"
    return f"encoder {experiment.encoder_name} from {whose}; all else from random numbers"


def model_card(metadata):
    """MODEL_CARD.md: what the model is, how well it reads, where it comes from, where it ends.

    Args:
        metadata: as `metadata` returns it.

    Returns:
        Markdown.
    """
    sections = {
        "What goes in and comes out": _interface(metadata),
        "How well it reads": _accuracy(metadata),
        "How it came about": _origin(metadata),
        "Limits": _limits(metadata),
    }
    if metadata["warnings"]:
        sections["Warnings of the evaluation"] = [
            f"> {_plain(text)}\n" for text in metadata["warnings"]
        ]
    parts = [f"# {_plain(metadata['name'])}\n\n{_purpose(metadata)}\n"]
    parts += [f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def signature_line(name, tensors):
    """A signature in a line: `embed(images: uint8[?, ?, ?, 1]) → embeddings: float32[?, 50]`."""

    def listed(specs):
        return ", ".join(f"{tensor}: {_typed(spec)}" for tensor, spec in specs.items())

    return f"{name}({listed(tensors['inputs'])}) → {listed(tensors['outputs'])}"


def _typed(spec):
    if spec["shape"] is None:
        return spec["dtype"]
    sides = ", ".join("?" if side is None else str(side) for side in spec["shape"])
    return f"{spec['dtype']}[{sides}]"


def _purpose(facts):
    source, target = _quoted(facts["data"]["source"]), _quoted(facts["data"]["target"])
    classes = len(facts["data"]["class_names"])
    method = facts["model"]["method"]
    does = {
        "classification": f"Tells which of {classes} classes an image of {target} shows",
        "segmentation": f"Tells which of {classes} classes each pixel of an image of {target} is",
        "translation": f"Translates images between {source} and {target}",
    }[facts["model"]["task"]]
    if method in BASELINES:
        return f"{does}. It is not adapted: {BASELINES[method]}."
    name = f"`{method}`, preset `{facts['model']['preset']}`, {METHODS[method].help}"
    way = facts["model"]["adaptation"]
    if not way:
        return f"{does}. Trained by {name}."
    words = ADAPTATIONS[way]
    if way == "sum":
        # Its own words refer to those before it.
        halves = (ADAPTATIONS[half] for half in ("on_translated_source", "reads_translated_target"))
        words = f"the weighted sum, {' + '.join(halves)}; the weight is chosen without labels"
    return f"{does}. Adapted from {source} by {name}: {words}."


def _interface(facts):
    names = facts["data"]["class_names"]
    lines = [f"Images like those of {_quoted(facts['data']['target'])}: {_geometry(facts)}\n"]
    if facts["format"] != "saved_model":
        lines.append(
            "Whoever calls brings them to that, as floats with black at -1 and white at 1; in "
            "Python `keras_i2i.Geometry(...).for_test` does.\n"
        )
    if names:
        listed = ", ".join(map(_plain, names[:_SHOWN_CLASSES]))
        more = f", and {len(names) - _SHOWN_CLASSES} more" if len(names) > _SHOWN_CLASSES else ""
        lines.append(f"Classes, numbered from 0 as in labels.txt: {listed}{more}.\n")
    calls = [signature_line(*item) for item in facts["signatures"].items()]
    return [*lines, "```", *calls, "```"]


def _geometry(facts):
    """How an image becomes what the network sees, in words."""
    geometry = facts["images"]["geometry"]
    load, crop = geometry["load_size"], geometry["crop_size"]
    height, width, channels = facts["images"]["target_shape"]
    color = "gray" if channels == 1 else "RGB"
    steps = []
    if load and (crop or geometry["fit"] == "crop"):
        side = f"until the shorter side is {load}"
        steps.append(f"scaled {side if geometry['fit'] == 'crop' else f'to {load}x{load}'}")
    if facts["model"]["task"] == "segmentation":
        if crop:
            steps += [f"scaled by {height}/{crop}"] if crop != height else []
        elif geometry["fit"] == "crop":
            steps = [f"scaled until the shorter side is {height}"]
        else:
            steps.append(f"resized to {height}x{width}")
        return f"of any size, {', '.join([*steps, 'read as a whole'])}, {color}."
    if crop:
        steps.append(f"the central square of {crop} cut out")
    elif geometry["fit"] == "crop":
        steps.append("the central square cut out")
    return f"of any size, {', '.join([*steps, f'resized to {height}x{width}'])}, {color}."


def _accuracy(facts):
    measured = facts["measured"]
    if measured is None:
        return [f"Not measured: {facts['not_measured']}."]
    number = _percent(measured["value"])
    counted = next(
        f"{measured[unit]:,} {unit}" for unit in ("images", "pixels") if unit in measured
    )
    lines = [
        f"**{number}** {measured['measure']} on the test images of {_quoted(measured['domain'])} "
        f"({counted}), seed {measured['seed']}.\n"
    ]
    for key, words in {
        "without_adaptation": "Without adaptation",
        "ceiling": "Trained on the target's labels, the ceiling",
    }.items():
        if measured.get(key) is not None:
            lines.append(f"- {words}: {_percent(measured[key])}")
    if measured["transductive"]:
        lines.append(
            "- These are training images: a model trained on the target's labels has learnt "
            "theirs, any other has seen them without."
        )
    every = [value for value in measured["every_seed"].values() if value is not None]
    if len(every) > 1:
        low, high = _percent(min(every)), _percent(max(every))
        lines.append(f"- All {len(every)} seeds of the run: from {low} to {high}")
    known = {name: value for name, value in measured["per_class"].items() if value is not None}
    if len(known) > _WEAKEST:
        weakest = sorted(known, key=known.get)[:_WEAKEST]
        listed = ", ".join(f"{_plain(name)}: {_percent(known[name])}" for name in weakest)
        lines.append(f"- Weakest classes, {listed}")
    return lines


def _origin(facts):
    training, versions = facts["training"], facts["versions"]
    flags = training["flags"]
    batch = f"{flags['batch_size']} images"
    if flags["method"] in BASELINES:
        steps = f"{flags['classifier_steps']:,} steps of {batch}"
    else:
        steps = f"{flags['steps']:,} steps of {batch} of each domain"
    return [
        f"- Learned from {training['images']}.",
        f"- Weights: {training['weights']}.",
        f"- {steps}, seed {training['seed']}; saved {training['finished']} by Keras "
        f"{training['keras']}{_revision(training['provenance'])}.",
        f"- Exported {facts['exported']} by keras_i2i {versions['keras_i2i']}, Keras "
        f"{versions['keras']}, TensorFlow {versions['tensorflow']}. All flags are in "
        "metadata.json.",
        "- Whoever passes it on minds the terms of these images, and of weights that others made.",
    ]


def _revision(made_of):
    """Which revision of a clone trained it, in words; nothing if that is not known."""
    git = made_of and made_of["starts"][-1]["git"]
    if not git:
        return ""
    return f", trained at git revision {git['revision']}{' with changes' * git['dirty']}"


def _limits(facts):
    target, task = _quoted(facts["data"]["target"]), facts["model"]["task"]
    lines = []
    if task != "translation":
        what = "Every image gets" if task == "classification" else "Every pixel gets"
        lines.append(
            f"- {what} one of the classes, also where none fits. Of images that are unlike those "
            f"of {target} nothing is known."
        )
        lines.append(
            "- Probabilities are not calibrated: a model that was adapted without labels may be "
            "sure and wrong. Do not read 0.9 as nine times out of ten."
        )
    if facts["measured"]:
        labels = facts["training"]["flags"]["target_labels_per_class"]
        learned = labels or facts["model"]["method"] == "target_only"
        used = "" if learned else " Labels of the target were used for that number only."
        lines.append(
            f"- The number above is of the test images of {target} alone.{used} Whoever chose "
            "settings by it will find it a little too high elsewhere."
        )
    if facts["model"]["translates"]:
        lines.append(
            "- Translations are plausible, not true: one may change what an image shows, or invent "
            "it. They are no evidence."
        )
    return lines


def _percent(fraction):
    return f"{100 * fraction:.1f} %"


def _quoted(name):
    # Nothing but this ends what is quoted.
    return "`{}`".format(name.replace("`", "'"))


def _plain(text):
    """Text from outside as Markdown shows it: neither HTML nor links."""
    return re.sub(r"([\\`\[\]])", r"\\\1", html.escape(text, quote=False))
