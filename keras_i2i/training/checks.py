"""What is wrong with an experiment: every field by itself, and what does not go together.

All of it is found at once, before anything is written. What needs Keras is imported in functions,
as in `experiment.py`.
"""

import dataclasses
import numbers
import os

from keras_i2i.errors import InputError
from keras_i2i.files import fits_in_a_line
from keras_i2i.training.methods import BASELINES, METHODS, NOT_PASSED_OVER, READ_BY

# Models compute in float32: beyond these a number becomes infinite, or 0.
_LARGEST, _SMALLEST = 3.4e38, 1.2e-38
_LARGEST_INTEGER = 2**31 - 1
_LARGEST_SEED = 2**32 - 1  # NumPy's

_PATHS = ("run_dir", "data_dir", "encoder_weights", "encoder_file")

_KINDS = {
    bool: ("true or false", bool),
    int: ("a whole number", numbers.Integral),
    float: ("a number", numbers.Real),
    str: ("text", (str, os.PathLike)),
    list: ("a list", (list, tuple)),
    dict: ("a dict", dict),
}


def problems(experiment):
    """Yields what is wrong with an `Experiment`, a line for each mistake."""
    fields = dataclasses.fields(experiment)
    strange = [problem for field in fields for problem in _type_problems(experiment, field)]
    if strange:  # Nothing can be compared with these.
        yield from strange
        return
    for field in fields:
        yield from _field_problems(experiment, field)
    yield from _seed_problems(experiment.seeds)
    domain_problems = list(_domain_problems(experiment))
    yield from domain_problems
    if not experiment.run_dir:
        yield "--run_dir is missing: name a folder for the run, like runs/first."
    yield from _size_problems(experiment)
    yield from _execution_problems(experiment)
    yield from _backbone_problems(experiment)
    yield from _weight_problems(experiment)
    if experiment.method in (*METHODS, *BASELINES):
        yield from _unread_problems(experiment)
    if experiment.method in METHODS:
        yield from _method_problems(experiment, METHODS[experiment.method], not domain_problems)
    elif experiment.preset and all(experiment.preset not in m.presets for m in METHODS.values()):
        yield f"--preset must be one of a method's, or empty. Received: {experiment.preset!r}"


def default_of(field):
    """What a field of `Experiment` is if it is not given."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()


def unread(experiment):
    """Names of flags that are not as by default, and that the experiment's method does not read."""
    return [
        field.name
        for field in dataclasses.fields(experiment)
        if experiment.method not in READ_BY.get(field.name, (experiment.method,))
        and getattr(experiment, field.name) != default_of(field)
    ]


def file_problems(values):
    """Yields what is wrong with the files and folders that a training is to use.

    An experiment that was trained elsewhere has none of them any more, so it is no mistake of its.
    Of a run that has begun, `train` knows what is still needed.

    Args:
        values: field → value, of those of an `Experiment` that name files; text.
    """
    for name in ("run_dir", "data_dir"):
        if values[name]:
            yield from _folder_problems(name, values[name])
    if os.path.exists(os.path.join(os.path.expanduser(values["run_dir"]), "flags.cfg")):
        return
    weights, encoder = values["encoder_weights"], values["encoder_file"]
    if weights not in ("", "imagenet"):
        expected = "imagenet, or a .keras or .weights.h5 file"
        yield from _file_problems("encoder_weights", weights, (".keras", ".weights.h5"), expected)
    if encoder:
        expected = "a .keras file, as `model.save` writes it"
        yield from _file_problems("encoder_file", encoder, (".keras",), expected)


def _folder_problems(name, value):
    """Whether there is, or can be, a folder to write to."""
    folder = there = os.path.abspath(os.path.expanduser(value))
    try:
        while not os.path.lexists(there) and os.path.dirname(there) != there:
            there = os.path.dirname(there)
        is_folder, is_open = os.path.isdir(there), os.access(there, os.W_OK | os.X_OK)
    except ValueError:  # No path at all, of which `_text_problems` tells.
        return
    if not is_folder:
        yield f"--{name} must be a folder, but {there} is none. Received: {value}"
    elif name == "run_dir" and not is_open:
        yield f"--{name} must be a folder to write to, but {there} cannot be. Received: {value}"
    elif there != folder and len(os.path.basename(folder).encode("utf-8", "ignore")) > 255:
        yield f"--{name} has a name that is too long for a folder. Received: {value}"


