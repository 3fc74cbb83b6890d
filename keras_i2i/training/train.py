"""From an experiment to a finished run: data → models → fit → evaluation."""

import math

import keras
import numpy as np

from keras_i2i import data, networks
from keras_i2i.errors import InputError, refuse
from keras_i2i.evaluation import evaluate as evaluation
from keras_i2i.evaluation import page, report
from keras_i2i.evaluation.segmentation import evaluate_segmentation
from keras_i2i.files import replacing, write_json
from keras_i2i.models import ReadsThroughTranslation, WeightedSum, choose_weight
from keras_i2i.networks import saved
from keras_i2i.training import callbacks, checks, flags
from keras_i2i.training.methods import METHODS
from keras_i2i.training.run_data import RunData
from keras_i2i.training.run_directory import MAIN_STEPS, RunDirectory
from keras_i2i.training.strategy import make_replicas

# The learning curve and the image grids are looked at, not reported: a part of the images will do.
_CURVE_IMAGES = 2000
_GRID_IMAGES = 10
_DIVERSITY_IMAGES = 200
_WEIGHT_IMAGES = 2000

_CLASSIFIER_STEPS = ("source_only", "target_only")
_HALVES = ("on_translated_source", "reads_translated_target")
_OPPONENTS = "the opponents' losses: steady is good, 0 means they won"


def train(experiment, log=print, only=()):
    """Runs an experiment, or what is left of it.

    For each seed: the source-only baseline, the target-only ceiling if asked for, the method's
    model, whatever its adaptation takes beyond that; then their evaluation. A step that is finished
    is not repeated, one that was interrupted goes on from where it was.

    Of many workers, each of which calls this, all train; the chief alone writes the run directory,
    evaluates and speaks. The others read the directory, so it must lie where all see it.

    Args:
        experiment: an `Experiment`.
        log: where to say what happens, a line at a time.
        only: names of the steps to run; none for all, and the evaluation.

    Returns:
        The content of `metrics.json`; with `only`, None unless the run was finished before. None
        on workers that are not the chief.

    Raises:
        InputError: the run directory belongs to another run, data are missing or are not as their
            domain says, a step is unknown or needs one that is not finished, or the devices cannot
            share the batch. Unless it is a step, nothing is written before.
        ConnectionError: another worker is gone.
    """
    steps = steps_of(experiment)
    refuse(checks.file_problems(vars(experiment)))
    unknown = sorted(set(only) - set(steps))
    if unknown:
        raise InputError(
            f"--only must name steps of this run: {', '.join(steps)}. "
            f"Received: {', '.join(unknown)}"
        )
    replicas = make_replicas(experiment.strategy, experiment.communication)
    with replicas.together():
        if not replicas.is_chief:
            log = _silent
        return _train(experiment, steps, only, replicas, log)


def _train(experiment, steps, only, replicas, log):
    """Does it, as one of the workers."""
    run = RunDirectory(experiment.run_dir, experiment)
    _check_replicas(experiment, replicas)
    if replicas.is_chief:
        RunDirectory.check(experiment)
    if replicas.from_chief(run.metrics.exists):
        log("This run is finished; its results follow. To run it anew, give another --run_dir.")
        return _announce(run, run.results(), log) if replicas.is_chief else None
    # Nothing is written before all that the run needs has been looked at.
    domains = RunData(experiment)
    domains.check()
    for seed in experiment.seeds:
        domains.few_labelled_target(seed)
    _check_files(experiment, run)
    replicas.from_chief(lambda: RunDirectory.create(experiment) and None)
    if not run.flagfile.exists():
        raise InputError(
            f"{run.path} is not there for all workers. Give a --run_dir on a file system that they "
            "share."
        )

    log(
        f"{experiment.source} → {experiment.target}: {len(domains.source)} "
        f"{'labelled' if experiment.num_classes else 'source'}, {len(domains.target)} unlabelled "
        f"images of {_size(experiment.image_shape)}"
        + (
            "."
            if experiment.target_shape == experiment.image_shape
            else f" and {_size(experiment.target_shape)}."
        )
    )
    if replicas.count > 1:
        log(f"On {replicas.count} devices, {experiment.batch_size // replicas.count} images each.")
    for seed in experiment.seeds:
        for step in [step for step in steps if step in only or not only]:
            # The same fresh start whether or not the steps before this one ran in this process.
            keras.backend.clear_session()
            _run_step(run, step, seed, domains, replicas, log)
    if only:
        log(f"Done: {', '.join(only)}. The same command without --only runs the rest.")
        return None
    metrics = evaluate(run, domains, log) if replicas.is_chief else None
    replicas.wait()  # a scheduler that starts the chief again needs all workers
    return metrics


