"""Which warnings finished runs would have given, from their logs alone.

    python benchmarks/false_alarms.py RUN [RUN ...]

For each step of each seed, the epochs at which each monitor warns by today's thresholds, whatever
they were when the run was trained. Runs from before the monitors have only some of the numbers;
what is not logged warns of nothing, and is marked.
"""

import argparse
import json

from measuring import build_model, markdown

# What each monitor goes by.
LOGGED = {
    "Diversity": "diversity",
    "DiscriminatorWon": "d_",
    "PermutedClasses": "permuted_classes",
    "ChanceLevel": "target_information",
}


def main(arguments=None):
    """Reads the arguments and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args(arguments)
    rows = [row for path in options.runs for row in rows_of(path)]
    print(markdown(["run", "step", "epochs", *LOGGED], rows))


def rows_of(path):
    """A row for each step that adapts."""
    from keras_i2i.training import monitors
    from keras_i2i.training.run_directory import MAIN_STEPS, RunDirectory

    run = RunDirectory.open(path)
    undecided = build_model(run.experiment).undecided
    chosen = {
        "Diversity": monitors.Diversity({}),
        "DiscriminatorWon": monitors.DiscriminatorWon(undecided),
        "PermutedClasses": monitors.PermutedClasses(None, None, ()),
        "ChanceLevel": monitors.ChanceLevel(None),
    }
    for seed in run.experiment.seeds:
        for step in (*MAIN_STEPS, "on_translated_source"):
            if not run.history(step, seed).exists():
                continue
            entries = json.loads(run.history(step, seed).read_text())
            yield [
                str(path),
                f"{step}, seed {seed}",
                str(len(entries)),
                *(told(monitor, LOGGED[name], entries) for name, monitor in chosen.items()),
            ]


def told(monitor, logged, entries):
    """The epochs at which a monitor warns, as text."""
    from keras_i2i.training.monitors import warns

    if not any(name.startswith(logged) for name in entries[-1]):
        return "not logged"
    epochs = [n for n in range(1, len(entries) + 1) if warns(monitor, entries[:n])]
    return ", ".join(map(str, epochs)) or "–"


if __name__ == "__main__":
    main()
