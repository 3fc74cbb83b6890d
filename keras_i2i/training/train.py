"""From an experiment to a finished run: data → models → fit → evaluation."""

import contextlib
import math
import shutil

import keras
import numpy as np
import tensorflow as tf

from keras_i2i import data, networks
from keras_i2i.errors import InputError, refuse
from keras_i2i.evaluation import evaluate as evaluation
from keras_i2i.evaluation import page, report
from keras_i2i.evaluation.segmentation import evaluate_segmentation
from keras_i2i.files import replacing, write_json
from keras_i2i.models import ReadsThroughTranslation, WeightedSum, choose_weight
from keras_i2i.models.domain_transfer_network import check_shapes
from keras_i2i.networks import saved
from keras_i2i.training import (
    callbacks,
    checks,
    divergence,
    flags,
    monitors,
    provenance,
    selection,
    watching,
)
from keras_i2i.training.checkpoint import Checkpoint
from keras_i2i.training.methods import BASELINES, METHODS
from keras_i2i.training.run_data import RunData
from keras_i2i.training.run_directory import MAIN_STEPS, RunDirectory
from keras_i2i.training.stopping import Signals
from keras_i2i.training.strategy import make_replicas

_WEIGHT_IMAGES = 2000

_CLASSIFIER_STEPS = ("source_only", "target_only")
_HALVES = ("on_translated_source", "reads_translated_target")
_OPPONENTS = "the opponents' losses: steady is good, 0 means they won"


def train(experiment, log=print, only=()):
    """Runs an experiment, or what is left of it.

    For each seed: the source-only baseline, the target-only ceiling if asked for, the method's
    model, whatever its adaptation takes beyond that; then their evaluation. A step that is finished
    is not repeated, one that was interrupted goes on from where it was.

    While a step trains, SIGTERM and Ctrl-C wait for its next checkpoint, which is written at once;
    anything else they stop at once. Another process is kept from writing in the folder.

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
        InputError: the run directory belongs to another run or is in use, data are missing or are
            not as their domain says, a step is unknown or needs one that is not finished, or the
            devices cannot share the batch. Unless it is a step, nothing is written before.
        TrainingDiverged: a loss or a weight is not finite any more; the last checkpoint is whole.
        WorkerLost: another worker is gone.
        OSError: a disk is full; the message says which checkpoint there is.
        stopping.Stopped: SIGTERM or Ctrl-C has stopped it, a `KeyboardInterrupt`; train again and
            it goes on.
    """
    steps = steps_of(experiment)
    refuse(checks.file_problems(vars(experiment)))
    unknown = sorted(set(only) - set(steps))
    if unknown:
        raise InputError(
            f"--only must name steps of this run: {', '.join(steps)}. "
            f"Received: {', '.join(unknown)}"
        )
    if experiment.deterministic:
        tf.config.experimental.enable_op_determinism()
    replicas = make_replicas(experiment.strategy, experiment.communication)
    _check_replicas(experiment, replicas)
    run, signals = RunDirectory(experiment.run_dir, experiment), Signals()
    log = log if replicas.is_chief else _silent
    with replicas.together(), signals.handled(), run.failed_writes_told():
        return _train(run, steps, only, replicas, signals, log)


def _train(run, steps, only, replicas, signals, log):
    """Does it, as one of the workers."""
    experiment = run.experiment
    if replicas.is_chief:
        RunDirectory.check(experiment)
    if replicas.from_chief(run.metrics.exists):
        if not replicas.from_chief(lambda: len(_gone(run, steps))):
            log("This run is finished; its results follow. To run it anew, give another --run_dir.")
            return _announce(run, run.results(), log) if replicas.is_chief else None
        log(f"This run was finished, but has lost {', '.join(_gone(run, steps))}: made anew.")
    # Nothing is written before all that the run needs has been looked at.
    domains = RunData(experiment)
    domains.check()
    _check_files(experiment, run)
    _tell_seen(domains, experiment, log)
    with run.locked(log) if replicas.is_chief else contextlib.nullcontext():
        replicas.from_chief(lambda: _begin(experiment, log))
        return _train_steps(run, domains, steps, only, replicas, signals, log)


def _gone(run, steps):
    """Names of files without which a finished run is none; a translated copy may be thrown away."""
    paths = [
        run.sum_weight(seed) if step == "sum" else run.model(step, seed)
        for seed in run.experiment.seeds
        for step in steps
        if step != "translated_copy"
    ]
    return [path.name for path in paths if not path.exists()]


def _begin(experiment, log):
    """Makes the folder, or says what has changed since it was made."""
    for change in RunDirectory.create(experiment).changes:
        log(change)


