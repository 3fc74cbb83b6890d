"""The configs that come with the program: flagfiles that are found by their names."""

import contextlib
import difflib
import pathlib

from absl import flags as absl_flags

from keras_i2i.errors import InputError

_PACKAGE = pathlib.Path(__file__).parents[1]
FOLDER = _PACKAGE / "configs"
if not FOLDER.is_dir():  # A clone has them beside the package.
    FOLDER = _PACKAGE.parent / "configs"

_FLAG = ("--flagfile", "-flagfile")


def find(name):
    """The path of a flagfile.

    Args:
        name: a path; if there is no such file, `NAME.cfg` or `configs/NAME.cfg` of a config.

    Raises:
        InputError: neither.
    """
    path = _path(name)
    if _is_file(path):
        return path
    packaged = FOLDER / path.name
    if path.parent in (pathlib.Path(), pathlib.Path("configs")) and _is_file(packaged):
        return packaged
    similar = difflib.get_close_matches(path.name, [config.name for config in _configs()])
    hint = f" Did you mean {', '.join(similar)}?" if similar else ""
    raise InputError(
        f"Got --flagfile={name}; expected a file, or the name of a config that comes with the "
        f"program.{hint} `keras-i2i-train --list_configs` lists them."
    )


def resolved(arguments):
    """A command line with the flagfiles that it names before all else, by `find`'s paths.

    So what it says itself wins over what they say, wherever either stands: of two values absl takes
    the later.

    Args:
        arguments: list of text, the command first.

    Raises:
        InputError: one of them is not found.
    """
    files, others = [], []
    for name, value, words in flags_in(arguments[1:]):
        if name == "flagfile" and value is not None:
            files.append(f"--flagfile={_read(find(value))}")
        else:
            others += words
    return [*arguments[:1], *files, *others]


def flags_in(arguments):
    """Walks over a command line as absl does.

    Args:
        arguments: list of text, without the command.

    Yields:
        Name, value as text and the words that say so, of a flag that absl knows; the value is None
        where it is missing. None, None and the words, of whatever else there is: an unknown flag, a
        word that is none, all from `--` on.
    """
    known, rest = absl_flags.FLAGS, iter(arguments)
    for argument in rest:
        if argument == "--":
            yield None, None, [argument, *rest]
            return
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-"):
            yield None, None, [argument]
        elif (name in known or name == "flagfile") and equals:
            yield name, value, [argument]
        elif name in known and known[name].boolean:
            yield name, "true", [argument]
        elif name in known or name == "flagfile":  # which absl keeps apart
            value = next(rest, None)
            yield name, value, [argument] if value is None else [argument, value]
        elif name.startswith("no") and name[2:] in known and known[name[2:]].boolean:
            yield name[2:], "false", [argument]
        else:
            yield None, None, [argument]


def _read(path, within=()):
    """The path of a flagfile, once it and those that it names have turned out to be some."""
    within = (*within, path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is no flagfile: it is not text in UTF-8. Expected a flag like --steps=100 on "
            "each line."
        ) from None
    for line in text.splitlines():
        flag, equals, name = line.partition("=")
        if flag not in _FLAG or not equals:
            continue
        named = _path(name)
        if named in within:
            raise InputError(f"{path} names itself, by way of {named}, as a --flagfile.")
        if not _is_file(named):
            raise InputError(f"{path} names a --flagfile that is not there: {named}")
        _read(named, within)
    return path


def _path(name):
    path = pathlib.Path(name.strip())
    with contextlib.suppress(RuntimeError):  # The home of nobody: there is no such file.
        path = path.expanduser()
    return path


def _is_file(path):
    try:
        return path.is_file()
    except OSError:  # Too long a name, for one.
        return False


def listing():
    """One line for each config: its name, and what the first line of its header says."""
    paths = _configs()
    width = max((len(path.name) for path in paths), default=0)
    return "\n".join(f"{path.name:<{width}}  {_title(path)}" for path in paths)


def _configs():
    return sorted(FOLDER.glob("*.cfg"))


def _title(path):
    with path.open(encoding="utf-8") as lines:
        return next(lines).removeprefix("#").strip()
