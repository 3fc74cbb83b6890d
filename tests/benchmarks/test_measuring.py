"""What the benchmarks share."""

import json
import types

import measuring
import numpy as np
import pytest
import tensorflow as tf


def test_spread_is_the_median_and_the_quartiles():
    assert measuring.quartiles([4, 1, 3, 2, 5]) == (2, 3, 4)
    assert measuring.spread([4000, 1000, 3000, 2000, 5000], 0) == "3,000 (2,000–4,000)"


def test_markdown():
    assert measuring.markdown(["a", "b"], [["1", "2"]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1 | 2 |",
    ]


def test_json_says_on_what_machine_of_what_code(tmp_path):
    measuring.write_json(tmp_path / "out.json", "name", [1], peak=2.0)
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["benchmark"], found["results"], found["peak"]) == ("name", [1], 2.0)
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["versions"]["tensorflow"] == tf.__version__
    assert {"cpu", "date", "revision"} <= set(found["machine"])
    measuring.write_json(None, "name", [1])  # nowhere


def test_memory_is_what_the_process_holds():
    before = measuring.memory()
    held = np.ones(2**25, "uint8")  # 32 MiB
    after = measuring.memory()
    assert np.isnan(after) or 25 < after - before < 100
    assert np.isnan(after) or measuring.memory("VmHWM") >= after
    del held


def test_operations_are_those_of_the_step():
    experiment = types.SimpleNamespace(
        batch_size=3, image_shape=(4, 4, 1), target_shape=(2, 2, 1), segments=False
    )

    def train_step(batch):
        images, labels = batch
        assert labels.shape == (3,)
        return tf.reshape(images["source"], (3, 16)) @ tf.ones((16, 7))

    model = types.SimpleNamespace(train_step=train_step)
    # A product of (3, 16) and (16, 7) adds and multiplies.
    assert measuring.step_operations(model, experiment) == 2 * 3 * 16 * 7


def test_a_made_up_batch_is_what_a_step_takes():
    experiment = types.SimpleNamespace(
        batch_size=50, image_shape=(4, 4, 1), target_shape=(2, 2, 3), segments=False, num_classes=5
    )
    images, labels = measuring.made_up_batch(experiment)
    specs, label_spec = measuring.batch_specs(experiment)
    for domain, spec in specs.items():
        assert images[domain].shape == spec.shape and images[domain].dtype == np.float32
        assert -1 <= images[domain].min() < -0.5 < 0.5 < images[domain].max() <= 1
    assert labels.shape == label_spec.shape and set(labels) == set(range(5))


def test_a_config_is_found_by_its_name_and_changed():
    experiment = measuring.read_config("mnist_usps_cpu.cfg", batch_size=8)
    assert (experiment.method, experiment.decoder_width, experiment.batch_size) == (
        "i2i_adapt",
        0.25,
        8,
    )


def test_matrix_rate_counts_operations(monkeypatch):
    monkeypatch.setattr(measuring, "timed", lambda function, seconds: [0.5, 0.25])
    assert measuring.matrix_rate("mixed_bfloat16", side=64) == pytest.approx(2 * 64**3 / 0.25)
