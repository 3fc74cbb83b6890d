"""The methods that `--method` knows: how each is built from an experiment, and what it is called.

A method trains one adversarial model, from which a classifier of target images comes about in one
of the ways of `ADAPTATIONS`. To add one is to write its model and an entry here.

`--help` lists what stands here, and need not wait for Keras: functions import it, not this module.
"""

import dataclasses
from collections.abc import Callable

from keras_i2i.errors import InputError

# How a run ends up with a classifier of the target.
ADAPTATIONS = {
    "joint": "the trained model has a classifier of its own",
    "on_translated_source": "a classifier trained on source images translated to the target",
    "reads_translated_target": "the source-only classifier reads target images translated to the "
    "source",
    "sum": "the weighted sum of the last two; the weight is chosen without target labels",
}

SCHEDULES = ("constant", "cosine", "linear")


@dataclasses.dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        help: what it is, for `--help`.
        build: takes the experiment, the seed and the trained source-only `Classifier` (None unless
            the method needs it); returns the model to train, not compiled.
        objectives: takes the experiment; returns what `compile` wants beside optimizers and steps.
        presets: the names that `--preset` may have, with their meanings in words; the first is the
            default.
        weights: takes the name of one of them; returns its loss weights.
        terms: all loss terms, with their meanings in words for whoever watches the training.
        encoder: the classifiers' encoder unless `--encoder` says otherwise.
        adaptations: those of `ADAPTATIONS` that fit, the default first.
        size_multiple: what image sides must be a multiple of.
        two_shapes: whether the domains' images may differ in size or channels.
        judged_by: what the report begins with: "accuracy" on the target, or how many "translations"
            are read correctly.
        directions: direction → the terms of which one must have a weight for the model to translate
            so; without an entry it always does, if the method can.
        critics: discriminator → the flag of which "wasserstein" makes a critic of it, which cannot
            win; of those discriminators that may be one.
        needs_source_only: takes the experiment; whether its model begins with the trained
            source-only classifier.
        problems: takes the experiment; yields what of it does not go with the method, in words.
    """

    help: str
    build: Callable
    objectives: Callable
    presets: dict
    weights: Callable
    terms: dict
    encoder: str
    adaptations: tuple
    size_multiple: int
    two_shapes: bool = False
    judged_by: str = "accuracy"
    directions: dict = dataclasses.field(default_factory=dict)
    critics: dict = dataclasses.field(default_factory=dict)
    needs_source_only: Callable = lambda experiment: False
    problems: Callable = lambda experiment: ()


def optimizers(experiment, updates):
    """Adam for either player, given how often the generators are updated in a run."""
    from keras_i2i.optimizers import Adam

    ema = {}
    if experiment.ema_momentum:
        ema = {"use_ema": True, "ema_momentum": experiment.ema_momentum}
    their_rate = experiment.discriminator_learning_rate or experiment.learning_rate
    factor = experiment.learning_rate_factor
    ours, theirs = (
        scheduled(factor * rate, experiment.schedule, updates * steps)
        for rate, steps in (
            (experiment.learning_rate, 1),
            (their_rate, experiment.discriminator_steps),
        )
    )
    common = {"beta_1": experiment.beta_1, "global_clipnorm": experiment.clip_norm or None}
    return Adam(ours, **common, **ema), Adam(theirs, **common)


def scheduled(rate, schedule, updates):
    """A learning rate, or what becomes of it over that many updates: one of `SCHEDULES`."""
    import keras

    from keras_i2i.optimizers import ConstantThenLinear

    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, updates)
    return ConstantThenLinear(rate, updates) if schedule == "linear" else rate


def _models():
    from keras_i2i import models

    return models


def _i2i_adapt(experiment, seed, source_only):
    sharing = experiment.encoder_sharing
    model = _models().I2IAdapt.from_preset(
        experiment.preset_name,
        image_shape=experiment.image_shape,
        num_classes=experiment.num_classes,
        loss_weights=experiment.weights,
        decoder_width=experiment.decoder_width,
        discriminator_width=experiment.discriminator_width,
        feature_discriminator=experiment.feature_discriminator,
        seed=seed,
        dtype=experiment.dtype,
        **experiment.reader_options(experiment.image_shape, experiment.learning_rate),
        **({"encoder_sharing": sharing} if sharing else {}),
    )
    if experiment.warm_start or model.freeze_source:
        model.start_from(source_only.encoder, source_only.head)
    return model


def _i2i_adapt_problems(experiment):
    cyclegan = experiment.preset == "cyclegan"
    if not experiment.num_classes and not cyclegan:
        yield "--method=i2i_adapt needs a --source with labels."
    if experiment.preset == "adda" and experiment.encoder_sharing not in ("", "none"):
        yield (
            "--encoder_sharing must be none with --preset=adda, which keeps the source's "
            f"encoder as it is. Received: {experiment.encoder_sharing!r}"
        )
    if cyclegan and experiment.warm_start:
        yield "--warm_start does not go with --preset=cyclegan, which has no head."
    if cyclegan and experiment.adaptation == "joint":
        yield "--adaptation=joint does not go with --preset=cyclegan, which has no head."
    decode = ("translation", "identity", "cycle", "translated_task")
    if experiment.encoder in ("generate_to_adapt", "domain_transfer") and any(
        experiment.weights.get(term) for term in decode
    ):
        yield (
            "--encoder of --method=i2i_adapt must be lenet, densenet or a backbone where it "
            f"translates. Received: {experiment.encoder!r}"
        )
    if experiment.segments and experiment.weights.get("information"):
        yield (
            "--loss_weights: information asks for classes that are used alike, which those of "
            "pixels are not; leave it out for segmentation."
        )
    if (
        experiment.segments
        and experiment.weights.get("feature")
        and experiment.feature_discriminator == "dense"
    ):
        yield (
            "--feature_discriminator must be convolutional for segmentation, unless --loss_weights "
            "has feature=0. Received: dense"
        )
    from keras_i2i.networks import BACKBONES

    stride = experiment.output_stride
    if experiment.encoder_name in BACKBONES and experiment.image_size % stride:
        yield (
            f"--image_size must be a multiple of --output_stride={stride}. "
            f"Received: {experiment.image_size}"
        )


def _cyclegan(experiment, seed, source_only):
    return _models().CycleGAN(
        image_shape=experiment.image_shape,
        loss_weights=experiment.weights,
        generator=experiment.generator,
        generator_stages=experiment.generator_stages,
        generator_width=experiment.generator_width,
        patch=experiment.patch,
        discriminator_width=experiment.discriminator_width,
        dropout=experiment.dropout,
        dropout_at_inference=experiment.dropout_at_inference,
        image_skip=experiment.image_skip,
        pool_size=experiment.pool_size,
        seed=seed,
        dtype=experiment.dtype,
    )


def _cyclegan_problems(experiment):
    stride = 2 ** min(experiment.generator_stages, 30)  # more are refused for themselves
    # A multiple of 8 is asked for anyway.
    if experiment.generator == "unet" and stride > 8 and experiment.image_size % stride:
        yield (
            f"--image_size must be a multiple of {stride} with "
            f"--generator_stages={experiment.generator_stages}. Received: {experiment.image_size}"
        )
    if experiment.patch == 70 and experiment.image_size < 24:
        yield f"--image_size must be at least 24 with --patch=70. Received: {experiment.image_size}"
    for flag in ("dropout", "image_skip"):
        if experiment.generator == "resnet" and getattr(experiment, flag):
            yield f"--{flag} goes with --generator=unet. Received: --generator=resnet"
    if experiment.dropout_at_inference and not experiment.dropout:
        yield "--dropout_at_inference needs a --dropout above 0, like 0.5. Received: --dropout=0"


def _lstnet(experiment, seed, source_only):
    return _models().LSTNet(
        image_shape=experiment.image_shape,
        target_shape=experiment.target_shape,
        loss_weights=experiment.weights,
        width=experiment.generator_width,
        discriminator_width=experiment.discriminator_width,
        dtype=experiment.dtype,
    )


def _lstnet_problems(experiment):
    from keras_i2i.networks.lstnet import lstnet_columns

    try:
        lstnet_columns(experiment.image_shape, experiment.target_shape)
    except InputError as error:
        yield f"--image_size and --target_image_size: {error}"
    if experiment.image_objective not in ("", "non_saturating", "minimax"):
        yield (
            "--image_objective of --method=lstnet must be one of non_saturating, minimax, or "
            f"empty. Received: {experiment.image_objective!r}"
        )


def _domain_transfer_network(experiment, seed, source_only):
    from keras_i2i.networks import load_encoder

    if experiment.encoder_file:
        encoder = load_encoder(experiment.encoder_file)
    else:
        encoder = source_only.encoder
    return _models().DomainTransferNetwork.from_preset(
        experiment.preset_name,
        encoder=encoder,
        image_shape=experiment.image_shape,
        target_shape=experiment.target_shape,
        loss_weights=experiment.weights,
        width=experiment.generator_width,
        discriminator_width=experiment.discriminator_width,
        dtype=experiment.dtype,
    )


def _domain_transfer_network_problems(experiment):
    if not experiment.num_classes and not experiment.encoder_file:
        yield (
            f"--method=dtn needs --encoder_file, because --source={experiment.source} has no "
            "labels to train an encoder with."
        )


METHODS = {
    "i2i_adapt": Method(
        help="I2I-Adapt (Murez et al.) and its special cases",
        build=_i2i_adapt,
        objectives=lambda experiment: {
            "feature_objective": experiment.feature_objective,
            "image_objective": experiment.image_objective or "wasserstein",
            "pixel_loss": experiment.pixel_loss,
        },
        presets={
            "i2i_adapt": "the paper's main form",
            "fcns_in_the_wild": "aligned features alone, Hoffman et al.",
            "adda": "an encoder of the target's own, Tzeng et al.",
            "drcn": "target images rebuilt, Ghifary et al.",
            "cyclegan": "translation without a classifier, Zhu et al.",
        },
        weights=lambda preset: _models().PRESETS[preset]["loss_weights"],
        terms={
            "task": "mistakes on labelled source images (cross-entropy; guessing among 10 costs "
            "2.3)",
            "feature": "how far the target's features are from passing as the source's (0 = they "
            "pass)",
            "translation": "how far translations are from passing as the other domain's images",
            "identity": "pixel error of images rebuilt from their features",
            "cycle": "pixel error of images translated there and back",
            "translated_task": "mistakes on translated source images",
            "information": "indecision on target images (-2.3 = sure of each and all 10 classes "
            "used)",
            "target_task": "mistakes on the few labelled target images",
        },
        encoder="lenet",
        adaptations=("joint", "reads_translated_target", "on_translated_source", "sum"),
        size_multiple=16,
        directions={
            "source_to_target": ("translation", "cycle", "translated_task"),
            "target_to_source": ("translation", "cycle"),
        },
        critics={
            "feature": "feature_objective",
            "source": "image_objective",
            "target": "image_objective",
        },
        needs_source_only=lambda experiment: (
            experiment.warm_start
            or _models().PRESETS[experiment.preset_name].get("freeze_source", False)
        ),
        problems=_i2i_adapt_problems,
    ),
    "cyclegan": Method(
        help="CycleGAN for domain adaptation (Basci)",
        build=_cyclegan,
        objectives=lambda experiment: {
            "image_objective": experiment.image_objective or "least_squares",
            "pixel_loss": experiment.pixel_loss,
        },
        presets={"cyclegan": "its only form"},
        weights=lambda preset: _models().cyclegan.WEIGHTS,
        terms={
            "translation": "how far translations are from passing as the other domain's images "
            "(0.5 = even odds)",
            "cycle": "pixel error of images translated there and back",
            "identity": "pixel error of a domain's images sent through the generator of their own",
        },
        encoder="generate_to_adapt",
        adaptations=("sum", "on_translated_source", "reads_translated_target"),
        size_multiple=8,
        critics={"source": "image_objective", "target": "image_objective"},
        problems=_cyclegan_problems,
    ),
    "dtn": Method(
        help="Domain Transfer Network (Taigman et al.)",
        build=_domain_transfer_network,
        objectives=lambda experiment: {},
        presets={
            "digits": "the paper's networks for digits",
            "faces": "those for faces of 96x96 pixels",
        },
        weights=lambda preset: _models().domain_transfer_network.PRESETS[preset]["loss_weights"],
        terms={
            "translation": "how far generated images are from passing as real target images",
            "constancy": "how much translation changes a source image's features",
            "identity": "pixel error of target images rebuilt from their features",
            "total_variation": "roughness of generated images",
        },
        encoder="domain_transfer",
        adaptations=("on_translated_source",),
        size_multiple=8,
        two_shapes=True,
        judged_by="translations",
        needs_source_only=lambda experiment: not experiment.encoder_file,
        problems=_domain_transfer_network_problems,
    ),
    "lstnet": Method(
        help="LSTNet (Friedjungová et al.)",
        build=_lstnet,
        objectives=lambda experiment: {
            "objective": experiment.image_objective or "non_saturating",
            "pixel_loss": experiment.pixel_loss,
        },
        presets={"lstnet": "its only form"},
        weights=lambda preset: _models().lstnet.WEIGHTS,
        terms={
            "translation_to_source": "how far translations are from passing as source images",
            "translation_to_target": "how far translations are from passing as target images",
            "latent": "how far features are from passing as the other domain's",
            "identity_source": "pixel error of source images rebuilt from their features",
            "identity_target": "pixel error of target images rebuilt from their features",
            "cycle_source": "pixel error of source images translated there and back",
            "cycle_target": "pixel error of target images translated there and back",
        },
        encoder="lenet",
        adaptations=("reads_translated_target", "on_translated_source", "sum"),
        size_multiple=1,
        two_shapes=True,
        directions={
            "source_to_target": ("translation_to_target", "cycle_source", "cycle_target"),
            "target_to_source": ("translation_to_source", "cycle_source", "cycle_target"),
        },
        problems=_lstnet_problems,
    ),
}

BASELINES = {
    "source_only": "the baseline without adaptation",
    "target_only": "the ceiling with the target's labels",
}

_ALL = tuple(METHODS)
_WITH_GENERATORS = ("cyclegan", "dtn", "lstnet")
_WITH_PIXEL_LOSSES = ("i2i_adapt", "cyclegan", "lstnet")
# Flags that are not read whatever is trained → the methods that read them. Baselines read none.
READ_BY = {
    "preset": _ALL,
    "adaptation": _ALL,
    "translated_copy": _ALL,
    "target_labels_per_class": ("i2i_adapt",),
    "steps": _ALL,
    "learning_rate": _ALL,
    "discriminator_learning_rate": _ALL,
    "beta_1": _ALL,
    "schedule": _ALL,
    "ema_momentum": _ALL,
    "select": _ALL,
    "discriminator_steps": _ALL,
    "generator_steps": _ALL,
    "warm_start": ("i2i_adapt",),
    "feature_discriminator": ("i2i_adapt",),
    "encoder_file": ("dtn",),
    "encoder_sharing": ("i2i_adapt",),
    "decoder_width": ("i2i_adapt",),
    "generator_width": _WITH_GENERATORS,
    "discriminator_width": _ALL,
    "generator": ("cyclegan",),
    "generator_stages": ("cyclegan",),
    "patch": ("cyclegan",),
    "dropout": ("cyclegan",),
    "dropout_at_inference": ("cyclegan",),
    "image_skip": ("cyclegan",),
    "pool_size": ("cyclegan",),
    "loss_weights": _ALL,
    "feature_objective": ("i2i_adapt",),
    "image_objective": _WITH_PIXEL_LOSSES,
    "pixel_loss": _WITH_PIXEL_LOSSES,
}

# A baseline is trained by the config of a method, for the same images and augmentation, and passes
# over what that says of the method. Not over these, which nobody gives it but by mistake.
NOT_PASSED_OVER = ("translated_copy", "target_labels_per_class", "encoder_file")
