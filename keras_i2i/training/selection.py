"""Which epoch's model a step leaves: the last, or the best by a validator, never by target labels.

At each epoch's end the classifier of the target is read on fixed images of both domains, and the
validators of `evaluation.validators` are logged. `--select` names the one that picks.
"""

import math
import shutil

import keras

from keras_i2i.evaluation.validators import VALIDATORS, Reading, validate
from keras_i2i.files import replacing
from keras_i2i.training.run_directory import MAIN_STEPS

LAST, ORACLE = "last", "oracle"
# What `--select` may be.
CHOICES = (LAST, *VALIDATORS)

# What the history calls the target's accuracy. It is for reporting; nothing is picked by it.
TARGET_MEASURES = ("target_test_accuracy", "target_test_miou")


class OwnHead:
    """How the target is read while a model with a classifier is trained: by that classifier.

    Args:
        source: source images (m, H, W, C) in [-1, 1], or what `source_domain` says.
        labels: their classes, integers (m,); None if they are trained on or have none.
        target: target images without labels (n, H, W, C).
        source_domain: as images of which domain the model reads `source`: "target" if they are
            translations to the target.
    """

    def __init__(self, source, labels, target, source_domain="source"):
        self.source, self.labels, self.target = source, labels, target
        self.source_domain = source_domain

    def read(self, model):
        """The `Reading` of the model as it is."""
        return Reading(
            model.classify(self.source, self.source_domain),
            self.labels,
            model.embed(self.source, self.source_domain) if model.can_embed else None,
            model.classify(self.target),
            model.embed(self.target) if model.can_embed else None,
        )


class ThroughTranslation:
    """How the target is read while a translator is trained: translated to the source.

    Args:
        source, labels, target: as of `OwnHead`.
        classifier: the source-only model, which does not change, and neither does what it makes of
            source images.
    """

    def __init__(self, source, labels, target, classifier):
        self.classifier, self.labels, self.target = classifier, labels, target
        self._of_source = (
            classifier.classify(source, "source"),
            labels,
            classifier.embed(source, "source"),
        )

    def read(self, translator):
        """The `Reading` through the translator as it is."""
        translated = translator.translate(self.target, "target_to_source")
        return Reading(
            *self._of_source,
            self.classifier.classify(translated, "source"),
            self.classifier.embed(translated, "source"),
        )


class Validation(keras.callbacks.Callback):
    """Adds the validators to each epoch's log. Put it before `History`.

    Args:
        reader: an `OwnHead` or a `ThroughTranslation`.

    Attributes:
        reading: the last epoch's `Reading`.
    """

    def __init__(self, reader):
        super().__init__()
        self.reader = reader
        self.reading = None

    def on_epoch_end(self, epoch, logs=None):
        """Reads and validates."""
        self.reading = self.reader.read(self.model)
        logs |= validate(self.reading)


