"""What looks at a model while it is trained: which callbacks a step has, and what they look at.

Nothing of it changes what is learnt; it writes the log, warns, and keeps the picked epoch's model.
"""

from typing import NamedTuple

from keras_i2i.evaluation.validators import VALIDATORS
from keras_i2i.models import ReadsThroughTranslation
from keras_i2i.training import callbacks, monitors, selection
from keras_i2i.training.methods import METHODS
from keras_i2i.training.run_directory import MAIN_STEPS

# Curves, grids, monitors and validators look at a part of the images: enough to see by, and cheap.
_CURVE_IMAGES = 2000
_GRID_IMAGES = 10
_MONITOR_IMAGES = 300
_VALIDATOR_IMAGES = 500
_FEWEST = 50

# Too many numbers for a line on a terminal; history and TensorBoard have them.
HIDDEN = (
    *(name for name in VALIDATORS if name != "source_validation_accuracy"),
    "target_information", "translations_read", "permuted_classes",
)  # fmt: skip


class Watching(NamedTuple):
    """What watches a step.

    Attributes:
        callbacks: in the order in which they are to run.
        selection: the `Selection` among them, which has the step's model in the end; None if that
            is the last epoch's.
    """

    callbacks: list
    selection: selection.Selection | None


def watch(run, step, seed, domains, model, done, load, log):
    """What watches a step of a run.

    Args:
        run: the `RunDirectory`.
        step: the step's name.
        seed: the run's seed that is trained.
        domains: the `RunData`.
        model: what is trained, as it is at `done`.
        done: the `checkpoint.Position` from which the training goes on.
        load: a function from the name of an earlier step to its trained model, or None.
        log: where to warn.

    Returns:
        A `Watching`.
    """
    experiment, folder = run.experiment, run.tensorboard(step, seed)
    adapts = step in (*MAIN_STEPS, "on_translated_source") and experiment.num_classes
    source_only = load("source_only") if step in MAIN_STEPS and experiment.num_classes else None
    reader = _reader(step, experiment, domains, model, source_only, load) if adapts else None

    measures = domains.watched(step, model, _CURVE_IMAGES)
    if isinstance(reader, selection.ThroughTranslation):
        through = ReadsThroughTranslation(model, source_only, "source")
        curves = domains.watched("on_translated_source", through, _CURVE_IMAGES)
        measures = {name: lambda _, m=measure: m(through) for name, measure in curves.items()}
    if reader and reader.labels is not None:
        measures.pop("source_validation_accuracy", None)  # it is among the validators

    history = callbacks.History(run.history(step, seed), done.epoch, measures, done.seconds)
    validation = selection.Validation(reader) if reader else None
    looking = [validation] if validation else []
    looking += _monitors(experiment, domains, model, source_only, validation, history, folder, log)
    looking.append(history)
    selected, selects = None, experiment.select != selection.LAST
    if adapts and not experiment.segments:
        if reader and selects:
            selected = selection.Selection(
                run.selectable(step, seed), experiment.select, history, experiment.keep_checkpoints,
                log,
            )  # fmt: skip
            looking.append(selected)
        elif not reader and "target_to_source" in model.directions:
            log(
                f"{step}, seed {seed}: nothing reads the target before source_only is trained, so "
                "none of the epochs until then can be picked."
            )
        elif not reader and selects:
            log(f"{step}, seed {seed}: nothing reads the target by it, so its last epoch counts.")
    if model.can_translate:
        images = domains.test_images(_GRID_IMAGES)
        looking.append(callbacks.ImageGrid(folder / "images", *images))
    if experiment.ema_momentum and step in MAIN_STEPS:
        looking = [callbacks.OnAveragedWeights(looking)]
    return Watching(looking, selected)


def _reader(step, experiment, domains, model, source_only, load):
    """How the target is read while a step is trained; None if it is not."""
    if model.has_masks:
        return None  # validators are of images' classes
    source, labels, target = domains.validation_images(_part(_VALIDATOR_IMAGES, experiment))
    if step == "on_translated_source":
        translator = load("translator")
        if translator is None:
            return None
        source = translator.translate(source, "source_to_target")
        return selection.OwnHead(source, labels, target, source_domain="target")
    if model.can_classify:
        return selection.OwnHead(source, labels, target)
    if "target_to_source" in model.directions and source_only is not None:
        return selection.ThroughTranslation(source, labels, target, source_only)
    return None


def _monitors(experiment, domains, model, source_only, validation, history, folder, log):
    """The `Monitors` that fit, in a list; an empty one for a plain baseline."""
    chosen, images = [], {}
    if model.can_translate:
        source, target, labels = domains.monitored_images(_part(_MONITOR_IMAGES, experiment))
        images = {"source": source, "target": target}
        chosen.append(monitors.Diversity(images))
    if model.undecided:
        critics = METHODS[experiment.method].critics
        chosen.append(monitors.DiscriminatorWon(model.undecided, critics))
    if source_only is not None and not model.has_masks and "source_to_target" in model.directions:
        names = experiment.domain("source").class_names
        chosen.append(monitors.PermutedClasses(source_only, labels, names))
    if validation:
        chosen.append(monitors.ChanceLevel(validation))
    if not chosen:
        return []
    return [monitors.Monitors(chosen, images, history, folder / "warnings", log)]


def _part(limit, experiment):
    """How many images to look at: of short epochs of small batches fewer, or it would take long."""
    seen = experiment.batch_size * experiment.steps_per_epoch
    return min(limit, max(_FEWEST, seen // 10))
