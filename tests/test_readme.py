"""What the README says works."""

import pathlib
import re
import sys
import types

import numpy as np
import pytest

from keras_i2i import data

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOMAIN, NOTEBOOK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_domain_of_ones_own_loads(tmp_path):
    code = {}
    exec(DOMAIN, code)
    images = np.random.default_rng(0).integers(0, 256, (1200, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "my_digits_train.npz", images=images, labels=np.arange(1200) % 10)
    train = code["MY_DIGITS"].load("train", data_dir=tmp_path, validation_size=200)
    assert train.images.shape == (1000, 28, 28, 1)


def test_its_line_lets_the_domain_be_found(monkeypatch):
    ((name, place),) = re.findall(r'^"(\w+)": "(\w+:\w+)",$', README, re.M)
    module = types.ModuleType(f"keras_i2i.data.{place.partition(':')[0]}")
    assert f"`{module.__name__.replace('.', '/')}.py`" in README
    exec(DOMAIN, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(data.DOMAINS, name, place)
    assert data.get_domain(name) is module.MY_DIGITS
    assert data.get_domain(name).name == name


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shrunken = NOTEBOOK.replace("steps_per_epoch=100, epochs=5", "steps_per_epoch=1, epochs=1")
    shrunken = shrunken.replace("batch_size=64", "batch_size=4").replace("0.25", "0.05")
    assert shrunken.count("batch_size=4") == 1 and "epochs=1," in shrunken
    code = {}
    exec(shrunken, code)
    assert code["printed"].shape == (10, 32, 32, 1)
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / "model.keras").exists()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link.split("#")[0]).exists()]


def test_flags_and_configs_that_are_named_exist():
    from keras_i2i.training.experiment import Experiment

    named = set(re.findall(r"--(\w+)=", README)) - {
        "flagfile", "only", "run", "images", "out", "logdir", "to",
    }  # fmt: skip
    assert named and named <= set(Experiment.__dataclass_fields__)
    for config in re.findall(r"configs/\w+\.cfg", README):
        assert (ROOT / config).exists()
