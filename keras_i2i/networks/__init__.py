"""Networks as functional Keras graphs: encoders, decoders, discriminators, heads."""

from keras_i2i.networks.backbones import BACKBONES, backbone
from keras_i2i.networks.decoders import DECODER_STRIDES, decoder_branch, decoder_trunk
from keras_i2i.networks.discriminators import feature_discriminator, image_discriminator
from keras_i2i.networks.encoders import (
    ENCODERS,
    SHARING,
    build_encoder,
    densenet_encoder,
    encoder_config,
    generate_to_adapt_encoder,
    lenet_encoder,
    load_encoder,
    second_encoder,
)
from keras_i2i.networks.heads import classification_head, segmentation_head
from keras_i2i.networks.layers import under_policy
from keras_i2i.networks.normalization import synchronize_batch_norm
from keras_i2i.networks.resnet_generator import resnet_generator
from keras_i2i.networks.unet import patch_discriminator, unet_generator

__all__ = [
    "BACKBONES",
    "DECODER_STRIDES",
    "ENCODERS",
    "SHARING",
    "backbone",
    "build_encoder",
    "classification_head",
    "decoder_branch",
    "decoder_trunk",
    "densenet_encoder",
    "encoder_config",
    "feature_discriminator",
    "generate_to_adapt_encoder",
    "image_discriminator",
    "lenet_encoder",
    "load_encoder",
    "patch_discriminator",
    "resnet_generator",
    "second_encoder",
    "segmentation_head",
    "synchronize_batch_norm",
    "under_policy",
    "unet_generator",
]