def _train_steps(run, domains, steps, only, replicas, signals, log):
    """Trains what is left of them, and evaluates."""
    experiment = run.experiment
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
    if experiment.method in BASELINES and (unread := checks.unread(experiment)):
        log(f"--method={experiment.method} does not read --{', --'.join(unread)}.")
    if replicas.is_chief:
        provenance.record(run, domains.fingerprints(), replicas.count, log)
        if provenance.has_idle_gpu():
            log(
                "warning: TensorFlow cannot use this machine's GPU, and trains without it. "
                "--verbosity=0 shows why."
            )
    if replicas.count > 1:
        log(f"On {replicas.count} devices, {experiment.batch_size // replicas.count} images each.")
    for seed in experiment.seeds:
        for step in [step for step in steps if step in only or not only]:
            # The same fresh start whether or not the steps before this one ran in this process.
            keras.backend.clear_session()
            _run_step(run, step, seed, domains, replicas, signals, log)
    if only:
        log(f"Done: {', '.join(only)}. The same command without --only runs the rest.")
        return None
    metrics = evaluate(run, domains, log) if replicas.is_chief else None
    replicas.wait()  # a scheduler that starts the chief again needs all workers
    return metrics


def _tell_seen(domains, experiment, log):
    """Says how many test images were seen in training; raises an `InputError` if too many."""
    for domain, seen in domains.seen.items():
        if seen["images"]:
            log(
                f"warning: {seen['images']} of {seen['of']} test images of --{domain}="
                f"{getattr(experiment, domain)} are training or validation images too."
            )
    if domains.left_out:
        log(
            f"{domains.left_out} test images of --target={experiment.target} are left out: their "
            "labels are among the few that are learnt."
        )


def _silent(line):
    """What workers that are not the chief have to say."""


def _check_files(experiment, run):
    """Raises an `InputError` if there are not the networks that the run's steps are to begin with.

    A step that is finished needs them no more.
    """
    steps = steps_of(experiment)
    left = {s for s in steps for seed in experiment.seeds if not run.model(s, seed).exists()}
    if experiment.encoder_file and "translator" in left:
        encoder = networks.load_encoder(experiment.encoder_file)
        try:
            check_shapes(encoder, experiment.image_shape, experiment.target_shape)
        except InputError as error:
            raise InputError(f"--encoder_file={experiment.encoder_file}: {error}") from None
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
    if domains is None:
        domains = RunData(experiment)
        _tell_seen(domains, experiment, log)
    found = provenance.read(run)
    changed = provenance.changed_data(found, domains.fingerprints()) if found else []
    if changed:
        log(f"warning: these are not the data of the training: {', '.join(changed)}.")
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
        warnings = [*result["warnings"], *monitors.warnings_of(histories)]
        results.append({**result, "warnings": warnings, "history": histories})
        seconds.append(sum(history[-1]["seconds"] for history in histories.values()))
    metrics = evaluation.combine(
        results,
        method=experiment.method,
        source=experiment.source,
        target=experiment.target,
        seconds=seconds,
        target_labels_per_class=experiment.target_labels_per_class,
        judged_by=METHODS[experiment.method].judged_by if experiment.method in METHODS else None,
        command=f"keras-i2i-train --flagfile={run.flagfile}",
        flags=flags.to_flagfile(experiment),
        seen=domains.seen,
        provenance=found,
    )
    chosen = selection.table(experiment.select, [result["history"] for result in results])
    if chosen:
        metrics["selection"] = chosen
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


def _run_step(run, step, seed, domains, replicas, signals, log):
    """Does one step of one seed; does nothing if that is done."""
    if step == "translated_copy":
        replicas.from_chief(lambda: _write_translated_copy(run, seed, domains))
    elif step == "sum":
        replicas.from_chief(lambda: _choose_weight(run, seed, domains, log))
    elif replicas.from_chief(run.model(step, seed).exists):
        # It may have been killed before it had tidied up.
        replicas.from_chief(lambda: shutil.rmtree(run.selectable(step, seed), ignore_errors=True))
    else:
        _train_step(run, step, seed, domains, replicas, signals, log)


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


