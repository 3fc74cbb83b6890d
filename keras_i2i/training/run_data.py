"""The images of a run, as its steps train on them and as its curves and grids look at them."""

import numpy as np

from keras_i2i import data
from keras_i2i.training.run_directory import MAIN_STEPS


class RunData:
    """The images of an experiment. The target's training labels stay behind in `data`."""

    def __init__(self, experiment):
        place = {"data_dir": experiment.data_dir or None}
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
            unknown = np.zeros(len(self.source), np.int64)
            self.source = data.Examples(self.source.images, unknown)
        self._target = {"size": experiment.target_size or None, **target}
        self.target = data.load_unlabelled(experiment.target, "train", **self._target)
        self.target_test = data.load(experiment.target, "test", **place)
        self._experiment = experiment

    def watched(self, step, model, count):
        """What the learning curves measure: name → (domain, images, labels)."""
        watched = {
            "source_validation_accuracy": ("source", self.source_validation),
            "target_test_accuracy": ("target", self.target_test),
        }
        if not model.can_classify:
            return {}
        if step == "on_translated_source":
            del watched["source_validation_accuracy"]  # it is not meant to read these
        first = {
            name: (domain, examples.take(min(count, len(examples))))
            for name, (domain, examples) in watched.items()
            if examples is not None and examples.labels is not None
        }
        return {
            name: (domain, _prepared(examples, model.image_shape_of(domain)), examples.labels)
            for name, (domain, examples) in first.items()
        }

    def test_images(self, count):
        """A few test images of each domain to look at, (count, H, W, C) in [-1, 1]."""
        return self._first(count, self.source_test, self.target_test)

    def training_images(self, count):
        """A few training images of each domain, the target's without labels, likewise."""
        return self._first(count, self.source, self.target)

    def _first(self, count, source, target):
        shapes = self._experiment.image_shape, self._experiment.target_shape
        return [
            _prepared(examples.take(min(count, len(examples))), shape)
            for examples, shape in zip((source, target), shapes, strict=True)
        ]

    def labelled_target(self):
        """All labelled target images: for the ceiling, which is for reporting, and nothing else."""
        return data.load(self._experiment.target, "train", **self._target)

    def few_labelled_target(self, seed):
        """The labelled target images of few-label adaptation, or None."""
        count = self._experiment.target_labels_per_class
        if not count:
            return None
        return data.load_few_labelled(self._experiment.target, count, seed=seed, **self._target)

    def batches(self, step, seed, first_step, translated_copy=None):
        """A step's training batches from that one on."""
        experiment = self._experiment
        shape, target_shape = experiment.image_shape, experiment.target_shape
        options = {
            "batch_size": experiment.batch_size,
            "seed": seed,
            "augmentation": experiment.augmentation,
            "first_step": first_step,
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
        if step == "target_only" or translated_copy:
            shape = target_shape
        return data.labelled_batches(examples, image_shape=shape, **options)


def _prepared(examples, image_shape):
    return np.asarray(data.preprocess(examples.images, image_shape))
