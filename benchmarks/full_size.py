"""Seconds and memory of the configs at full size, on made-up files in the published layouts.

    python benchmarks/full_size.py [CONFIG ...]

For each config a few training steps from random weights, in a process of its own; of a segmentation
also a whole image of 1024x2048 through the trained model. Nothing is learned: the files are noise.
Prints a line for each config, and writes full_size.json beside the files if --keep names a folder.
"""

import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = [
    *sorted(path.stem for path in ROOT.glob("configs/office31_*.cfg")),
    "gta5_cityscapes_resnet34",
    "gta5_cityscapes_densenet121",
]
STEPS = 4
WHOLE = (1024, 2048)


def main():
    """Reads the arguments, makes the files and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    parser.add_argument("--keep", help="folder for the files and results; default: a temporary one")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.keep or temporary)
        manual = folder / "data" / "downloads" / "manual"
        make_office31(manual)
        make_driving_scenes(manual)
        results = [measure(config, folder, arguments.steps) for config in arguments.configs]
        (folder / "full_size.json").write_text(json.dumps(results, indent=1))


def measure(config, folder, steps):
    """Trains a config for a few steps in another process and returns what that took."""
    run = folder / "runs" / config
    run.mkdir(parents=True, exist_ok=True)
    result = {"config": config, "training_peak_gib": run_child("train", config, folder, steps)}
    seconds = json.loads((run / "seconds.json").read_text())
    # The first step is traced.
    result |= {
        "first_step_seconds": seconds[0],
        "step_seconds": round(float(np.median(seconds[1:])), 2),
    }
    if config.startswith("gta5"):
        result["whole_image_peak_gib"] = run_child("segment_whole", config, folder)
        result["whole_image_seconds"] = json.loads((run / "whole.json").read_text())
    print(json.dumps(result), flush=True)
    return result


def run_child(function, *arguments):
    """Calls a function of this file in a process of its own; returns the most GiB it held."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]; "
    code += f"import full_size; full_size.{function}(*{tuple(map(str, arguments))!r})"
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        if status:
            log.seek(0)
            sys.exit(log.read().decode()[-3000:])
    return round(usage.ru_maxrss / 2**20, 2)


def train(config, folder, steps):
    """In a process of its own: data, model and optimizer as `train.py` makes them, timed."""
    import keras
    from absl import flags as absl_flags

    from keras_i2i.training.flags import define_experiment_flags
    from keras_i2i.training.run_data import RunData

    run = pathlib.Path(folder) / "runs" / config
    read_experiment = define_experiment_flags()
    absl_flags.FLAGS(
        [
            "train.py", f"--flagfile={ROOT / 'configs' / config}.cfg", f"--run_dir={run}",
            f"--data_dir={pathlib.Path(folder) / 'data'}", "--encoder_weights=",
            "--encoder_preprocessing=", "--source_validation_size=0",
            "--target_validation_size=0", "--cache=none",
        ]
    )  # fmt: skip
    experiment = read_experiment()
    ends = [time.monotonic()]
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.monotonic())
    )
    model = experiment.build_model(0)
    model.fit(
        RunData(experiment).batches("adapted", 0, 0),
        steps_per_epoch=int(steps), shuffle=False, verbose=0, callbacks=[clock],
    )  # fmt: skip
    (run / "seconds.json").write_text(json.dumps([round(s, 2) for s in np.diff(ends)]))
    model.save(run / "model.keras")


def segment_whole(config, folder):
    """In a process of its own: reads one whole image of 1024x2048, in one pass."""
    import keras

    import keras_i2i  # noqa: F401 - it registers the models

    run = pathlib.Path(folder) / "runs" / config
    model = keras.saving.load_model(run / "model.keras", compile=False)
    image = np.random.default_rng(0).uniform(-1, 1, (*WHOLE, 3)).astype("float32")
    model.segment(image)
    start = time.monotonic()
    logits = model.segment(image)
    (run / "whole.json").write_text(json.dumps(round(time.monotonic() - start, 2)))
    assert logits.shape[:2] == WHOLE and np.isfinite(logits).all()


def make_office31(manual):
    """A few photographs' worth of noise for each class of each domain of Office-31."""
    from keras_i2i.data.office31 import CLASS_NAMES

    rng = np.random.default_rng(0)
    for domain, side in (("amazon", 300), ("dslr", 1000), ("webcam", 480)):
        for name in CLASS_NAMES:
            home = manual / "domain_adaptation_images" / domain / "images" / name
            home.mkdir(parents=True, exist_ok=True)
            (home / "frame_0001.jpg").write_bytes(noise(rng, (side, side), "JPEG"))


def make_driving_scenes(manual):
    """Eight frames of GTA5 and of Cityscapes, in their archives."""
    rng = np.random.default_rng(0)

    def labels(size):
        coarse = rng.integers(0, 34, (size[0] // 50 + 1, size[1] // 50 + 1), np.uint8)
        fine = coarse.repeat(50, 0).repeat(50, 1)[: size[0], : size[1]]
        return encoded(Image.fromarray(fine), "PNG")

    manual.mkdir(parents=True, exist_ok=True)
    size, numbers = (1052, 1914), range(1, 9)
    write_zip(
        manual / "01_images.zip", {f"images/{n:05}.png": noise(rng, size, "PNG") for n in numbers}
    )
    write_zip(manual / "01_labels.zip", {f"labels/{n:05}.png": labels(size) for n in numbers})
    images, masks = {}, {}
    for split, city in (("train", "aachen"), ("val", "frankfurt")):
        for n in range(4):
            stem = f"{split}/{city}/{city}_{n:06}_000019"
            images[f"leftImg8bit/{stem}_leftImg8bit.png"] = noise(rng, WHOLE, "PNG")
            masks[f"gtFine/{stem}_gtFine_labelIds.png"] = labels(WHOLE)
    write_zip(manual / "leftImg8bit_trainvaltest.zip", images)
    write_zip(manual / "gtFine_trainvaltest.zip", masks)


def noise(rng, size, kind):
    """An image file of smooth noise."""
    coarse = rng.integers(0, 256, (size[0] // 20, size[1] // 20, 3), np.uint8)
    return encoded(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC), kind)


def encoded(image, kind):
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def write_zip(path, files):
    """Writes an archive of name → bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


if __name__ == "__main__":
    main()
