"""What tells, without a label of the target, that a training goes wrong while it still runs.

Losses of adversarial training say little: they hover while all is well and while nothing is. Each
monitor looks for one known way of failing, at each epoch's end, on a few hundred images. Its number
goes into the log, and two epochs in a row beyond its threshold bring one sentence that says what it
may mean and what to try. docs/troubleshooting.md has more on each.
"""

import types

import keras
import numpy as np
import tensorflow as tf

from keras_i2i import data
from keras_i2i.evaluation.metrics import COLLAPSED_DIVERSITY, confusion, diversity
from keras_i2i.evaluation.validators import information_maximization

# A discriminator that loses less than this share of what one loses that knows nothing has won.
WON_SHARE = 0.05
# Where it is measured how often one is right: 60 to 80 % are healthy (Basci, section 4.3).
WON_ACCURACY = 0.95
# A class has changed if more than this share of its translations is read as one other class. A
# source-only reader that knows two thirds of the quickstart's target reads 63 % of good eights as
# fours.
PERMUTED_SHARE = 0.7
# Fewer images of a class say nothing about it.
FEWEST = 5
# Predictions that say less of target images than this share of what they say of source images.
CHANCE_SHARE = 0.25

HELP = "docs/troubleshooting.md#"


class Monitors(keras.callbacks.Callback):
    """Runs monitors at each epoch's end. Put it before `History`, which writes down what they say.

    A monitor has

    - `measure(model, translations)`: numbers for the log, name → value;
    - `is_alarming(entry)`: whether an epoch's log is beyond the threshold;
    - `warning(logs)`: a sentence on what `measure` found last, with the log as it is then.

    Whether to warn follows from what the history holds, so a run that was interrupted warns as one
    that was not: after two epochs in a row that are alarming, once, and again after a recovery.

    Args:
        monitors: what to run.
        images: domain → training images (n, H, W, C) in [-1, 1]; they are translated once for all.
        history: the step's `History`.
        folder: of TensorBoard events, for the warnings' text.
        log: where to warn.
    """

    def __init__(self, monitors, images, history, folder, log=print):
        super().__init__()
        self.monitors, self.images, self.history, self.log = monitors, images, history, log
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        """Measures and, if need be, warns."""
        translations = {
            direction: self.model.translate(self.images[direction.split("_to_")[0]], direction)
            for direction in self.model.directions
        }
        for monitor in self.monitors:
            logs |= monitor.measure(self.model, translations)
            if warns(monitor, [*self.history.entries, logs]):
                self._warn(monitor.warning(logs), epoch)

    def _warn(self, text, epoch):
        self.log(f"warning: {text}")
        self.history.warnings.append(text)
        # A file for each, so that a run without warnings has none.
        writer = tf.summary.create_file_writer(str(self.folder))
        with writer.as_default(epoch):
            tf.summary.text("warnings", text)
        writer.close()


def warns(monitor, entries):
    """Whether a monitor warns at the last of these epochs.

    Args:
        monitor: one of those below.
        entries: the log of each epoch, with what the monitor measured.
    """
    signs = [monitor.is_alarming(entry) for entry in entries[-3:]]
    return signs[-2:] == [True, True] and signs[:-2] != [True]


class Diversity:
    """A translator that collapses onto a few outputs.

    Logs `diversity`: how much translations differ from each other, as a share of how much real
    images of that domain do (`evaluation.metrics.diversity`); of two directions the smaller.

    Args:
        images: domain → training images.
    """

    def __init__(self, images):
        self._real = {domain: diversity(some) for domain, some in images.items()}
        self._shares = {}

    def measure(self, model, translations):
        """The smaller share."""
        self._shares = {
            direction: diversity(np.nan_to_num(some)) / self._real[direction.split("_to_")[1]]
            for direction, some in translations.items()
        }
        return {"diversity": min(self._shares.values())}

    def is_alarming(self, entry):
        """Whether it is below `COLLAPSED_DIVERSITY`."""
        return entry.get("diversity", 1.0) < COLLAPSED_DIVERSITY

    def warning(self, logs):
        """Which direction."""
        worst = min(self._shares, key=self._shares.get)
        return (
            f"translations {worst.replace('_', ' ')} differ from each other only "
            f"{self._shares[worst]:.0%} as much as real images do. The translator may have "
            "collapsed onto a few outputs; a lower learning rate or a heavier cycle, identity or "
            f"constancy term can help ({HELP}mode-collapse)."
        )


class DiscriminatorWon:
    """A discriminator that is always right, from whose gradient generators learn little.

    It reads the log, where `d_<name>` is a discriminator's loss and, in some methods,
    `d_<name>_accuracy` how often it is right. Losses are judged by the floor of their objective:
    `WON_SHARE` of what one loses that knows nothing. A Wasserstein critic has no floor, and its
    gradient does not vanish however well it is trained (Arjovsky et al. 2017, section 3): there is
    nothing to win.

    Args:
        undecided: discriminator → its loss while it knows nothing, `AdversarialModel.undecided`.
        critics: which of them may be Wasserstein critics instead, by which flag: `Method.critics`.
    """

    def __init__(self, undecided, critics=types.MappingProxyType({})):
        self._undecided, self._critics = dict(undecided), critics

    def measure(self, model, translations):
        """Nothing that is not there."""
        return {}

    def is_alarming(self, entry):
        """Whether one has won."""
        return bool(self._winners(entry))

    def warning(self, logs):
        """Which one."""
        winners = self._winners(logs)
        critics = dict.fromkeys(self._critics[name] for name in winners if name in self._critics)
        helps = ["A lower --discriminator_learning_rate"]
        helps += [f"--{flag}=wasserstein" for flag in critics]
        return (
            f"{' and '.join(f'd_{name}' for name in winners)} tells real from translated nearly "
            "always, and what plays against it learns little from one that cannot be fooled. "
            f"{', '.join(helps)} or a smaller --discriminator_width can help "
            f"({HELP}a-discriminator-that-won)."
        )

    def _winners(self, entry):
        return [
            name
            for name, level in self._undecided.items()
            if entry.get(f"d_{name}", level) < WON_SHARE * level
            or entry.get(f"d_{name}_accuracy", 0.0) > WON_ACCURACY
        ]


