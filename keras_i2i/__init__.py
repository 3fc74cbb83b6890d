"""Unsupervised domain adaptation by image-to-image translation, in Keras 3 and TensorFlow.

    import keras
    import keras_i2i

    source = keras_i2i.load("printed_digits", "train")
    target = keras_i2i.load_unlabelled("handwritten_digits", "train")
    batches = keras_i2i.unpaired_batches(
        source, target, batch_size=64, image_shape=(32, 32, 1), seed=0
    )
    model = keras_i2i.I2IAdapt.from_preset("i2i_adapt")
    model.compile(keras.optimizers.Adam(2e-4, 0.5), keras.optimizers.Adam(2e-4, 0.5))
    model.fit(batches, steps_per_epoch=100, epochs=10)

`load_run` reads what the command `keras-i2i-train` has trained.
"""

import importlib
import sys
from typing import TYPE_CHECKING

from keras_i2i._version import __version__
from keras_i2i.errors import InputError, TrainingDiverged

# The commands read their flags first; for all others a model's file can be loaded from now on.
if TYPE_CHECKING or "keras_i2i_commands" not in sys.modules:
    from keras_i2i import optimizers as _optimizers  # noqa: F401, files of models name them
    from keras_i2i.data import (
        Augmentation,
        Examples,
        Geometry,
        Storage,
        get_domain,
        in_memory,
        labelled_batches,
        load,
        load_few_labelled,
        load_unlabelled,
        preprocess,
        to_uint8,
        unpaired_batches,
    )
    from keras_i2i.losses import (
        AdversarialObjective,
        LeastSquares,
        Minimax,
        NonSaturating,
        Wasserstein,
    )
    from keras_i2i.models import (
        Classifier,
        CycleGAN,
        DomainTransferNetwork,
        I2IAdapt,
        LSTNet,
        ReadsThroughTranslation,
        WeightedSum,
        choose_weight,
    )
    from keras_i2i.networks import backbone

if TYPE_CHECKING:  # For editors; see `__getattr__`.
    from keras_i2i.evaluation.figures import show
    from keras_i2i.serving.export import export_run
    from keras_i2i.training.experiment import Experiment
    from keras_i2i.training.run import load_run
    from keras_i2i.training.train import train

__all__ = [
    "AdversarialObjective",
    "Augmentation",
    "Classifier",
    "CycleGAN",
    "DomainTransferNetwork",
    "Examples",
    "Experiment",
    "Geometry",
    "I2IAdapt",
    "InputError",
    "LSTNet",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "ReadsThroughTranslation",
    "Storage",
    "TrainingDiverged",
    "Wasserstein",
    "WeightedSum",
    "__version__",
    "backbone",
    "choose_weight",
    "export_run",
    "get_domain",
    "in_memory",
    "labelled_batches",
    "load",
    "load_few_labelled",
    "load_run",
    "load_unlabelled",
    "preprocess",
    "show",
    "to_uint8",
    "train",
    "unpaired_batches",
]

# Imported when they are first asked for: not everyone who trains draws, and not everyone exports.
_LATER = {
    "Experiment": "training.experiment",
    "export_run": "serving.export",
    "load_run": "training.run",
    "show": "evaluation.figures",
    "train": "training.train",
}


def __getattr__(name):
    if name in _LATER:
        return getattr(importlib.import_module(f"keras_i2i.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