def _file_problems(name, value, endings, expected):
    if not os.fspath(value).endswith(endings) or not _is_file(value):
        yield f"--{name} must be {expected}, and there is no such file. Received: {value}"


def _is_file(path):
    try:
        return os.path.isfile(os.path.expanduser(path))
    except ValueError:
        return False


def _type_problems(experiment, field):
    """Whether a field is of its type; the command line sees to that itself, Python does not."""
    value, kind = getattr(experiment, field.name), type(default_of(field))
    words, types = _KINDS[kind]
    fits = isinstance(value, types) and (kind is bool or not isinstance(value, bool))
    if fits and kind is list:
        words, fits = "a list of whole numbers", all(_is_integer(item) for item in value)
    elif fits and kind is dict:
        words = "a dict of names and numbers"
        fits = all(isinstance(n, str) and _is_number(weight) for n, weight in value.items())
    if not fits:
        yield f"--{field.name} must be {words}. Received: {value!r}"


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _field_problems(experiment, field):
    """What is wrong with one field by itself."""
    value, limits = getattr(experiment, field.name), field.metadata
    received = f"Received: {value}"
    choices = limits["choices"]
    if choices is not None and value != field.default:
        choices = choices() if callable(choices) else choices
        if value not in choices:
            known = ", ".join(str(choice) for choice in choices if choice != "")
            yield f"--{field.name} must be one of {known}. Received: {value!r}"
            return
    if isinstance(value, str | os.PathLike):
        yield from _text_problems(field.name, os.fspath(value))
    if not _is_number(value):
        return
    minimum, above = limits["minimum"], limits["above"]
    maximum, below = limits["maximum"], limits["below"]
    if minimum is not None and not value >= minimum:
        yield f"--{field.name} must be at least {minimum}. {received}"
    elif above is not None and not value > above:
        yield f"--{field.name} must be above {above}. {received}"
    elif maximum is not None and not value <= maximum:
        yield f"--{field.name} must be at most {maximum}. {received}"
    elif below is not None and not value < below:
        yield f"--{field.name} must be below {below}. {received}"
    elif _is_integer(value):
        if value > _LARGEST_INTEGER:
            yield f"--{field.name} must be at most {_LARGEST_INTEGER}. {received}"
    elif not abs(value) <= _LARGEST:
        yield f"--{field.name} must be a number that float32 can hold. {received}"
    elif 0 < abs(value) < _SMALLEST:
        yield f"--{field.name} must be at least {_SMALLEST}, or float32 makes it 0. {received}"


def _text_problems(name, text):
    # A flagfile has a line for each flag, and none of these would come back out of it.
    if not fits_in_a_line(text):
        yield f"--{name} must be text that can be printed, in one line. Received: {text!r}"
    elif text != text.strip():
        yield f"--{name} must not begin or end with a space. Received: {text!r}"
    elif name in _PATHS and os.path.expanduser(text).startswith("~"):
        yield f"--{name} begins with the home folder of nobody. Received: {text!r}"


def _seed_problems(seeds):
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        yield f"--seeds must be different numbers ≥ 0. Received: {seeds}"
    elif max(seeds) > _LARGEST_SEED:
        yield f"--seeds must be at most {_LARGEST_SEED}. Received: {seeds}"


def _size_problems(experiment):
    """Numbers of steps and pixels that do not fit each other."""
    for name in ("steps", "classifier_steps"):
        steps, per_epoch = getattr(experiment, name), experiment.steps_per_epoch
        if per_epoch > 0 and steps > per_epoch and steps % per_epoch:
            yield (
                f"--{name} must be a multiple of --steps_per_epoch={per_epoch}, or less. "
                f"Received: {steps}"
            )
    if 0 < experiment.target_image_size < 16:
        yield (
            "--target_image_size must be at least 16, or 0. "
            f"Received: {experiment.target_image_size}"
        )
    if 0 < experiment.load_size < experiment.crop_size:
        yield (
            "--crop_size must be at most --load_size. "
            f"Received: {experiment.crop_size} beside {experiment.load_size}"
        )
    if experiment.crop_place == "center" and not experiment.crop_size and experiment.fit != "crop":
        yield "--crop_place=center needs --crop_size or --fit=crop: nothing is cut."


