"""From an experiment to a finished run: data → models → fit → evaluation."""

import json
import math

import keras
import numpy as np
import tensorflow as tf

from keras_i2i import data
from keras_i2i.errors import InputError
from keras_i2i.evaluation import evaluate as evaluation
from keras_i2i.evaluation import report
from keras_i2i.files import replacing, write_json
from keras_i2i.models import ReadsThroughTranslation
from keras_i2i.training import callbacks, flags
from keras_i2i.training.run_directory import RunDirectory

# The learning curve and the image grids are looked at, not reported: a part of the images will do.
_CURVE_IMAGES = 2000
_GRID_IMAGES = 10

# What the adapted model learns, in words a newcomer understands; printed above its losses.
_MEANINGS = {
    "task": "mistakes on labelled source images (cross-entropy; guessing among 10 costs 2.3)",
    "feature": "how far the target's features are from passing as the source's (0 = they pass)",
    "translation": "how far translations are from passing as the other domain's images",
    "identity": "pixel error of images rebuilt from their features",
    "cycle": "pixel error of images translated there and back",
    "translated_task": "mistakes on translated source images",
    "information": "indecision on target images (-2.3 = sure of each and all 10 classes used)",
    "target_task": "mistakes on the few labelled target images",
}
_OPPONENTS = "the opponents' losses: steady is good, 0 means they won"


def train(experiment, log=print):
    """Runs an experiment, or what is left of it.

    For each seed: the source-only baseline, the target-only ceiling if asked for, the adapted
    model; then their evaluation. A step that is finished is not repeated, one that was interrupted
    goes on from its last checkpoint.

    Args:
        experiment: an `Experiment`.
        log: where to say what happens, a line at a time.

    Returns:
        The content of `metrics.json`.

    Raises:
        InputError: the run directory belongs to another run, or data are missing.
    """
    run = RunDirectory.create(experiment)
    if run.metrics.exists():
        log("This run is finished; its results follow. To run it anew, give another --run_dir.")
        return _announce(run, json.loads(run.metrics.read_text()), log)

    strategy = _strategy()
    domains = _Data(experiment)
    log(
        f"{experiment.source} → {experiment.target}: {len(domains.source)} labelled, "
        f"{len(domains.target)} unlabelled images of {'x'.join(map(str, experiment.image_shape))}."
    )
    for seed in experiment.seeds:
        domains.few_labelled_target(seed)  # too few labels are found out now, not hours later
    for seed in experiment.seeds:
        for step in _steps(experiment):
            # The same fresh start whether or not the steps before this one ran in this process.
            # Not inside the scope, whose graph it would take away.
            keras.backend.clear_session()
            with strategy.scope():
                _run_step(run, step, seed, domains, log)
    return evaluate(run, domains, log)


def evaluate(run, domains=None, log=print):
    """Measures a trained run's models and writes metrics, figures and the report.

    Args:
        run: a `RunDirectory` whose steps are all trained.
        domains: the run's data, if they are at hand.
        log: where to say what happens, a line at a time.

    Returns:
        The content of `metrics.json`.
    """
    experiment = run.experiment
    domains = domains or _Data(experiment)
    steps = _steps(experiment)
    results, seconds = [], []
    for seed in experiment.seeds:
        log(f"Evaluating seed {seed} ...")
        models = {step: load_model(run, step, seed) for step in steps[:-1]}
        models[steps[-1]] = load_reader(run, seed)
        histories = {step: json.loads(run.history(step, seed).read_text()) for step in steps}
        result = evaluation.evaluate(
            models,
            domains.source_test,
            domains.target_test,
            source_train=domains.source,
            target_train=domains.target,
            class_names=data.get_domain(experiment.source).class_names,
            out_dir=run.path,
            seed=seed,
            history=histories[steps[-1]],
            domain_names=(experiment.source, experiment.target),
            seed_in_names=len(experiment.seeds) > 1,
        )
        results.append({**result, "history": histories})
        seconds.append(sum(history[-1]["seconds"] for history in histories.values()))
    metrics = evaluation.combine(
        results,
        method=experiment.method,
        source=experiment.source,
        target=experiment.target,
        seconds=seconds,
        target_labels_per_class=experiment.target_labels_per_class,
        command=f"python train.py --flagfile={run.flagfile}",
        flags=flags.to_flagfile(experiment),
    )
    report.write_report(metrics, run.path)
    # Last, because a run with metrics counts as finished.
    write_json(run.metrics, metrics)
    return _announce(run, metrics, log)


def load_model(run, step, seed):
    """A trained model of a run, compiled.

    Raises:
        InputError: the step is not finished, or the file is damaged.
    """
    path = run.model(step, seed)
    if not path.exists():
        raise InputError(
            f"{path} is missing: the run is not finished. Continue it with "
            f"`python train.py --flagfile={run.flagfile}`."
        )
    try:
        return keras.saving.load_model(path)
    except ValueError as error:
        raise InputError(
            f"{path} cannot be read: it is damaged, or another version wrote it. Train anew with "
            f"another --run_dir. Keras says: {str(error).splitlines()[0]}"
        ) from error


