"""The wheel: what a user gets who has no clone."""

import email
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import setuptools

import keras_i2i

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# All that the wheel is made of, and something that must not be in it.
PARTS = (
    "pyproject.toml", "README.md", "LICENSE", "keras_i2i", "keras_i2i_commands.py", "configs",
    "tests", "docs",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of a copy, so that no file of a build is left in the clone."""
    assert int(setuptools.__version__.partition(".")[0]) >= 77, "pip install -e '.[test]'"
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, copy / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, copy)
    build = "import setuptools.build_meta, sys; setuptools.build_meta.build_wheel(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", build, out], cwd=copy, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


def metadata(wheel):
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(path))


def test_it_has_every_module_and_config_and_nothing_else(wheel):
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "keras_i2i").rglob("*.py")}
    configs = {f"keras_i2i/{p.relative_to(ROOT)}" for p in (ROOT / "configs").iterdir()}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == modules | configs | {"keras_i2i_commands.py"}
    quickstart = (ROOT / "configs" / "quickstart.cfg").read_bytes()
    assert wheel.read("keras_i2i/configs/quickstart.cfg") == quickstart


def test_the_packages_are_all_that_there_are():
    found = [m.name for m in pkgutil.walk_packages(keras_i2i.__path__, "keras_i2i.") if m.ispkg]
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(["keras_i2i", "keras_i2i.configs", *found])


def test_it_brings_the_commands(wheel):
    (path,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    heading, *commands = wheel.read(path).decode().splitlines()
    assert heading == "[console_scripts]"
    scripts = dict(command.split(" = ") for command in commands if command)
    assert sorted(scripts) == [
        "keras-i2i-evaluate",
        "keras-i2i-export",
        "keras-i2i-label",
        "keras-i2i-train",
    ]
    for target in scripts.values():
        assert callable(pkgutil.resolve_name(target))


def test_it_says_what_it_is(wheel):
    found = metadata(wheel)
    assert (found["Name"], found["Version"]) == ("keras-i2i", keras_i2i.__version__)
    assert found["License-Expression"] == "Apache-2.0"
    assert found.get_payload(decode=True).decode() == (ROOT / "README.md").read_text("utf-8")


def test_the_tests_need_all_that_is_optional(wheel):
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(metadata(wheel).get_all("Provides-Extra")) == set(extras)
    (others,) = (name for name in extras["test"] if name.startswith("keras-i2i["))
    # "peers" is for a benchmark, and large.
    assert set(others[len("keras-i2i[") : -1].split(",")) == set(extras) - {"test", "peers"}
