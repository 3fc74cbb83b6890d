"""The images of a run, as its steps train on them and as its curves and grids look at them."""

import functools
import math

import numpy as np

from keras_i2i import data
from keras_i2i.data import fingerprints
from keras_i2i.errors import InputError, refuse
from keras_i2i.evaluation import metrics
from keras_i2i.training.run_directory import MAIN_STEPS

_PART = 256
_NEIGHBOUR_BYTES = 2**28  # of images among which an evaluation looks for the nearest
_WATCHED_MASKS = 20  # whole images, of which each may take a second
# Of a test's images, how many may also be training images: they move an accuracy by less than the
# last digit of a report. Above it, the test is refused.
_MAY_BE_SEEN = 0.001
_NAMED = 3


class RunData:
    """The images of an experiment. The target's training labels stay behind in `data`.

    Attributes:
        left_out: how many images the target's test lacks because few-label adaptation learns their
            labels, for one seed of the run or another: the test is the same for all.

    Raises:
        InputError: some cannot be read, or are not as their domain says they are; a class has fewer
            images than it is to have labels, or these leave no test.
    """

    def __init__(self, experiment):
        place = {"data_dir": experiment.data_dir or None, "storage": experiment.storage}
        source, target = (
            {"validation_size": None if size < 0 else size, **place}
            for size in (experiment.source_validation_size, experiment.target_validation_size)
        )
        self.source = data.load(
            experiment.source, "train", size=experiment.source_size or None, **source
        )
        self.source_validation = None
        if source["validation_size"] != 0:
            self.source_validation = data.load(experiment.source, "validation", **source)
        self.source_test = data.load(experiment.source, "test", **place)
        if not experiment.num_classes:
            # A batch has labels. Methods for sources without any do not look at them.
            self.source = self.source.with_zero_labels()
        self._target = {"size": experiment.target_size or None, **target}
        self.target = data.load_unlabelled(experiment.target, "train", **self._target)
        self._experiment = experiment
        whole = data.load(experiment.target, "test", **place)
        self.target_test = self._without_few_labelled(whole)
        self.left_out = len(whole) - len(self.target_test)

    def _without_few_labelled(self, test):
        """The target's test but for images whose labels are learnt."""
        experiment, known = self._experiment, set()
        if experiment.target_labels_per_class:
            for seed in experiment.seeds:
                few = self.few_labelled_target(seed)
                known |= {position for position, _ in fingerprints.repeated(test, few)}
        if len(known) == len(test):
            raise InputError(
                f"--target_labels_per_class={experiment.target_labels_per_class} leaves no test: "
                f"over all --seeds, the labels of all {len(test)} test images of "
                f"--target={experiment.target} are learnt. Give fewer labels, or fewer seeds."
            )
        return test[np.delete(np.arange(len(test)), sorted(known))] if known else test

    def fingerprints(self):
        """What the images and labels are known by: "source" and "target", each by its splits."""
        splits = {
            "source": {
                "train": self.source,
                "validation": self.source_validation,
                "test": self.source_test,
            },
            "target": {"train": self.target, "test": self.target_test},
        }
        return {
            domain: {
                split: fingerprints.fingerprint(examples)
                for split, examples in parts.items()
                if examples is not None
            }
            for domain, parts in splits.items()
        }

    @functools.cached_property
    def seen(self):
        """Of the test images, how many are training or validation images too, of either domain.

        Returns:
            "source" and "target": `images`, how many of the test's are; `of`, how many there are;
            `transductive`, whether the domain is meant to be tested on its own training images,
            and then `images` does not count these; of "target" also `left_out`, as above.

        Raises:
            InputError: more than `_MAY_BE_SEEN` of them.
        """
        seen = {domain: self._seen(domain) for domain in ("source", "target")}
        seen["target"]["left_out"] = self.left_out
        return seen

    def _seen(self, domain):
        experiment = self._experiment
        test = self.source_test if domain == "source" else self.target_test
        transductive = experiment.transductive or experiment.domain(domain).transductive
        parts = {
            "source training": ("source", self.source),
            "source validation": ("source", self.source_validation),
            "target training": ("target", self.target),
        }
        found = {}
        for name, (owner, examples) in parts.items():
            if examples is None or (owner == domain and transductive):
                continue
            for position, twin in fingerprints.repeated(test, examples):
                found.setdefault(position, (name, examples, twin))
        if len(found) > _MAY_BE_SEEN * len(test):
            raise InputError(self._refusal(domain, test, found))
        return {"images": len(found), "of": len(test), "transductive": transductive}

    def _refusal(self, domain, test, found):
        pairs = "".join(
            f"\n  {fingerprints.name_of(test, position)} is "
            f"{fingerprints.name_of(examples, twin)} of the {name} images"
            for position, (name, examples, twin) in list(found.items())[:_NAMED]
        )
        more = f"\n  and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        name = getattr(self._experiment, domain)
        return (
            f"{len(found)} of {len(test)} test images of --{domain}={name} are training or "
            f"validation images too, so a test would tell nothing:{pairs}{more}\n"
            "Remove them from one side. If the protocol is to test on the images that were learnt "
            "without labels, as Office-31's is, say so by --transductive."
        )

    def check(self):
        """Checks that a training finds in these images what it asks of them.

        Raises:
            InputError: it does not; the message lists all that is missing.
        """
        experiment = self._experiment
        problems = []
        for name in ("source", "target"):
            examples, domain = getattr(self, name), getattr(experiment, name)
            if len(examples) < experiment.batch_size:
                problems.append(
                    f"{domain}, train split: {len(examples)} images, fewer than --batch_size="
                    f"{experiment.batch_size}. Give a smaller batch, or more images."
                )
            if experiment.cache == "disk":
                continue  # What is read is written then, and it is too early for that.
            try:
                examples.read_near(0)  # Are there any, and of the right kind?
            except InputError as error:
                problems.append(f"{domain}, train split: {error}")
        if experiment.select == "proxy_a_distance" and len(self._validated) < 2:
            problems.append(
                "--select=proxy_a_distance needs at least 2 source images, a half of them to be "
                f"tested on. --source_validation_size keeps {len(self._validated)}: give more, or "
                "0 for training images."
            )
        names = experiment.domain("source").class_names
        if names and not experiment.segments:
            counts = np.bincount(self.source.labels, minlength=len(names))
            without = [name for name, count in zip(names, counts, strict=True) if not count]
            if without:
                problems.append(
                    f"{experiment.source}, train split: no image of {', '.join(without)}, which "
                    "nothing can be learned of. Add some, raise --source_size, or leave the "
                    "classes out of both domains."
                )
        refuse(problems)

    def watched(self, step, model, count):
        """What the learning curves measure: name → a function of the model."""
        watched = {
            "source_validation": ("source", self.source_validation),
            "target_test": ("target", self.target_test),
        }
        if not model.can_classify:
            return {}
        if step == "on_translated_source":
            del watched["source_validation"]  # it is not meant to read these
        known = {
            name: (domain, examples[:count])
            for name, (domain, examples) in watched.items()
            if examples is not None and (examples.has_masks or examples.labels is not None)
        }
        measures = {}
        for name, (domain, examples) in known.items():
            if model.has_masks:
                measures[f"{name}_miou"] = self._miou(domain, examples[:_WATCHED_MASKS], model)
            else:
                measures[f"{name}_accuracy"] = self._accuracy(domain, examples, model)
        return measures

    def _accuracy(self, domain, examples, model):
        shape = model.image_shape_of(domain)
        examples = self._in_memory(examples, shape)

        def measure(model):
            # A part at a time: as floating-point numbers, large images take four times the memory.
            right = 0
            for start in range(0, len(examples), _PART):
                part = examples[start : start + _PART]
                read = model.classify(_prepared(part, shape), domain).argmax(-1)
                right += np.sum(read == part.labels)
            return right / len(examples)

        return measure

    def _miou(self, domain, examples, model):
        shape, geometry = model.image_shape_of(domain), self._experiment.geometry
        pairs = [
            (np.asarray(geometry.whole(image, shape)), mask)
            for _, image, mask in examples.readable()
        ]

        def measure(model):
            confusion = 0
            for image, mask in pairs:
                read = model.segment(image, domain, mask.shape).argmax(-1)
                confusion = confusion + metrics.pixel_confusion(mask, read, model.num_classes)
            return metrics.mean_iou(confusion)

        return measure

    def test_images(self, count):
        """A few test images of each domain to look at, (count, H, W, C) in [-1, 1]."""
        return self._first(count, self.source_test, self.target_test)

    def training_images(self, count):
        """A few training images of each domain, the target's without labels, likewise."""
        return self._first(count, self.source, self.target)

    def validation_images(self, count):
        """What validators look at: at most `count` images of each domain, in [-1, 1].

        Returns:
            Source images that were not trained on and their labels, or training images and None if
            none were kept; and target training images, which have no labels here.
        """
        source, labels = self._labelled(count, self._validated)
        _, target = self._first(count, self.source[:1], self.target)
        return source, None if self._validated is self.source else labels, target

    @property
    def _validated(self):
        held_out = self.source_validation is not None and len(self.source_validation) > 0
        return self.source_validation if held_out else self.source

    def monitored_images(self, count):
        """At most `count` training images of each domain, in [-1, 1], and the source's labels."""
        source, labels = self._labelled(count, self.source)
        _, target = self._first(count, self.source[:1], self.target)
        return source, target, labels

    def shaped_first(self):
        """`write_translated_copy`'s arguments for source images that are of many sizes, or cut."""
        experiment = self._experiment
        if self._is_ready(self.source):
            return {}
        return {"image_shape": experiment.image_shape, "geometry": experiment.geometry}

    def tests(self):
        """Both domains' test examples as an evaluation reads them."""
        if self._experiment.segments:
            return self.source_test, self.target_test
        shapes = self._experiment.image_shape, self._experiment.target_shape
        return (
            self._in_memory(self.source_test, shapes[0]),
            self._in_memory(self.target_test, shapes[1]),
        )

    def neighbours(self):
        """Training images among which translations look for the nearest: `evaluate`'s arguments."""
        shapes = self._experiment.image_shape, self._experiment.target_shape
        chosen = {}
        for domain, examples, shape in zip(
            ("source", "target"), (self.source, self.target), shapes, strict=True
        ):
            if not isinstance(examples, data.Examples):
                examples = examples[: _NEIGHBOUR_BYTES // math.prod(shape)]
            chosen[f"{domain}_train"] = self._in_memory(examples.without_labels(), shape)
        return chosen

    def _labelled(self, count, examples):
        """Source images as `_first` prepares them, and the labels of those that can be read."""
        shape = self._experiment.image_shape
        examples = examples[:count]
        if examples.has_masks:
            examples = examples.without_labels()
        examples = self._in_memory(examples, shape)
        return _prepared(examples, shape), examples.labels

    def _first(self, count, source, target):
        shapes = self._experiment.image_shape, self._experiment.target_shape
        return [
            _prepared(self._in_memory(examples[:count].without_labels(), shape), shape)
            for examples, shape in zip((source, target), shapes, strict=True)
        ]

    def _in_memory(self, examples, shape):
        """The same with all images in one shape; what is in memory and not cut stays as it is."""
        if self._is_ready(examples):
            return examples
        return data.in_memory(examples, shape, self._experiment.geometry)

    def _is_ready(self, examples):
        plain = self._experiment.geometry == data.Geometry()
        return plain and isinstance(examples, data.Examples)

    def labelled_target(self):
        """All labelled target images: for the ceiling, which is for reporting, and nothing else."""
        return data.load(self._experiment.target, "train", **self._target)

    def few_labelled_target(self, seed):
        """The labelled target images of few-label adaptation, or None."""
        count = self._experiment.target_labels_per_class
        if not count:
            return None
        return data.load_few_labelled(self._experiment.target, count, seed=seed, **self._target)

    def batches(self, step, seed, first_step, translated_copy=None, share=None):
        """A step's training batches from that one on, or a `data.Share` of each."""
        experiment = self._experiment
        shape, target_shape = experiment.image_shape, experiment.target_shape
        options = {
            "batch_size": experiment.batch_size,
            "seed": seed,
            "augmentation": experiment.augmentation,
            "geometry": experiment.geometry,
            "first_step": first_step,
            "share": share,
        }
        if step in MAIN_STEPS:
            few = self.few_labelled_target(seed)
            return data.unpaired_batches(
                self.source,
                self.target,
                labelled_target=few,
                image_shape=shape,
                target_shape=target_shape,
                **options,
            )
        examples = self.labelled_target() if step == "target_only" else self.source
        if translated_copy:
            examples = data.read_translated_copy(translated_copy)
            options["geometry"] = None  # they are as the translator made them
        if step == "target_only" or translated_copy:
            shape = target_shape
        return data.labelled_batches(examples, image_shape=shape, **options)


def _prepared(examples, image_shape):
    return np.asarray(data.preprocess(examples.images, image_shape))