def _silent(line):
    """What workers that are not the chief have to say."""


def _check_files(experiment, run):
    """Raises an `InputError` if there are not the networks that the run's steps are to begin with.

    A step that is finished needs them no more.
    """
    steps = steps_of(experiment)
    left = {s for s in steps for seed in experiment.seeds if not run.model(s, seed).exists()}
    if experiment.encoder_file and "translator" in left:
        networks.load_encoder(experiment.encoder_file)
    if experiment.encoder_weights and left.intersection((*_CLASSIFIER_STEPS, "adapted")):
        experiment.reader_options(experiment.image_shape, experiment.learning_rate)


def _check_replicas(experiment, replicas):
    """Raises an `InputError` if the replicas cannot train this experiment."""
    few = experiment.target_labels_per_class * experiment.num_classes
    for flag, images in (
        ("batch_size", experiment.batch_size),
        ("target_labels_per_class", min(few, experiment.batch_size)),
    ):
        if images % replicas.count:
            raise InputError(
                f"--{flag} must leave each of {replicas.count} devices as many images of a batch. "
                f"Received: {images} images in all. Give a multiple, or another --strategy."
            )
    if replicas.many_workers and experiment.cache == "disk":
        raise InputError("--cache=disk is for one worker; give --cache=memory or none.")


def steps_of(experiment):
    """The steps of a run for one seed, in order. Each resumes by itself.

    - "source_only", "target_only": the baseline, and the ceiling;
    - "adapted": the method's model, if that is what reads the target; else "translator";
    - "translated_copy": the source images, translated, in a folder;
    - "on_translated_source": a classifier trained on those, or on translations made on the fly;
    - "sum": the weight of the two readers.
    """
    if experiment.method not in METHODS:
        return [experiment.method]
    way = experiment.adapts_by
    steps = []
    if experiment.num_classes:
        steps.append("source_only")
        if experiment.ceiling and experiment.target_can_be_learned:
            steps.append("target_only")
    steps.append("adapted" if way == "joint" else "translator")
    if way in ("on_translated_source", "sum"):
        if experiment.translated_copy:
            steps.append("translated_copy")
        steps.append("on_translated_source")
    if way == "sum":
        steps.append("sum")
    return steps