def load_reader(run, seed):
    """The model of a run that reads images, and translates them if it can.

    Raises:
        InputError: the run has no such seed, or is not finished.
    """
    experiment = run.experiment
    if seed not in experiment.seeds:
        raise InputError(
            f"--seed must be one of the run's: {', '.join(map(str, experiment.seeds))}. "
            f"Received: {seed}"
        )
    if experiment.method != "i2i_adapt":
        return load_model(run, experiment.method, seed)
    model = load_model(run, "adapted", seed)
    if model.can_classify:
        return model
    return ReadsThroughTranslation(model, load_model(run, "source_only", seed))


class _Data:
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
        self._target = {"size": experiment.target_size or None, **target}
        self.target = data.load_unlabelled(experiment.target, "train", **self._target)
        self.target_test = data.load(experiment.target, "test", **place)
        self._experiment = experiment

    def watched(self, model, count):
        """What the learning curves measure: name → (domain, images, labels)."""
        watched = {
            "source_validation_accuracy": ("source", self.source_validation),
            "target_test_accuracy": ("target", self.target_test),
        }
        if not model.can_classify:
            return {}
        first = {
            name: (domain, examples.take(min(count, len(examples))))
            for name, (domain, examples) in watched.items()
            if examples is not None
        }
        return {
            name: (domain, self._images(examples), examples.labels)
            for name, (domain, examples) in first.items()
        }

    def samples(self, count):
        """A few test images of each domain to look at, (count, H, W, C) in [-1, 1]."""
        return [self._images(test.take(count)) for test in (self.source_test, self.target_test)]

    def _images(self, examples):
        images = data.preprocess(examples.images, self._experiment.image_shape)
        return np.asarray(images)

    def labelled_target(self):
        """All labelled target images: for the ceiling, which is for reporting, and nothing else."""
        return data.load(self._experiment.target, "train", **self._target)

    def few_labelled_target(self, seed):
        """The labelled target images of few-label adaptation, or None."""
        count = self._experiment.target_labels_per_class
        if not count:
            return None
        return data.load_few_labelled(self._experiment.target, count, seed=seed, **self._target)

    def batches(self, step, seed, first_step):
        """A step's training batches from that one on."""
        experiment = self._experiment
        options = {
            "batch_size": experiment.batch_size,
            "image_shape": experiment.image_shape,
            "seed": seed,
            "augmentation": experiment.augmentation,
            "first_step": first_step,
        }
        if step == "adapted":
            few = self.few_labelled_target(seed)
            return data.unpaired_batches(self.source, self.target, labelled_target=few, **options)
        examples = self.source if step == "source_only" else self.labelled_target()
        return data.labelled_batches(examples, **options)


def _steps(experiment):
    if experiment.method != "i2i_adapt":
        return [experiment.method]
    return ["source_only", *(["target_only"] if experiment.ceiling else []), "adapted"]


def _strategy():
    """All GPUs of the machine if there are several, else whatever Keras picks."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _run_step(run, step, seed, domains, log):
    """Trains one model of one seed to its end and saves it; does nothing if that is done."""
    if run.model(step, seed).exists():
        return
    experiment = run.experiment
    keras.utils.set_random_seed(seed)
    if step == "adapted":
        model, steps = experiment.build_model(seed), experiment.steps
        if experiment.warm_start or model.freeze_source:
            first = load_model(run, "source_only", seed)
            model.start_from(first.encoder, first.head)
    else:
        model, steps = experiment.build_classifier(), experiment.classifier_steps

    checkpoint = callbacks.Checkpoint(
        run.checkpoints(step, seed), model, experiment.keep_checkpoints
    )
    done = checkpoint.restore()
    per_epoch = min(experiment.steps_per_epoch, steps)
    if done:
        log(f"{step}, seed {seed}: continuing from step {done * per_epoch}.")
    elif step == "adapted":
        log("\n".join(f"  {name}: {_MEANINGS[name]}" for name in model.terms))
        if model.discriminators:
            log(f"  {', '.join(f'd_{name}' for name in model.discriminators)}: {_OPPONENTS}")

    history = callbacks.History(
        run.history(step, seed), done, domains.watched(model, _CURVE_IMAGES)
    )
    folder = run.tensorboard(step, seed)
    grids = []
    if model.can_translate:
        grids = [callbacks.ImageGrid(folder / "images", *domains.samples(_GRID_IMAGES))]
    model.fit(
        domains.batches(step, seed, done * per_epoch),
        steps_per_epoch=per_epoch,
        initial_epoch=done,
        epochs=math.ceil(steps / per_epoch),
        shuffle=False,  # the data are
        verbose=0,
        callbacks=[
            history,
            *grids,
            keras.callbacks.TensorBoard(folder, write_graph=False),
            callbacks.Progress(f"{step}, seed {seed}", steps, per_epoch),
            checkpoint,
        ],
    )
    with replacing(run.model(step, seed)) as temporary:
        model.save(temporary)


def _announce(run, metrics, log):
    """Says how it went and returns the metrics."""
    log(f"\nAccuracy on {metrics['target']} test images, mean of {len(metrics['seeds'])} seed(s):")
    names = {
        "source_only": "without adaptation",
        "adapted": "adapted",
        "target_only": "ceiling, trained on target labels",
    }
    for step, meaning in names.items():
        if step in metrics:
            values = 100 * np.array(metrics[step]["target_test_accuracy"])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            log(f"  {meaning:34s} {values.mean():5.1f}%{spread}")
    log(f"Report: {run.report}")
    return metrics
