"""Models: one file for each paper, plus the alternating train step that they share."""

from keras_i2i.models.adversarial import AdversarialModel
from keras_i2i.models.classifier import Classifier
from keras_i2i.models.i2i_adapt import PRESETS, TERMS, I2IAdapt
from keras_i2i.models.image_model import ImageModel
from keras_i2i.models.translated import ReadsThroughTranslation

__all__ = [
    "PRESETS",
    "TERMS",
    "AdversarialModel",
    "Classifier",
    "I2IAdapt",
    "ImageModel",
    "ReadsThroughTranslation",
]