def _main_step(experiment):
    """The step that trains the method's own model; of a baseline its only one."""
    steps = steps_of(experiment)
    return next((step for step in steps if step in MAIN_STEPS), steps[-1])


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
    domains = domains or RunData(experiment)
    steps = [step for step in steps_of(experiment) if step not in ("translated_copy", "sum")]
    main = _main_step(experiment)
    tests = domains.tests()
    results, seconds = [], []
    for seed in experiment.seeds:
        log(f"Evaluating seed {seed} ...")
        models = load_models(run, seed)  # first: it says so if a step is not finished
        histories = {step: run.logged(step, seed) for step in steps}
        common = {
            "class_names": experiment.domain("source").class_names,
            "out_dir": run.path,
            "seed": seed,
            "history": histories[main],
            # A folder's path says more than that it is a folder.
            "domain_names": tuple(
                name.partition(":")[2] or name for name in (experiment.source, experiment.target)
            ),
            "seed_in_names": len(experiment.seeds) > 1,
        }
        if experiment.segments:
            palette = experiment.domain("source").palette
            result = evaluate_segmentation(
                models, *tests, geometry=experiment.geometry, palette=palette, **common
            )
        else:
            result = evaluation.evaluate(models, *tests, **domains.neighbours(), **common)
        results.append({**result, "history": histories})
        seconds.append(sum(history[-1]["seconds"] for history in histories.values()))
    metrics = evaluation.combine(
        results,
        method=experiment.method,
        source=experiment.source,
        target=experiment.target,
        seconds=seconds,
        target_labels_per_class=experiment.target_labels_per_class,
        command=f"keras-i2i-train --flagfile={run.flagfile}",
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
    _check_finished(run, step, path)
    try:
        return saved.load_model(path)
    except InputError as error:
        raise InputError(
            f"{path} cannot be read: it is damaged, or another version wrote it. Train anew with "
            f"another --run_dir. {error}"
        ) from error


def _check_finished(run, step, path):
    """Raises an `InputError` if a step has not left its file."""
    if not path.exists():
        raise InputError(
            f"{path} is missing: step {step} of the run is not finished. Continue it with "
            f"`keras-i2i-train --flagfile={run.flagfile}`."
        )


def load_models(run, seed):
    """All that a run can read and translate with, as `evaluation.evaluate` wants it.

    "adapted" is what the run reports; a reader that is made of other models stands beside them
    under its own name too.

    Raises:
        InputError: the run has no such seed, or is not finished.
    """
    experiment = run.experiment
    if seed not in experiment.seeds:
        raise InputError(
            f"--seed must be one of the run's: {', '.join(map(str, experiment.seeds))}. "
            f"Received: {seed}"
        )
    steps = steps_of(experiment)
    models = _load_parts(run, seed, steps)
    if "sum" in steps:
        path = run.sum_weight(seed)
        _check_finished(run, "sum", path)
        models["sum"] = WeightedSum(*(models[n] for n in _HALVES), run.weight_of_sum(seed))
    if "translator" in steps and experiment.adapts_by:
        models["adapted"] = models[experiment.adapts_by]
    return models


def _load_parts(run, seed, steps):
    """What `load_models` gives, of these steps, before anything is summed or chosen."""
    models = {
        step: load_model(run, step, seed)
        for step in steps
        if step in (*_CLASSIFIER_STEPS, "adapted")
    }
    if "translator" not in steps:
        return models
    models["translator"] = translator = load_model(run, "translator", seed)
    if translator.can_classify:
        models["joint"] = translator
    if "on_translated_source" in steps:
        models["on_translated_source"] = ReadsThroughTranslation(
            translator, load_model(run, "on_translated_source", seed), "target"
        )
    if "source_only" in steps and "target_to_source" in translator.directions:
        models["reads_translated_target"] = ReadsThroughTranslation(
            translator, models["source_only"], "source"
        )
    return models


def load_reader(run, seed):
    """What a run reads target images with, and translates if it can; see `load_models`."""
    return reader_of(load_models(run, seed))


def reader_of(models):
    """Of what `load_models` gives, what reads target images."""
    return next(
        models[name]
        for name in ("adapted", "translator", "source_only", "target_only")
        if name in models
    )


def _size(image_shape):
    return "x".join(map(str, image_shape))


def _run_step(run, step, seed, domains, replicas, log):
    """Does one step of one seed; does nothing if that is done."""
    if step == "translated_copy":
        replicas.from_chief(lambda: _write_translated_copy(run, seed, domains))
    elif step == "sum":
        replicas.from_chief(lambda: _choose_weight(run, seed, domains, log))
    elif not replicas.from_chief(run.model(step, seed).exists):
        _train_step(run, step, seed, domains, replicas, log)


def _build(run, step, seed):
    """What a step trains.

    Returns:
        The model, compiled; the folder of the translated copy that it learns from, or None; and
        variables of other models that its training changes.
    """
    experiment = run.experiment
    if step in MAIN_STEPS:
        needed = METHODS[experiment.method].needs_source_only(experiment)
        first = load_model(run, "source_only", seed) if needed else None
        return experiment.build_model(seed, first), None, ()
    model = experiment.build_classifier("source" if step == "source_only" else "target")
    if step != "on_translated_source":
        return model, None, ()
    if experiment.translated_copy:
        copy = run.translated_copy(seed)
        _check_finished(run, "translated_copy", copy / "train.json")
        return model, copy, ()
    translator = load_model(run, "translator", seed)
    model.train_on_translations(translator.mapping("source", "target"))
    # Where its random numbers have got to.
    random = translator.non_trainable_variables if experiment.dropout_at_inference else ()
    return model, None, random


def _train_step(run, step, seed, domains, replicas, log):
    """Trains one model of one seed to its end and saves it."""
    experiment = run.experiment
    keras.utils.set_random_seed(seed)
    # Variables that are made in the scope are made by all workers together: nothing else may be.
    with replicas.strategy.scope():
        model, copy, beside = _build(run, step, seed)
    steps = experiment.steps if step in MAIN_STEPS else experiment.classifier_steps

    checkpoint = callbacks.Checkpoint(
        run.checkpoints(step, seed), model, experiment.keep_checkpoints, beside
    )
    done = checkpoint.restore()
    if done != replicas.from_chief(lambda: done):
        raise InputError(
            f"Not all workers see the same in {run.checkpoints(step, seed)}. Give a --run_dir on a "
            "file system that they share."
        )
    per_epoch = min(experiment.steps_per_epoch, steps)
    if done:
        log(f"{step}, seed {seed}: continuing from step {done * per_epoch}.")
    elif step in MAIN_STEPS:
        _explain(model, METHODS[experiment.method].terms, log)

    watching = []
    if replicas.is_chief:
        watching = _watching(run, step, seed, domains, model, done, log)
        watching += [callbacks.Progress(f"{step}, seed {seed}", steps, per_epoch), checkpoint]
    with data.input_errors():
        model.fit(
            replicas.batches(
                lambda share: domains.batches(step, seed, done * per_epoch, copy, share)
            ),
            steps_per_epoch=per_epoch,
            initial_epoch=done,
            epochs=math.ceil(steps / per_epoch),
            shuffle=False,  # the data are
            verbose=0,
            callbacks=watching,
        )
    replicas.from_chief(lambda: _save(model, run.model(step, seed)))


def _watching(run, step, seed, domains, model, done, log):
    """What looks at a model after each epoch, and writes down what it sees."""
    folder = run.tensorboard(step, seed)
    diversity, grids = [], []
    if model.can_translate:
        diversity = [callbacks.Diversity(*domains.training_images(_DIVERSITY_IMAGES), log)]
        grids = [callbacks.ImageGrid(folder / "images", *domains.test_images(_GRID_IMAGES))]
    watched = domains.watched(step, model, _CURVE_IMAGES)
    profiled = run.experiment.profiled_steps if step == _main_step(run.experiment) else None
    if profiled:
        # TensorBoard's callback counts what runs without coming back to Python.
        profiled = tuple((n - 1) // run.experiment.steps_per_execution + 1 for n in profiled)
    return [
        *diversity,  # before the history, which writes its number down
        callbacks.History(run.history(step, seed), done, watched),
        *grids,
        keras.callbacks.TensorBoard(folder, write_graph=False, profile_batch=profiled or 0),
    ]


def _save(model, path):
    with replacing(path) as temporary:
        model.save(temporary)


def _explain(model, meanings, log):
    """Says what the numbers on the progress line are."""
    log("\n".join(f"  {name}: {meanings[name]}" for name in model.terms))
    if model.discriminators:
        log(f"  {', '.join(f'd_{name}' for name in model.discriminators)}: {_OPPONENTS}")
    if model.measures:
        log(f"  {', '.join(model.measures)}: {model.MEASURED}")


def _write_translated_copy(run, seed, domains):
    """Translates all source training images into a folder; goes on where it stopped."""
    experiment = run.experiment
    translator = load_model(run, "translator", seed)

    def translate(images):
        images = np.asarray(data.preprocess(images, experiment.image_shape))
        return data.to_uint8(translator.translate(images, "source_to_target"))

    data.write_translated_copy(
        run.translated_copy(seed),
        domains.source,
        translate,
        experiment.domain("source").class_names,
        **domains.shaped_first(),
        progress=callbacks.progress_line(f"translated_copy, seed {seed}"),
    )


def _choose_weight(run, seed, domains, log):
    """Writes the weight of the sum; no target label has a part in it."""
    path = run.sum_weight(seed)
    if path.exists():
        return
    parts = _load_parts(run, seed, ["source_only", "translator", "on_translated_source"])
    _, images = domains.training_images(_WEIGHT_IMAGES)
    weight = choose_weight(*(parts[name] for name in _HALVES), images)
    write_json(path, {"weight": weight})
    log(
        f"sum, seed {seed}: {weight:.2f} on_translated_source + {1 - weight:.2f} "
        "reads_translated_target"
    )


def _announce(run, metrics, log):
    """Says how it went and returns the metrics."""
    rows = {
        "source_only": "without adaptation",
        "on_translated_source": "trained on translated source images",
        "reads_translated_target": "reads translated target images",
        "sum": "weighted sum of the two",
        "joint": "the translator's own classifier",
        "adapted": "adapted",
        "target_only": "ceiling, trained on target labels",
    }
    measure, title = "target_test_accuracy", "Accuracy"
    if page.segments(metrics):
        measure, title = "target_test_miou", "Mean intersection over union"
    values = {meaning: metrics[step][measure] for step, meaning in rows.items() if step in metrics}
    if any(None not in numbers for numbers in values.values()):
        log(
            f"\n{title} on {metrics['target']} test images, mean of {len(run.experiment.seeds)} "
            "seed(s):"
        )
    for direction, read in metrics.get("translations_read_correctly", {}).items():
        values[f"read correctly, {direction.replace('_', ' ')}"] = read
    for meaning, numbers in values.items():
        if None not in numbers:
            numbers = 100 * np.array(numbers)
            spread = f" ± {numbers.std(ddof=1):.1f}" if len(numbers) > 1 else ""
            log(f"  {meaning:38s} {numbers.mean():5.1f}%{spread}")
    log(f"Report: {run.report}")
    return metrics