class PermutedClasses:
    """A translator that turns images of one class into those of another: a 7 into a 9.

    A cycle loss is content with that, as long as the way back undoes it. A classifier that knows
    nothing of the translator is not: the source-only model reads translations of labelled source
    images. Logs `translations_read`, the fraction that it reads as their own class, and
    `permuted_classes`, how many classes have changed: those of which more than `PERMUTED_SHARE` is
    read as one and the same other class, which is the reading of no third one. A reading that
    swallows many classes is that of a reader, or a translator, that knows no classes at all.

    Args:
        source_only: the classifier.
        labels: integers (n,), of the source images that are translated.
        class_names: name of each class.
    """

    def __init__(self, source_only, labels, class_names):
        self.source_only, self.labels, self.class_names = source_only, labels, class_names
        self._found = []

    def measure(self, model, translations):
        """Reads the translations to the target."""
        images, shape = translations["source_to_target"], self.source_only.image_shape_of("source")
        if images.shape[1:] != shape:
            images = np.asarray(data.preprocess(data.to_uint8(images), shape))
        read = self.source_only.classify(images, "source").argmax(-1)
        self._found = permuted(self.labels, read, len(self.class_names))
        return {
            "translations_read": float(np.mean(read == self.labels)),
            "permuted_classes": float(len(self._found)),
        }

    def is_alarming(self, entry):
        """Whether any class has changed."""
        return entry.get("permuted_classes", 0) > 0

    def warning(self, logs):
        """Which classes become which."""
        changes = ", ".join(
            f"{self.class_names[label]} → {self.class_names[other]} ({share:.0%})"
            for label, other, share in self._found
        )
        return (
            "the source-only model reads translations to the target mostly as another class: "
            f"{changes}. The translator may permute classes; look at the pictures. A heavier "
            "identity term, a smaller translation term or, of I2I-Adapt, a translated_task term or "
            f"--warm_start can help ({HELP}permuted-classes)."
        )


def permuted(labels, read, num_classes):
    """Classes whose images are mostly read as one and the same other class.

    Args:
        labels: integers (n,), their classes.
        read: integers (n,), what they are read as.
        num_classes: number of classes.

    Returns:
        A list of (class, other class, share of its images). Not among them are classes of fewer
        than `FEWEST` images, and those whose reading more than two classes share.
    """
    counts = confusion(labels, read, num_classes)
    totals = counts.sum(axis=1)
    mostly = np.where(totals > 0, counts.argmax(axis=1), -1)
    found = []
    for label in np.flatnonzero(totals >= FEWEST):
        other, share = mostly[label], counts[label].max() / totals[label]
        if other != label and share > PERMUTED_SHARE and np.sum(mostly == other) <= 2:
            found.append((int(label), int(other), float(share)))
    return found


class ChanceLevel:
    """A classifier whose predictions say nothing about target images, while they do of the source.

    Logs `target_information`: the information of predictions about target images
    (`evaluation.validators.information_maximization`) as a share of that about source images. A
    classifier that answers the same to every target image, or nothing definite, has none. One that
    is sure and wrong cannot be told without labels.

    Args:
        validation: the `selection.Validation` that has read the images of the epoch.
    """

    def __init__(self, validation):
        self.validation = validation
        self._share = 1.0

    def measure(self, model, translations):
        """The share; 1 as long as predictions say nothing about source images either."""
        reading = self.validation.reading
        of_source, of_target = (
            information_maximization(logits)
            for logits in (reading.source_logits, reading.target_logits)
        )
        learnt = of_source > 0.1 * np.log(reading.source_logits.shape[-1])
        self._share = of_target / of_source if learnt else 1.0
        return {"target_information": self._share}

    def is_alarming(self, entry):
        """Whether it is below `CHANCE_SHARE`."""
        return entry.get("target_information", 1.0) < CHANCE_SHARE

    def warning(self, logs):
        """How little is left."""
        return (
            f"predictions on target images carry only {self._share:.0%} of the information that "
            "those on source images do: the target is read at the level of chance, or nearly. "
            "Grayscale images or, of I2I-Adapt, an information term, --warm_start or a smaller "
            f"feature term can help ({HELP}chance-level-on-the-target)."
        )


def warnings_of(histories):
    """What monitors warned of while a seed was trained, in words.

    Args:
        histories: step → its history.
    """
    return [
        f"While {step} was trained (epoch {number}): {warning}"
        for step, entries in histories.items()
        for number, entry in enumerate(entries, start=1)
        for warning in entry.get("warnings", ())
    ]
