"""The command line's flags: one for each field of `Experiment`, declared here and nowhere else."""

import dataclasses

from absl import flags

from keras_i2i.errors import InputError, refuse
from keras_i2i.training import checks
from keras_i2i.training.experiment import Experiment


def define_experiment_flags():
    """Declares the training's flags; returns a function that reads them into an `Experiment`.

    That takes what is wrong already, flag → line, and whether files that flags name have to be
    there; it raises an `InputError` that lists all that is wrong.
    """
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        list: flags.DEFINE_list,
        dict: flags.DEFINE_list,
    }
    holders = {}
    for field in dataclasses.fields(Experiment):
        default = checks.default_of(field)
        kind = type(default)
        if kind in (list, dict):
            default = _to_text(default)
        holders[field.name] = define[kind](field.name, default, field.metadata["help"])

    def read(problems=None, files=False):
        values = {name: holder.value for name, holder in holders.items()}
        return _experiment(values, problems, checks.file_problems(values) if files else ())

    return read


def to_flagfile(experiment):
    """The experiment as a flagfile: `keras-i2i-train --flagfile=...` does it again."""
    lines = []
    for field in dataclasses.fields(experiment):
        value = getattr(experiment, field.name)
        lines.append(f"--{field.name}={_to_text(value)}")
    return "\n".join(lines) + "\n"


def from_flagfile(path):
    """The experiment that `to_flagfile` wrote.

    Raises:
        InputError: the file has a flag that is none of `Experiment`'s or a value that does not fit.
    """
    kinds = {field.name: type(checks.default_of(field)) for field in dataclasses.fields(Experiment)}
    values = {"seeds": ["0"], "loss_weights": []}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is damaged ({error.reason} at byte {error.start}); expected the flags of a "
            "run, a line each. Put back the file that the training wrote, or train anew with "
            "another --run_dir."
        ) from None
    for line in lines:
        if not line.startswith("--"):
            continue
        name, _, text = line[2:].partition("=")
        if name not in kinds:
            raise InputError(f"{path}: unknown flag --{name}; was it written by another version?")
        kind = kinds[name]
        try:
            if kind is bool:
                values[name] = {"true": True, "false": False}[text.lower()]
            elif kind in (list, dict):
                values[name] = text.split(",") if text else []
            else:
                values[name] = kind(text)
        except (ValueError, KeyError):
            raise InputError(f"{path}: --{name} is a {kind.__name__}. Received: {text!r}") from None
    try:
        return _experiment(values)
    except InputError as error:
        listed = "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        raise InputError(listed) from None


def _experiment(values, problems=None, others=()):
    """Turns lists of text, as absl gives them, into seeds and loss weights.

    Args:
        values: field → value.
        problems: field → what is wrong with what was given for it, where a default stands now.
        others: more that is wrong, a line each.
    """
    problems = dict(problems or {})
    fields = dict(values)
    try:
        fields["seeds"] = [int(seed) for seed in values["seeds"]]
    except ValueError:
        problems["seeds"] = (
            f"--seeds must be numbers, like 0,1,2. Received: {','.join(values['seeds'])}"
        )
        fields["seeds"] = [0]
    fields["loss_weights"] = {}
    for item in values["loss_weights"]:
        term, _, weight = item.partition("=")
        term, given = term.strip(), fields["loss_weights"]
        try:
            if term in given:
                problems["loss_weights"] = f"--loss_weights has {term} twice. Received: {item!r}"
            given[term] = float(weight)
        except ValueError:
            problems["loss_weights"] = (
                f"--loss_weights must read like task=1,feature=0.2. Received: {item!r}"
            )
    try:
        experiment = Experiment(**fields)
        lines = []
    except InputError as error:
        lines = str(error).splitlines()
    # What was found of a default that nobody asked for is no help.
    ours = tuple(f"--{name} " for name in problems) + tuple(f"--{name}:" for name in problems)
    lines = [line for line in lines if not (ours and line.startswith(ours))]
    refuse(dict.fromkeys([*problems.values(), *lines, *others]))
    return experiment


def _to_text(value):
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in sorted(value.items()))
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