def _train_step(run, step, seed, domains, replicas, signals, log):
    """Trains one model of one seed to its end and saves it."""
    experiment = run.experiment
    keras.utils.set_random_seed(seed)
    # Variables that are made in the scope are made by all workers together: nothing else may be.
    with replicas.strategy.scope():
        model, copy, beside = _build(run, step, seed)
    steps = experiment.steps if step in MAIN_STEPS else experiment.classifier_steps
    per_epoch = min(experiment.steps_per_epoch, steps)
    title = f"{step}, seed {seed}"

    # On all workers, which see the same losses: none is left waiting for one that has stopped.
    stops = divergence.StopsDivergence(title, per_epoch, lambda: checkpoint.latest())
    checkpoint = Checkpoint(
        run.checkpoints(step, seed),
        model,
        per_epoch,
        keep=experiment.keep_checkpoints,
        minutes=experiment.checkpoint_minutes,
        steps=experiment.checkpoint_steps,
        beside=beside,
        replicas=replicas,
        signals=signals,
        before_saving=stops.check_weights,
        log=log,
    )
    rates = divergence.constant_rates(model)
    done = checkpoint.restore()
    divergence.set_constant_rates(model, rates)
    if done.step:
        log(f"{title}: continuing from step {done.step}.")
    elif step in MAIN_STEPS:
        _explain(model, METHODS[experiment.method].terms, log)

    around, watched = [stops], None
    if replicas.is_chief:
        watched = watching.watch(
            run, step, seed, domains, model, done, lambda name: _if_trained(run, name, seed), log
        )
        around += [
            *watched.callbacks,
            _tensorboard(run, step, seed, done),
            callbacks.Progress(title, steps, per_epoch, behind=done.step, hidden=watching.HIDDEN),
        ]
    with data.input_errors():
        model.fit(
            replicas.batches(lambda share: domains.batches(step, seed, done.step, copy, share)),
            steps_per_epoch=per_epoch,
            initial_epoch=done.epoch,
            epochs=math.ceil(steps / per_epoch),
            shuffle=False,  # the data are
            verbose=0,
            callbacks=[*around, checkpoint],
        )
    selected = watched and watched.selection
    replicas.from_chief(lambda: _save(model, run.model(step, seed), selected))


def _if_trained(run, step, seed):
    """A step's model, to look at another by; None where `--only` has left it out."""
    return load_model(run, step, seed) if run.model(step, seed).exists() else None


def _tensorboard(run, step, seed, done):
    """Scalars for TensorBoard and, of the method's model, the profile that was asked for."""
    profiled = run.experiment.profiled_steps if step == _main_step(run.experiment) else None
    if profiled:
        # TensorBoard's callback counts what runs without coming back to Python, and what is passed
        # over of an epoch that had begun.
        behind = done.step - done.epoch * run.experiment.steps_per_epoch
        together = run.experiment.steps_per_execution
        profiled = tuple((behind + n - 1) // together + 1 for n in profiled)
    return callbacks.TensorBoard(
        run.tensorboard(step, seed), write_graph=False, profile_batch=profiled or 0
    )


def _save(model, path, selected=None):
    """Leaves a step's model: the picked epoch's if one was to be picked, else as it is now."""
    if selected is None or not selected.save(path):
        with replacing(path) as temporary:
            model.save(temporary)
    if selected is not None:
        selected.clear()


def _explain(model, meanings, log):
    """Says what the numbers on the progress line are."""
    log("\n".join(f"  {name}: {meanings[name]}" for name in model.terms))
    if model.discriminators:
        log(f"  {', '.join(f'd_{name}' for name in model.discriminators)}: {_OPPONENTS}")
    if model.measures and model.MEASURED:
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
        anew=experiment.dropout_at_inference,
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
    if page.is_transductive(metrics):
        rows["target_only"] = "ceiling, trained on the test's labels"
    measure, title = "target_test_accuracy", "Accuracy"
    if page.segments(metrics):
        measure, title = "target_test_miou", "Mean intersection over union"
    values = {meaning: metrics[step][measure] for step, meaning in rows.items() if step in metrics}
    if any(None not in numbers for numbers in values.values()):
        log(
            f"\n{title} on {metrics['target']} test images, mean of {len(run.experiment.seeds)} "
            "seed(s):"
        )
    _list_shares(values, log)
    readers = metrics.get("translations_read_by", {})
    translations = {
        f"{direction.replace('_', ' ')}, by {readers[direction]}": read
        for direction, read in metrics.get("translations_read_correctly", {}).items()
        if direction in readers
    }
    if translations:
        log("Translations that are read as what they were:")
    _list_shares(translations, log)
    for line in selection.said(metrics.get("selection", {})):
        log(line)
    log(f"Report: {run.report}")
    return metrics


def _list_shares(shares, log):
    """A line for each name → one share for each seed, where all are known."""
    for name, numbers in shares.items():
        if None not in numbers:
            numbers = 100 * np.array(numbers)
            spread = f" ± {numbers.std(ddof=1):.1f}" if len(numbers) > 1 else ""
            log(f"  {name:38s} {numbers.mean():5.1f}%{spread}")
