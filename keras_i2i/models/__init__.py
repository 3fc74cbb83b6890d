"""Models: one file for each paper, plus the alternating train step that they share."""

from keras_i2i.models import cyclegan, domain_transfer_network, lstnet
from keras_i2i.models.adversarial import AdversarialModel
from keras_i2i.models.classifier import Classifier
from keras_i2i.models.cyclegan import CycleGAN
from keras_i2i.models.domain_transfer_network import DomainTransferNetwork
from keras_i2i.models.i2i_adapt import PRESETS, TERMS, I2IAdapt
from keras_i2i.models.image_model import ImageModel
from keras_i2i.models.lstnet import LSTNet
from keras_i2i.models.translated import ReadsThroughTranslation, WeightedSum, choose_weight

__all__ = [
    "PRESETS",
    "TERMS",
    "AdversarialModel",
    "Classifier",
    "CycleGAN",
    "DomainTransferNetwork",
    "I2IAdapt",
    "ImageModel",
    "LSTNet",
    "ReadsThroughTranslation",
    "WeightedSum",
    "choose_weight",
    "cyclegan",
    "domain_transfer_network",
    "lstnet",
]