class Selection(keras.callbacks.Callback):
    """Keeps the model of the best epoch so far. Put it after `History`.

    Which epoch that is follows from the history alone, so a run that is killed and continued picks
    the same one. An epoch's model is written as a whole, before there is a checkpoint with which
    that epoch's end is not done again; those that were the best before stay, as many as there are
    checkpoints to go back to.

    Args:
        folder: for the models that may be picked.
        validator: a name of `VALIDATORS`.
        history: the step's `History`.
        keep: how many checkpoints the run keeps.
        log: where to say that a model is missing.
    """

    def __init__(self, folder, validator, history, keep, log=print):
        super().__init__()
        self.folder, self.validator, self.history = folder, validator, history
        self.keep, self.log = keep, log
        best = best_epoch(history.entries, validator)
        if best is not None and not self._path(best).exists():
            log(
                f"warning: {self._path(best)}, the best model by {validator} so far, is missing. "
                "Unless a later one is better, an earlier one will be picked."
            )

    def on_epoch_end(self, epoch, logs=None):
        """Saves the model if it is the best so far."""
        entries = self.history.entries
        epoch = len(entries) - 1
        if best_epoch(entries, self.validator) != epoch:
            return
        with replacing(self._path(epoch)) as temporary:
            self.model.save(temporary)
        for old in best_so_far(entries, self.validator)[: -1 - self.keep]:
            self._path(old).unlink(missing_ok=True)

    def save(self, path):
        """Makes the picked epoch's model the step's.

        Args:
            path: of the step's model.

        Returns:
            Whether there was one to pick; else the last epoch's has to do.
        """
        for best in reversed(best_so_far(self.history.entries, self.validator)):
            if self._path(best).exists():
                with replacing(path) as temporary:
                    shutil.copyfile(self._path(best), temporary)
                return True
        return False

    def clear(self):
        """Removes what is not needed any more, now that the step has its model."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, epoch):
        return self.folder / f"epoch_{epoch + 1}.keras"


def best_so_far(entries, validator):
    """Numbers, from 0, of the epochs that were the best when they ended, in order.

    Of two that are equal the later is better; one whose value is not finite is none.

    Args:
        entries: a step's history, one dict for each epoch.
        validator: a name of `VALIDATORS`.
    """
    sign, best, found = VALIDATORS[validator].sign, -math.inf, []
    for epoch, entry in enumerate(entries):
        value = sign * entry.get(validator, math.nan)
        if value >= best:
            best = value
            found.append(epoch)
    return found


def best_epoch(entries, validator):
    """Number, from 0, of the best epoch by a validator; None if no epoch has a finite value."""
    return (best_so_far(entries, validator) or [None])[-1]


def picks(entries):
    """Which epoch each way of choosing picks of a finished step, and what it reads of the target.

    Args:
        entries: the step's history.

    Returns:
        Name → {"epoch": from 1, "step", "target_test_accuracy" or "target_test_miou"}; the target's
        measure is that of the learning curve, and None without labels. Names are "last", those of
        `VALIDATORS` that were logged, and, if there are labels, "oracle": the best epoch by the
        target's test labels, which nobody has in practice. Epochs in which something was not
        measured, as before there was a source-only model to read by, are not picked by it.
    """
    logged = {name for entry in entries for name in entry}
    measure = next((name for name in TARGET_MEASURES if name in logged), TARGET_MEASURES[0])
    chosen = {LAST: len(entries) - 1}
    chosen |= {name: best_epoch(entries, name) for name in VALIDATORS}
    values = [entry.get(measure, -math.inf) for entry in entries]
    if measure in logged:
        chosen[ORACLE] = max(range(len(values)), key=lambda epoch: (values[epoch], epoch))
    return {
        name: {
            "epoch": epoch + 1,
            "step": entries[epoch]["step"],
            measure: entries[epoch].get(measure),
        }
        for name, epoch in chosen.items()
        if epoch is not None
    }


def table(select, histories):
    """What metrics.json says of a run's selection.

    Args:
        select: one of `CHOICES`, by which the run picked.
        histories: for each seed, step → its history.

    Returns:
        {"by": `select`, step → {name of `picks` → {"epoch", "step" and the target's measure: one
        per seed}}}, of the steps that learn to read the target; None without such steps.
    """
    found = {}
    for step in (*MAIN_STEPS, "on_translated_source"):
        of_seeds = [picks(history[step]) for history in histories if step in history]
        if not of_seeds or set(of_seeds[0]) == {LAST}:
            continue
        names = [name for name in of_seeds[0] if all(name in one for one in of_seeds)]
        found[step] = {
            name: {key: [one[name][key] for one in of_seeds] for key in of_seeds[0][name]}
            for name in names
        }
    return {"by": select, **found} if found else None


def said(chosen):
    """`table` in lines for a terminal."""
    lines = []
    for step, ways in chosen.items():
        if step == "by":
            continue
        measure = next(name for name in TARGET_MEASURES if name in ways[LAST])
        picked = chosen["by"] if chosen["by"] in ways else LAST
        lines.append(
            f"\nEpochs of {step}, and {measure.replace('_', ' ')} there, by the learning curve:"
        )
        for name, way in ways.items():
            values = [value for value in way[measure] if value is not None]
            mean = f"{100 * sum(values) / len(values):5.1f}%" if values else "    –"
            note = "  picked" if name == picked else ""
            note = "  reads target labels: nobody has it in practice" if name == ORACLE else note
            lines.append(f"  {name:28s} {mean}  epoch {', '.join(map(str, way['epoch']))}{note}")
    return lines
