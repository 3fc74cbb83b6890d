"""The commands `keras-i2i-export` and `keras-i2i-label`."""

from absl import flags as absl_flags

from keras_i2i.errors import InputError, refuse
from keras_i2i.serving import FORMATS
from keras_i2i.training.main import run_command


def export_main():
    """`keras-i2i-export --run=DIR --to=BASE`."""
    run = absl_flags.DEFINE_string("run", "", "The --run_dir of a training.")
    to = absl_flags.DEFINE_string("to", "", "Folder of the model's versions; its name is its own.")
    seed = absl_flags.DEFINE_integer(
        "seed", None, "The model of this seed; default: the run's first."
    )
    version = absl_flags.DEFINE_integer(
        "version", None, "Number of the new version; default: one more than the highest there is."
    )
    format = absl_flags.DEFINE_enum("format", FORMATS[0], FORMATS, "What to write.")
    data_dir = absl_flags.DEFINE_string(
        "data_dir", "", "Folder of prepared datasets, if not where the training had it."
    )

    def command(problems):
        """Writes a run's model for servers: `keras-i2i-export --run=DIR --to=served/NAME`.

        It becomes the next version in that folder, which TF Serving can be pointed at;
        `keras-i2i-label` then names versions. --format has other kinds of files.
        """
        missing = []
        if not run.value:
            missing.append("--run is missing: give the --run_dir of a training.")
        if not to.value:
            missing.append("--to is missing: give a folder for the model's versions.")
        refuse([*problems.values(), *missing])
        # Only now, because it imports TensorFlow.
        from keras_i2i.serving.export import export_run

        export_run(
            run.value,
            to.value,
            seed=seed.value,
            version=version.value,
            format=format.value,
            data_dir=data_dir.value,
        )

    run_command(command)


def label_main():
    """`keras-i2i-label --base=BASE --label=stable:1`."""
    base = absl_flags.DEFINE_string("base", "", "Folder of the model's versions.")
    name = absl_flags.DEFINE_string(
        "name", "", "The model's name at the server; empty: the folder's."
    )
    label = absl_flags.DEFINE_multi_string(
        "label", [], "A label and the version it stands for, like stable:1; may be repeated."
    )
    base_path = absl_flags.DEFINE_string(
        "base_path", "", "Where the server sees the folder, if elsewhere, like /models/digits."
    )

    def command(problems):
        """Names versions for TF Serving: `keras-i2i-label --base=served/NAME --label=stable:1`.

        Writes models.config beside that folder; a server that reads it offers these versions alone.
        """
        missing = ["--base is missing: give the folder that `--to` of an export named."]
        refuse([*problems.values(), *(missing if not base.value else ())])
        labels = _labels(label.value)
        # Only now, because it imports TensorFlow.
        from keras_i2i.serving.requests import write_model_config

        written = write_model_config(base.value, name.value, labels, base_path.value)
        print(f"Model config: {written}")

    run_command(command)


def _labels(texts):
    """From ["stable:1", ...] to {"stable": 1, ...}."""
    labels = {}
    for text in texts:
        label, _, version = text.rpartition(":")
        if not (label and version.isascii() and version.isdigit()):
            raise InputError(f"--label must read like stable:1. Received: {text!r}")
        if label in labels:
            raise InputError(f"--label={label} is given twice; a label stands for one version.")
        labels[label] = int(version)
    return labels
