"""The command `keras-i2i-export`."""

from absl import flags as absl_flags

from keras_i2i.errors import refuse
from keras_i2i.serving import FORMATS
from keras_i2i.training.main import run_command


def export_main():
    """`keras-i2i-export --run=DIR --to=BASE`."""
    run = absl_flags.DEFINE_string("run", "", "The --run_dir of a training.")
    to = absl_flags.DEFINE_string("to", "", "Folder of the model's versions; its name is its own.")
    seed = absl_flags.DEFINE_integer("seed", None, "Whose model; default: the run's first seed.")
    version = absl_flags.DEFINE_integer("version", None, "Default: the next free one.")
    format = absl_flags.DEFINE_enum("format", FORMATS[0], FORMATS, "What to write.")
    data_dir = absl_flags.DEFINE_string(
        "data_dir", "", "Folder of prepared datasets, if not where the training had it."
    )

    def command(problems):
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
