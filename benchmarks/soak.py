"""Whether a long training stays as it began: its memory, its speed, its open files.

    python benchmarks/soak.py --run_dir=FOLDER [--minutes=120] [--json=FILE] FLAGS ...

Starts `train.py` with that folder and those flags and looks at it from outside, at the end of each
epoch. When the time is over it is told to stop (SIGTERM): it saves and ends with exit code 75. A
line of the table is a tenth of a model's epochs, with their medians:

    ms a step        by the clock: with validators, pictures and checkpoints, which an epoch ends on
    processor ms     of all threads; what else runs on the machine hardly matters here
    memory           resident, MiB
    files, threads   that are open; that run
    run directory    how many files lie there, and their MiB

Needs Linux: it reads /proc.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from measuring import ROOT, markdown, said, write_json

LINES = 10
HELD = "memory_mib", "open_files", "threads", "files", "files_mib"
POLL_SECONDS = 0.5


def main(arguments=None):
    """Reads the arguments, trains and watches, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=120.0, help="after which it is stopped")
    parser.add_argument("--json", help="file for the results")
    options, flags = parser.parse_known_args(arguments)
    samples, code = watch(flags, pathlib.Path(options.run_dir), options.minutes * 60)
    from keras_i2i.training.stopping import RUN_AGAIN

    write_json(options.json, "soak", samples, flags=flags, exit_code=code)
    print(table(samples))
    said(f"The training ended with exit code {code}.")
    return code not in (0, RUN_AGAIN)


def watch(flags, run_dir, seconds):
    """Trains, for so long at most.

    Returns:
        `sample`s in their order, one an epoch, and the training's exit code.
    """
    training = subprocess.Popen([sys.executable, ROOT / "train.py", *flags, f"--run_dir={run_dir}"])
    samples, seen, end = [], set(), time.monotonic() + seconds
    while training.poll() is None:
        # What is looked at may just be gone: a file that makes room for its next, the process.
        with contextlib.suppress(OSError):
            for path in sorted(run_dir.glob("history/[!.]*.json"), key=os.path.getmtime):
                entries = json.loads(path.read_text())
                key = path.stem, len(entries)
                if key not in seen:
                    found = sample(training.pid, run_dir, entries[-1])
                    samples.append({"model": path.stem, **found})
                    seen.add(key)
        if time.monotonic() > end:
            training.send_signal(signal.SIGTERM)
            end = float("inf")
        time.sleep(POLL_SECONDS)
    return samples, training.returncode


def sample(pid, run_dir, entry):
    """What a process holds at the end of an epoch: its step, seconds and numbers."""
    process = pathlib.Path("/proc", str(pid))
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    return {
        "step": entry["step"],
        "seconds": entry["seconds"],
        "processor_seconds": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "memory_mib": int(status["VmRSS"].split()[0]) / 2**10,
        "threads": int(status["Threads"]),
        "open_files": len(list((process / "fd").iterdir())),
        "files": len(files),
        "files_mib": sum(path.stat().st_size for path in files) / 2**20,
    }


def table(samples):
    """The samples as Markdown, a tenth of each model's epochs in a line."""
    rows = []
    for model in dict.fromkeys(sample["model"] for sample in samples):
        own = [sample for sample in samples if sample["model"] == model]
        steps = np.diff([sample["step"] for sample in own])
        rates = [
            1000 * np.diff([sample[clock] for sample in own]) / steps
            for clock in ("seconds", "processor_seconds")
        ]
        # The first epoch's speed is not known; a model of one epoch has no line.
        lines = min(LINES, len(steps)) or 1
        for part in filter(len, np.array_split(np.arange(len(steps)), lines)):
            epochs = [own[1 + number] for number in part]
            held = {name: np.median([epoch[name] for epoch in epochs]) for name in HELD}
            rows.append(
                [
                    model,
                    f"{epochs[0]['step']:,}–{epochs[-1]['step']:,}",
                    *(f"{np.median(rate[part]):,.0f}" for rate in rates),
                    f"{held['memory_mib']:,.0f}",
                    f"{held['open_files']:.0f}, {held['threads']:.0f}",
                    f"{held['files']:.0f}, {held['files_mib']:,.1f}",
                ]
            )
    header = [
        "model", "steps", "ms a step", "processor ms", "memory, MiB", "files, threads",
        "run directory: files, MiB",
    ]  # fmt: skip
    return markdown(header, rows)


if __name__ == "__main__":
    sys.exit(main())
