"""provenance.json: what a run was made of, each time it was started."""

import copy
import json
import pathlib
import re
import subprocess
import time

import pytest

from keras_i2i.errors import InputError
from keras_i2i.training import provenance
from keras_i2i.training.run_directory import RunDirectory

DATA = {
    "source": {"train": {"images": 3, "sha256": "ab", "of": "pixels"}},
    "target": {"test": {"images": 2, "sha256": "cd", "of": "pixels"}},
}


@pytest.fixture
def run(make_experiment, tmp_path):
    return RunDirectory.create(make_experiment(run_dir=str(tmp_path / "run"), seeds=[4, 2]))


@pytest.fixture
def start(run):
    """`start(data)`: records a start of the run; returns what was said and the file's content."""

    def start(data=DATA):
        lines = []
        provenance.record(run, data, 1, lines.append)
        return lines, json.loads(run.provenance.read_text())

    return start


@pytest.fixture
def clone(tmp_path):
    """A git repository with a commit."""

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=b", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    (tmp_path / "known.py").write_text("1")
    git("init", "--quiet")
    git("add", "known.py")
    git("commit", "--quiet", "-m", "first")
    return tmp_path


class TestAStart:
    def test_is_recorded_with_what_decides_the_result(self, start, run):
        lines, found = start()
        assert lines == []
        assert found["seeds"] == [4, 2] and found["data"] == DATA
        assert found["flags"]["learning_rate"] == run.experiment.learning_rate
        (first,) = found["starts"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", first["date"])
        assert not first["continues"]
        assert {"python", "keras", "tensorflow", "numpy", "keras_i2i"} <= first["versions"].keys()
        assert first["hardware"]["cores"] >= 1 and first["hardware"]["devices"] == 1

    def test_names_no_machine_and_no_user(self, start):
        import getpass
        import platform

        _, found = start()
        text = json.dumps({**found, "flags": None})
        for name in (platform.node(), getpass.getuser()):
            assert not name or not re.search(rf"\b{re.escape(name)}\b", text)

    @pytest.mark.parametrize("learnt", ["history", "checkpoints"])
    def test_is_added_to_those_before(self, learnt, start, run):
        _, before = start()
        (run.path / learnt).mkdir()
        lines, found = start()
        assert lines == []
        assert found["starts"][0] == before["starts"][0]
        assert [one["continues"] for one in found["starts"]] == [False, True]

    def test_of_a_run_from_before_there_was_a_record_says_so(self, start, run):
        (run.path / "history").mkdir()
        _, found = start()
        assert [one["continues"] for one in found["starts"]] == [True]

    def test_with_other_data_is_refused_and_leaves_the_record(self, start, run):
        start()
        before = run.provenance.read_bytes()
        changed = copy.deepcopy(DATA)
        changed["source"]["train"]["sha256"] = "ef"
        with pytest.raises(InputError) as error:
            start(changed)
        assert re.fullmatch(
            rf"{run.path} was begun on \S+ with other data: not the same are the images or labels "
            r"of source train of --source=printed_digits and --target=handwritten_digits\. Put "
            r"back what was there, or give another --run_dir to begin anew\.",
            str(error.value),
        )
        assert run.provenance.read_bytes() == before

    def test_without_data_that_there_were_is_refused(self, start):
        start()
        with pytest.raises(InputError, match="target test"):
            start({"source": DATA["source"]})

    def test_with_other_libraries_is_told_in_a_line(self, start, run, monkeypatch):
        start()
        now = {**provenance.versions(), "numpy": "9.9", "cuda": "99"}
        monkeypatch.setattr(provenance, "versions", lambda: now)
        lines, _ = start()
        (line,) = lines
        assert line.startswith("warning: the run goes on with another numpy (before: ")
        assert "now: 9.9), another cuda (before: " in line
        assert start()[0] == [], "the start before this one had them"

    def test_of_another_revision_is_told(self, start, monkeypatch):
        monkeypatch.setattr(provenance, "revision", lambda folder: None)
        start()
        git = {"revision": 40 * "a", "dirty": True}
        monkeypatch.setattr(provenance, "revision", lambda folder: git)
        ((line,), _) = start()
        assert f"another git revision (before: none, now: {12 * 'a'}, changed)" in line


class TestTheRecord:
    def test_is_missing_in_runs_of_before(self, run):
        assert provenance.read(run) is None

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"starts": [], "data": {}}', "\xff"])
    def test_that_is_damaged_is_named(self, run, text):
        run.provenance.write_text(text, encoding="latin-1")
        with pytest.raises(InputError, match=r"provenance\.json is damaged .* Delete it"):
            provenance.read(run)

    def test_tells_which_data_have_changed(self):
        now = copy.deepcopy(DATA)
        assert provenance.changed_data({"data": DATA}, now) == []
        now["target"]["test"]["images"] = 1
        now["target"]["train"] = {}  # What was not there says nothing.
        assert provenance.changed_data({"data": DATA}, now) == ["target test"]


class TestARevision:
    def test_is_that_of_the_clone(self, clone):
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout.strip()
        (clone / "unknown.py").write_text("2")
        assert provenance.revision(clone) == {"revision": head, "dirty": False}
        (clone / "known.py").write_text("3")
        assert provenance.revision(clone) == {"revision": head, "dirty": True}

    def test_of_a_folder_above_is_another_projects(self, clone):
        (clone / "below").mkdir()
        assert provenance.revision(clone / "below") is None

    def test_before_the_first_commit_there_is_none(self, tmp_path):
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        assert provenance.revision(tmp_path) is None

    def test_git_that_fails_is_no_fault(self, tmp_path):
        (tmp_path / ".git").write_text("gitdir: nowhere")
        assert provenance.revision(tmp_path) is None

    def test_git_that_is_missing_is_no_fault(self, clone, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert provenance.revision(clone) is None

    def test_git_that_does_not_answer_is_not_waited_for(self, clone, tmp_path, monkeypatch):
        slow = tmp_path / "bin" / "git"
        slow.parent.mkdir()
        slow.write_text("#!/bin/sh\nexec sleep 20\n")
        slow.chmod(0o755)
        monkeypatch.setenv("PATH", str(slow.parent), prepend=":")
        monkeypatch.setattr(provenance, "_GIT_SECONDS", 0.1)
        started = time.monotonic()
        assert provenance.revision(clone) is None
        assert time.monotonic() - started < 10


def test_a_machine_that_tells_nothing_is_no_fault(monkeypatch):
    def missing(*args, **kwargs):
        raise OSError

    monkeypatch.setattr(provenance, "open", missing, raising=False)
    monkeypatch.setattr(provenance.os, "sysconf", missing)
    monkeypatch.delattr(provenance.os, "sched_getaffinity", raising=False)
    found = provenance.hardware(3)
    assert found["memory_gib"] is None and found["devices"] == 3
    assert found["cores"] >= 1


@pytest.mark.parametrize(
    ("there", "hidden", "idle"), [(True, None, True), (True, "-1", False), (False, None, False)]
)
def test_a_gpu_that_tensorflow_does_not_see(there, hidden, idle, monkeypatch):
    monkeypatch.setattr(provenance.os.path, "exists", lambda path: there)
    monkeypatch.setattr(provenance.tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden or "")
    if hidden is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert provenance.has_idle_gpu() == idle


def test_this_package_knows_its_own_clone():
    top = pathlib.Path(provenance.__file__).parents[2]
    assert (top / "keras_i2i").is_dir()
    assert (provenance.revision(top) is not None) == (top / ".git").exists()