def _weight_problems(experiment):
    """Loss weights by themselves; a baseline, which has none, still has them in its flags."""
    known = METHODS.values()
    if experiment.method in METHODS:
        known = [METHODS[experiment.method]]
    terms = list(dict.fromkeys(term for method in known for term in method.terms))
    unknown = sorted(set(experiment.loss_weights) - set(terms))
    if unknown:
        yield (
            f"--loss_weights: unknown terms {', '.join(map(_shown, unknown))}. "
            f"Known are: {', '.join(terms)}"
        )
    weights = {term: weight for term, weight in experiment.loss_weights.items() if term in terms}
    if any(not 0 <= weight <= _LARGEST for weight in weights.values()):
        yield f"--loss_weights must be numbers ≥ 0. Received: {weights}"


def _shown(term):
    return term if term.isidentifier() else repr(term)


def _domain_problems(experiment):
    """What is wrong with the domains by themselves, or else beside each other."""
    from keras_i2i import data

    unknown = False
    for name in ("source", "target"):
        try:
            data.get_domain(getattr(experiment, name), experiment._usable_storage)
        # OSError: a folder that cannot be listed; RuntimeError: the home of nobody.
        except (InputError, OSError, RuntimeError) as error:
            yield f"--{name}: {error}"
            unknown = True
    if unknown:
        return
    if experiment.target_has_labels:  # Of a baseline too: its classes are the source's.
        try:
            data.check_same_classes(
                experiment.source, experiment.target, experiment._usable_storage
            )
        except InputError as error:
            yield str(error)
            return
    if experiment.segments and (found := list(_segmentation_problems(experiment))):
        yield from found
        return
    if experiment.method == "source_only" and not experiment.num_classes:
        yield f"--method=source_only needs labels; {experiment.source} has none."
    if not experiment.domain("source").labelled_train:
        yield (
            f"--source={experiment.source} has labelled images for the test only; the source's "
            "training images need labels too, or neither."
        )
    needs_labels = experiment.method == "target_only" or experiment.target_labels_per_class
    if needs_labels and not experiment.target_can_be_learned:
        what = "target_labels_per_class"
        what = "method=target_only" if experiment.method == "target_only" else what
        yield f"--{what} needs labels; {experiment.target} has none to learn from."


def _segmentation_problems(experiment):
    """What does not go with masks."""
    if experiment.method not in ("i2i_adapt", *BASELINES):
        yield (
            f"--source={experiment.source} has masks, and segmentation goes with "
            "--method=i2i_adapt, source_only or target_only. "
            f"Received: --method={experiment.method}"
        )
    if experiment.adaptation not in ("", "joint") or experiment.preset == "cyclegan":
        yield "Segmentation goes with --adaptation=joint, and a preset that has a head."
    if experiment.target_labels_per_class:
        yield "--target_labels_per_class does not go with segmentation."
    if experiment.encoder_name in ("generate_to_adapt", "domain_transfer"):
        yield (
            "--encoder of a segmentation must be lenet, densenet or a backbone. "
            f"Received: {experiment.encoder_name!r}"
        )
    if experiment.target_shape != experiment.image_shape:
        yield "--target_image_size and --target_channels do not go with segmentation."


def _execution_problems(experiment):
    """What does not go with how steps are run."""
    for name in ("steps", "classifier_steps"):
        per_epoch = min(experiment.steps_per_epoch, getattr(experiment, name))
        together = experiment.steps_per_execution
        if together > 0 and per_epoch % together:
            yield (
                f"--steps_per_execution must divide the steps of an epoch, {per_epoch} by "
                f"--steps_per_epoch and --{name}. Received: {together}"
            )
    try:
        experiment.profiled_steps  # noqa: B018, it raises
    except InputError as error:
        yield str(error)


def _backbone_problems(experiment):
    """Flags that only backbones know."""
    from keras_i2i.networks import BACKBONES

    given = {
        "encoder_weights": experiment.encoder_weights,
        "encoder_preprocessing": experiment.encoder_preprocessing,
        "output_stride": experiment.output_stride != 32,
        "anti_gridding": experiment.anti_gridding,
        "freeze_batch_norm": experiment.freeze_batch_norm,
    }
    names = [f"--{name}" for name, value in given.items() if value]
    if names and experiment.encoder_name not in BACKBONES:
        yield (
            f"{', '.join(names)} go with a backbone as --encoder: "
            f"{', '.join(BACKBONES)}. Received: --encoder={experiment.encoder_name}"
        )
    sides = experiment.image_shape[0], experiment.target_shape[0]
    method = METHODS.get(experiment.method)
    if (
        experiment.encoder_name == "domain_transfer"
        and any(side % 8 for side in sides)
        and (method is None or method.size_multiple % 8)
    ):
        yield (
            "--image_size and --target_image_size must be multiples of 8 with "
            f"--encoder=domain_transfer. Received: {' and '.join(map(str, sides))}"
        )
    smallest = min(sides)
    if experiment.encoder_name in BACKBONES and smallest < 32:
        yield (
            f"--image_size must be at least 32 with --encoder={experiment.encoder_name}. "
            f"Received: {smallest}"
        )


