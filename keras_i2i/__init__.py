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
model.fit(batches, steps_per_epoch=100, epochs=10, shuffle=False)
"""

from keras_i2i._version import __version__
from keras_i2i.data import (
    Augmentation,
    Examples,
    Geometry,
    Storage,
    labelled_batches,
    load,
    load_few_labelled,
    load_unlabelled,
    preprocess,
    to_uint8,
    unpaired_batches,
)
from keras_i2i.errors import InputError
from keras_i2i.losses import LeastSquares, Minimax, NonSaturating, Wasserstein
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

__all__ = [
    "Augmentation",
    "Classifier",
    "CycleGAN",
    "DomainTransferNetwork",
    "Examples",
    "Geometry",
    "I2IAdapt",
    "InputError",
    "LSTNet",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "ReadsThroughTranslation",
    "Storage",
    "Wasserstein",
    "WeightedSum",
    "__version__",
    "backbone",
    "choose_weight",
    "labelled_batches",
    "load",
    "load_few_labelled",
    "load_unlabelled",
    "preprocess",
    "to_uint8",
    "unpaired_batches",
]
