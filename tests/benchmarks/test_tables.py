"""What the benchmarks make of what they measured; nothing is measured here but a few batches."""

import dataclasses
import importlib.util
import subprocess
import sys

import inference
import input_pipeline
import measuring
import peer_pytorch
import pytest
import soak
import train_step

from keras_i2i.training.experiment import Experiment

TINY = {"run_dir": "runs/tiny", "image_size": 16, "batch_size": 4, "encoder_width": 0.1}


def cells(table):
    """The rows of a table, without its header."""
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_train_step():
    result = {
        "config": "mnist_usps.cfg",
        "precision": "float32",
        "batch_size": 64,
        "step_seconds": [1.0, 0.5, 2.0],
        "operations": 200e9,
        "peak_memory_mib": 1500.0,
        "memory_before_mib": 600.0,
        "first_step_seconds": 9.87,
    }
    table = train_step.table([result], {"float32": 400e9})
    assert cells(table) == [
        [
            "mnist_usps",
            "float32",
            "64",
            "64.0 (48.0–96.0)",
            "1,000",
            "200.0",
            "50%",
            "1,500 (600)",
            "9.9",
        ]
    ]
    assert table.endswith("400 GFLOP/s in float32.")


def test_input_pipeline(tmp_path):
    for domain in ("source", "target"):
        input_pipeline.make_folder(tmp_path / domain, "png", files=20, side=24)
    experiment = Experiment(
        **TINY,
        source=f"image_folder:{tmp_path / 'source'}",
        target=f"image_folder:{tmp_path / 'target'}",
    )
    found = input_pipeline.read_batches(experiment, seconds=0.0, blocks=2)
    assert len(found["images_per_second"]) == len(found["memory_mib"]) == 2
    assert min(found["images_per_second"]) > 0
    assert dataclasses.replace(experiment, **dataclasses.asdict(experiment)) == experiment

    found |= {"images_per_second": [90.0, 100.0, 110.0], "memory_mib": [500.0, 501.0]}
    found |= {"peak_memory_mib": 502.0, "images": "folders"}
    rows = cells(
        input_pipeline.table([{**found, "step_pairs_per_second": rate} for rate in (20.0, None)])
    )
    assert rows[0] == ["folders", "4", "100 (95–105)", "500, 501, 502", "2.5"]
    assert rows[1][-1] == "–"


def test_inference():
    result = {
        "config": "mnist_usps.cfg",
        "precision": "float32",
        "function": "classify",
        "way": "tf.function",
        "batch_size": 64,
        "latency_ms": 2.0,
        "latency_ms_p95": 2.5,
        "images_per_second": 32000.0,
    }
    assert cells(inference.table([result])) == [
        ["mnist_usps", "float32", "classify", "tf.function", "64", "2.00, 2.50", "32,000"]
    ]


@pytest.mark.slow
def test_all_ways_of_inference_agree(tmp_path):
    experiment = Experiment(
        **TINY, source="printed_digits", target="handwritten_digits", decoder_width=0.02,
        discriminator_width=0.02,
    )  # fmt: skip
    model = measuring.build_model(experiment)
    images, _ = measuring.made_up_batch(experiment)
    answers = {}
    for function, way, answer, given in inference.ways(model, experiment, images, tmp_path):
        answers[function, way] = answer(given[:2])
    assert len(answers) == 8
    for (function, way), answer in answers.items():
        expected = answers[function, "tf.function"]
        if way != "SavedModel":  # which reads rounded pixels
            assert answer == pytest.approx(expected, abs=1e-5), (function, way)
        assert answer.shape == expected.shape, (function, way)


def test_peer():
    result = {
        "method": "cyclegan",
        "width": 0.25,
        "precision": "bfloat16",
        "batch_size": 32,
        "setting": {"layout": "last", "norm": "group", "compiled": True},
        "step_seconds": {"ours": [0.1, 0.2, 0.3], "theirs": [0.3, 0.4, 0.5]},
        "ratio": [3.0, 2.0, 1.67],
    }
    assert cells(peer_pytorch.table([result])) == [
        [
            "cyclegan, batch 32",
            "0.25",
            "bfloat16",
            "200 (150–250)",
            "400 (350–450)",
            "channels last, group norm, compiled",
            "2.00 (1.83–2.50)",
        ]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", peer_pytorch.CONFIGS)
def test_the_peer_computes_the_same(method):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    script = [sys.executable, peer_pytorch.__file__, "--check", "--widths=0.25"]
    checked = subprocess.run(
        [*script, f"--methods={method}"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr[-3000:]
    assert "after an update" in checked.stdout


def test_soak():
    held = {"memory_mib": 900.0, "open_files": 12, "threads": 20, "files": 7, "files_mib": 1.5}
    samples = [
        {
            **held,
            "model": "seed_0_adapted",
            "step": 100 * epoch,
            "seconds": 50.0 * epoch,
            "processor_seconds": 90.0 * epoch,
            "memory_mib": 900.0 + epoch,
        }
        for epoch in range(1, 32)
    ]
    rows = cells(soak.table(samples))
    assert len(rows) == 10
    assert rows[0] == [
        "seed_0_adapted", "200–400", "500", "900", "903", "12, 20", "7, 1.5",
    ]  # fmt: skip
    assert rows[-1][1] == "2,900–3,100"
    assert not cells(soak.table(samples[:1]))