def _unread_problems(experiment):
    """Flags that would have no effect."""
    for name in unread(experiment):
        if experiment.method in METHODS or name in NOT_PASSED_OVER:
            yield (
                f"--{name} is read by --method={', '.join(READ_BY[name])}. "
                f"Received: --method={experiment.method}"
            )


def _method_problems(experiment, method, domains_are_known):
    """What does not go with the method."""
    if experiment.preset and experiment.preset not in method.presets:
        yield (
            f"--preset of --method={experiment.method} must be one of {', '.join(method.presets)}, "
            f"or empty. Received: {experiment.preset!r}"
        )
        return
    for name in ("image_size", "target_image_size"):
        if getattr(experiment, name) % method.size_multiple:
            yield (
                f"--{name} must be a multiple of {method.size_multiple} with "
                f"--method={experiment.method}. Received: {getattr(experiment, name)}"
            )
    if not method.two_shapes and experiment.target_shape != experiment.image_shape:
        yield (
            "--target_image_size and --target_channels do not go with "
            f"--method={experiment.method}, whose domains have one shape. "
            f"Received: {experiment.target_shape} beside {experiment.image_shape}"
        )
    weights = {k: v for k, v in experiment.loss_weights.items() if k in method.terms}
    if not any({**method.weights(experiment.preset_name), **weights}.values()):
        yield f"--loss_weights: one must be positive. Received: {weights}"
    if weights.get("target_task") and not experiment.target_labels_per_class:
        yield "--loss_weights: target_task needs --target_labels_per_class."
    if experiment.adaptation and experiment.adaptation not in method.adaptations:
        yield (
            f"--adaptation of --method={experiment.method} must be one of "
            f"{', '.join(method.adaptations)}. Received: {experiment.adaptation!r}"
        )
    if domains_are_known:
        if experiment.adaptation and not experiment.num_classes:
            yield (
                f"--adaptation={experiment.adaptation} needs labels; "
                f"--source={experiment.source} has none."
            )
        if experiment.translated_copy and experiment.adapts_by not in (
            "on_translated_source",
            "sum",
        ):
            yield (
                "--translated_copy needs a classifier that learns from it: "
                "--adaptation=on_translated_source or sum. "
                f"Received: --adaptation={experiment.adapts_by or 'nothing, without labels'}"
            )
        yield from _direction_problems(experiment, method)
        yield from _selection_problems(experiment)
        yield from method.problems(experiment)


def _direction_problems(experiment, method):
    """Whether the model will translate as its adaptation needs."""
    needed = {
        "on_translated_source": ("source_to_target",),
        "reads_translated_target": ("target_to_source",),
        "sum": ("source_to_target", "target_to_source"),
    }
    for direction in needed.get(experiment.adapts_by, ()):
        terms = method.directions.get(direction)
        if terms and not any(experiment.weights.get(term) for term in terms):
            yield (
                f"--adaptation={experiment.adapts_by} translates {direction.replace('_', ' ')}, "
                f"for which one of the terms {', '.join(terms)} must have a weight."
            )


def _selection_problems(experiment):
    """Whether there will be what the validator looks at."""
    if experiment.select == "last":
        return
    if experiment.segments:
        yield (
            "--select must be last for segmentation: validators are of images' classes. "
            f"Received: {experiment.select!r}"
        )
    elif not experiment.num_classes:
        yield (f"--select={experiment.select} needs labels; --source={experiment.source} has none.")
    if experiment.select == "source_validation_accuracy":
        own, given = experiment.domain("source").validation_size, experiment.source_validation_size
        if (own if given < 0 else given) < 1:
            yield (
                "--select=source_validation_accuracy needs source images that are kept from "
                "training: give --source_validation_size."
            )
