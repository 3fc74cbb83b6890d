"""Configs by name: what `--flagfile` finds where there is no such file."""

import pathlib

import pytest
from absl import flags as absl_flags

from keras_i2i.errors import InputError
from keras_i2i.training import configs

PACKAGED = sorted(configs.FOLDER.glob("*.cfg"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_configs_are_those_of_the_repository():
    root = pathlib.Path(__file__).parents[2]
    assert configs.FOLDER.samefile(root / "configs")
    assert PACKAGED


@pytest.mark.parametrize("name", ["quickstart.cfg", "configs/quickstart.cfg"])
def test_a_config_is_found_by_its_name_from_any_folder(name):
    assert configs.find(name) == configs.FOLDER / "quickstart.cfg"


@pytest.mark.parametrize("name", ["quickstart.cfg", "configs/quickstart.cfg"])
def test_a_file_of_ones_own_comes_first(name, tmp_path):
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("--steps=1\n")
    assert configs.find(name).resolve() == own


def test_home_is_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.cfg").write_text("--steps=1\n")
    assert configs.find("~/mine.cfg") == tmp_path / "mine.cfg"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("quikstart.cfg", " Did you mean quickstart.cfg, quickstart_segmentation.cfg? "),
        ("runs/quickstart.cfg", " Did you mean quickstart.cfg, "),
        ("../configs/quickstart.cfg", " Did you mean quickstart.cfg, "),
        ("configs", "comes with the program. `keras"),
        ("/nowhere/at-all", "comes with the program. `keras"),
        ("", "comes with the program. `keras"),
    ],
)
def test_what_is_neither_says_what_there_is(name, hint):
    with pytest.raises(InputError) as error:
        configs.find(name)
    message = str(error.value)
    assert message.startswith(f"Got --flagfile={name}; expected a file, or the name of a config")
    assert hint in message
    assert message.endswith("`keras-i2i-train --list_configs` lists them.")


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_either_way_to_give_a_flagfile_is_resolved_and_comes_before_all_else(dashes):
    path = str(configs.FOLDER / "quickstart.cfg")
    flag = f"{dashes}flagfile"
    before, after = ["--steps=3"], ["--seeds=1", "word"]
    expected = ["command", f"--flagfile={path}", *before, *after]
    given = [f"{flag}=quickstart.cfg"], [flag, "quickstart.cfg"]
    for file in given:
        assert configs.resolved(["command", *before, *file, *after]) == expected


def test_what_is_another_flags_value_is_no_flagfile(fresh_flags):
    absl_flags.DEFINE_string("run_dir", "", "A flag.")
    given = ["command", "--run_dir", "--flagfile=quickstart.cfg", "--nohelp", "--run_dir"]
    assert configs.resolved(given) == given
    assert [flag[:2] for flag in configs.flags_in(given[1:])] == [
        ("run_dir", "--flagfile=quickstart.cfg"), (None, None), ("run_dir", None),
    ]  # fmt: skip


def test_flagfiles_stay_in_their_order(tmp_path):
    for name in ("one.cfg", "two.cfg"):
        (tmp_path / name).write_text("--steps=1\n")
    given = ["command", "--flagfile=two.cfg", "--steps=3", "--flagfile=one.cfg"]
    assert configs.resolved(given) == [
        "command", "--flagfile=two.cfg", "--flagfile=one.cfg", "--steps=3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["command"],
        ["command", "--steps=3", "quickstart.cfg"],
        ["command", "--", "--flagfile=quickstart.cfg"],
        ["command", "--flagfile"],  # absl says what is missing
        ["command", "--flagfiles=quickstart.cfg"],
    ],
)
def test_everything_else_is_left_as_it_is(arguments):
    assert configs.resolved(arguments) == arguments


def test_the_listing_has_a_line_for_each_config_with_what_it_is():
    lines = configs.listing().splitlines()
    assert [line.split()[0] for line in lines] == [path.name for path in PACKAGED]
    (quickstart,) = (line for line in lines if line.startswith("quickstart.cfg "))
    assert quickstart.endswith(" The quickstart: I2I-Adapt from printed to handwritten digits. "
                               "Nothing is downloaded. No paper has this pair.")  # fmt: skip
    assert len({line.index(line.split()[1]) for line in lines}) == 1
