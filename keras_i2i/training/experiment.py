"""What an experiment is: everything that decides a run's result, in one frozen dataclass.

`--help` lists its fields, and need not wait for Keras and TensorFlow: what needs them is imported
in the functions that use it.
"""

import dataclasses
import functools
import os
import pkgutil

from keras_i2i.errors import InputError, refuse
from keras_i2i.training import checks
from keras_i2i.training.methods import (
    ADAPTATIONS,
    BASELINES,
    METHODS,
    SCHEDULES,
    optimizers,
    scheduled,
)

# The square of it is the most pixels that an image may have.
_LARGEST_SIDE = 8192


def _names_of(*paths):
    """A function that lists what these constants of the package name; it imports their modules."""
    return lambda: tuple(
        name for path in paths for name in pkgutil.resolve_name(f"keras_i2i.{path}")
    )


def _option(default, help, choices=None, minimum=None, above=None, maximum=None, below=None):
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
    }
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run: `keras-i2i-train` has a flag of the same name for each field, with the help below.

    Raises:
        InputError: fields do not fit; the message lists all that is wrong.
    """

    method: str = _option(
        "i2i_adapt",
        "What to train: "
        + "; ".join(
            f"{name}, {text}"
            for name, text in {**{n: m.help for n, m in METHODS.items()}, **BASELINES}.items()
        )
        + ".",
        choices=(*METHODS, *BASELINES),
    )
    preset: str = _option(
        "",
        "A special case of the method. "
        + "; ".join(
            f"{method}: " + ", ".join(f"{name} ({text})" for name, text in m.presets.items())
            for method, m in METHODS.items()
        )
        + ". Empty: its first.",
    )
    adaptation: str = _option(
        "",
        "How a classifier of the target comes about; empty: the method's own way. "
        + "; ".join(f"{name}: {meaning}" for name, meaning in ADAPTATIONS.items()),
        choices=("", *ADAPTATIONS),
    )
    translated_copy: bool = _option(
        False,
        "Write the translated source images to a folder of the run and train from it, instead of "
        "translating on the fly.",
    )
    source: str = _option(
        "",
        "Domain with labels: mnist, usps, ... (README.md lists all), or folders of yours, "
        "image_folder:PATH or segmentation_folder:PATH.",
    )
    target: str = _option("", "Domain whose labels are not used; what --source may be.")
    run_dir: str = _option("", "Folder of the run. The same command again continues it.")
    data_dir: str = _option("", "Folder of prepared datasets; empty: ~/tensorflow_datasets.")
    seeds: list = _option([0], "Seeds; the run is repeated for each and reported as mean ± std.")

    image_size: int = _option(
        32, "Height and width of the images that networks see.", minimum=16, maximum=_LARGEST_SIDE
    )
    channels: int = _option(1, "1: grayscale, 3: RGB.", choices=(1, 3))
    target_image_size: int = _option(
        0,
        "Height and width of target images, where they differ; 0: --image_size.",
        minimum=0,
        maximum=_LARGEST_SIDE,
    )
    target_channels: int = _option(
        0,
        "Channels of target images, where they differ. 1: grayscale, 3: RGB, 0: --channels.",
        choices=(0, 1, 3),
    )
    source_size: int = _option(0, "Use the first N source training images; 0: all.", minimum=0)
    target_size: int = _option(0, "Use the first N target training images; 0: all.", minimum=0)
    source_validation_size: int = _option(
        -1, "Source images kept from training for validation; -1: the domain's own.", minimum=-1
    )
    target_validation_size: int = _option(
        -1, "Target images kept from training; -1: the domain's own.", minimum=-1
    )
    target_labels_per_class: int = _option(
        0,
        "Few-label adaptation: learn from this many labelled target images per class, which are "
        "left out of the test.",
        minimum=0,
    )
    load_size: int = _option(
        0,
        "Resize images to a square of this side before --crop_size cuts; 0: leave their size.",
        minimum=0,
        maximum=_LARGEST_SIDE,
    )
    crop_size: int = _option(
        0,
        "Cut out a square of this side, at random in training, from the center at test, after "
        "--fit and --load_size, and resize it to --image_size; 0: nothing is cut. Segmentation is "
        "tested on whole images.",
        minimum=0,
        maximum=_LARGEST_SIDE,
    )
    crop_place: str = _option(
        "random",
        "Where training cuts out the square of --crop_size. random; center: as a test does, which "
        "takes away margins that one domain has and the other has not.",
        choices=("random", "center"),
    )
    fit: str = _option(
        "stretch",
        "What becomes of images that are no squares. stretch: squares; crop: the largest square is "
        "cut out, and --load_size is their shorter side.",
        choices=("stretch", "crop"),
    )
    test_share: float = _option(
        0.2,
        "Folders without test/: share of the images that is kept for the test.",
        above=0,
        below=1,
    )
    split_seed: int = _option(
        0, "Folders without test/: seed of the split by --test_share.", minimum=0
    )
    transductive: bool = _option(
        False,
        "The test images are the training images, learnt from without labels: the protocol of some "
        "data sets. Else images that are in both are refused.",
    )
    max_unreadable: int = _option(
        10, "How many image files that cannot be read are left out before the run ends.", minimum=0
    )
    cache: str = _option(
        "none",
        "Where decoded images of folders and large data sets are kept. none: they are decoded "
        "again in each epoch; memory; disk: in the run's folder.",
        choices=("none", "memory", "disk"),
    )
    flip: float = _option(
        0.0, "Augmentation: probability of a mirror image. Not for digits.", minimum=0, maximum=1
    )
    rotation: float = _option(
        0.0, "Augmentation: rotate by up to this many degrees either way.", minimum=0, maximum=180
    )
    scale: float = _option(
        0.0, "Augmentation: scale by a factor within 1 ± this.", minimum=0, below=1
    )
    translation: float = _option(
        0.0, "Augmentation: shift by up to ± this fraction of the side.", minimum=0, maximum=1
    )

    translation_pixels: float = _option(
        0.0, "Augmentation: shift by up to ± this many pixels, whatever the size.", minimum=0
    )
    levels: float = _option(
        0.0,
        "Augmentation: in each channel, move black and white towards each other by up to this; "
        "pixels lie between -1 and 1.",
        minimum=0,
        maximum=2,
    )
    invert: float = _option(
        0.0, "Augmentation: probability of a negative image.", minimum=0, maximum=1
    )

    steps: int = _option(10000, "Training steps of the method's model.", minimum=1)
    steps_per_epoch: int = _option(
        100, "Steps of an epoch, which ends with a log line, measures and a checkpoint.", minimum=1
    )
    batch_size: int = _option(64, "Images of each domain in a step, over all GPUs.", minimum=1)
    learning_rate: float = _option(2e-4, "Adam's, of generators and discriminators.", above=0)
    discriminator_learning_rate: float = _option(
        0.0,
        "Adam's, of the discriminators, where it differs; 0: --learning_rate.",
        minimum=0,
    )
    beta_1: float = _option(
        0.5,
        "Adam's momentum, beta_1, of generators and discriminators.",
        minimum=0,
        below=1,
    )
    schedule: str = _option(
        "constant",
        "What becomes of --learning_rate over the run. constant; cosine: falls to zero; linear: "
        "constant for the first half, then falls to zero.",
        choices=SCHEDULES,
    )
    learning_rate_factor: float = _option(
        1.0,
        "Factor on every learning rate and schedule. A run that is continued may have another, "
        "which counts from there on: after losses that were not finite, give 0.3.",
        above=0,
    )
    ema_momentum: float = _option(
        0.0,
        "Measure and keep a moving average of the generators' weights, with this momentum (0.99, "
        "say), instead of the last ones; 0: off.",
        minimum=0,
        below=1,
    )
    select: str = _option(
        "last",
        "Which epoch's weights the method's model and the classifier on translated source images "
        "are kept with. last; or the best epoch by a validator that needs no target labels: "
        "source_validation_accuracy, target_entropy, information_maximization, "
        "soft_neighbourhood_density, proxy_a_distance.",
        choices=_names_of("training.selection:CHOICES"),
    )
    discriminator_steps: int = _option(
        1, "Discriminator updates on each batch.", minimum=1, maximum=1000
    )
    generator_steps: int = _option(
        1,
        "Generator updates on each batch, each after --discriminator_steps discriminator updates.",
        minimum=1,
        maximum=1000,
    )

    classifier_steps: int = _option(
        1000,
        "Steps of each plain classifier: the source-only baseline, the target-only ceiling, the "
        "one on translated source images.",
        minimum=1,
    )
    classifier_learning_rate: float = _option(
        1e-3, "Adam's, of the classifiers that --classifier_steps is about.", above=0
    )
    classifier_schedule: str = _option(
        "constant",
        "What becomes of --classifier_learning_rate over a classifier's training. constant; "
        "cosine: falls to zero; linear: constant for the first half, then falls to zero.",
        choices=SCHEDULES,
    )
    warm_start: bool = _option(
        False,
        "I2I-Adapt: begin with the source-only baseline's encoder and head. The preset adda always "
        "does.",
    )
    ceiling: bool = _option(
        True,
        "Also train target_only, for the report alone: the ceiling, and an independent reader of "
        "translations. The adapted model never sees its labels.",
    )

    encoder: str = _option(
        "",
        "Encoder of the classifiers and of I2I-Adapt, f of the Domain Transfer Network; empty: the "
        "method's own. For digits: lenet, densenet, generate_to_adapt, domain_transfer. keras-cv's "
        "backbones: resnet18, resnet34, resnet50, resnet101, resnet50_v2, resnet101_v2, "
        "densenet121, densenet169, densenet201.",
        choices=_names_of("networks:ENCODERS", "networks:BACKBONES"),
    )
    encoder_weights: str = _option(
        "",
        "Backbones: imagenet, for keras-cv's pre-trained weights, or a file of yours, .keras or "
        ".weights.h5; empty: random.",
    )
    encoder_preprocessing: str = _option(
        "",
        "Backbones: what a weights file expects of pixels. unit: 0 to 1; symmetric: -1 to 1; "
        "imagenet: standardized by ImageNet's mean and deviation.",
        choices=("", "unit", "symmetric", "imagenet"),
    )
    output_stride: int = _option(
        32,
        "Backbones: how many times smaller than the image the features are: 32, or 16 or 8, for "
        "which the last stages are dilated.",
        choices=(8, 16, 32),
    )
    anti_gridding: bool = _option(
        False,
        "Backbones: two more convolutions at the end, of dilation 2 and 1, against the grid that "
        "dilated stages leave in the features.",
    )
    freeze_batch_norm: bool = _option(
        False, "Backbones: batch norm keeps the statistics that its weights came with."
    )
    encoder_learning_rate: float = _option(
        0.0,
        "Adam's, of the encoder, where it differs, as for a pre-trained one; 0: as of the rest.",
        minimum=0,
    )
    pooling: str = _option(
        "flatten",
        "How a classifier makes a vector of its encoder's feature map: flatten, or average over "
        "the positions.",
        choices=("flatten", "average"),
    )
    feature_discriminator: str = _option(
        "dense",
        "I2I-Adapt: the discriminator of features. dense: dense layers; convolutional: 1x1 "
        "convolutions, a score for each position.",
        choices=("dense", "convolutional"),
    )
    encoder_file: str = _option(
        "", "Domain Transfer Network: a trained Keras model of yours as f, a .keras file."
    )
    encoder_sharing: str = _option(
        "",
        "I2I-Adapt: what the two domains' encoders share. all; all_but_batch_norm; none; empty: as "
        "the preset has it.",
        choices=_names_of("networks:SHARING"),
    )
    encoder_width: float = _option(
        1.0, "Factor on the encoder's numbers of filters.", above=0, maximum=100
    )
    decoder_width: float = _option(
        1.0, "I2I-Adapt: factor on the decoders' numbers of filters.", above=0, maximum=100
    )
    generator_width: float = _option(
        1.0,
        "CycleGAN, DTN, LSTNet: factor on the generators' numbers of filters.",
        above=0,
        maximum=100,
    )
    discriminator_width: float = _option(
        1.0, "Factor on the discriminators' numbers of filters.", above=0, maximum=100
    )
    generator: str = _option(
        "unet",
        "CycleGAN: unet, Basci's, or resnet, the residual generator of Zhu et al. for larger "
        "images.",
        choices=("unet", "resnet"),
    )
    generator_stages: int = _option(
        3,
        "CycleGAN: how often the U-Net halves an image; 5 or 6 for 256x256.",
        minimum=1,
        maximum=12,
    )
    patch: int = _option(
        23,
        "CycleGAN: side of the patches that the discriminators score, in pixels: 23 or 70.",
        choices=(23, 70),
    )
    dropout: float = _option(
        0.0, "CycleGAN: share of features dropped in the U-Net.", minimum=0, below=1
    )
    dropout_at_inference: bool = _option(
        False, "CycleGAN: drop also after training; translations are random then."
    )
    image_skip: bool = _option(
        False,
        "CycleGAN: the U-Net's last convolution sees the image too, so that translations keep its "
        "brightness and colors, which instance normalization takes from all features.",
    )
    pool_size: int = _option(
        0,
        "CycleGAN: train the discriminators on translations from a history of this many (50 in Zhu "
        "et al.); 0: on the newest alone.",
        minimum=0,
    )

    loss_weights: dict = _option(
        {},
        "Weights that replace single ones of the preset, as term=weight,...; terms: "
        + "; ".join(f"{name}: {', '.join(m.terms)}" for name, m in METHODS.items()),
    )
    feature_objective: str = _option(
        "least_squares",
        "I2I-Adapt: adversarial objective on features: least_squares, wasserstein (with gradient "
        "penalty), non_saturating or minimax.",
        choices=_names_of("losses:OBJECTIVES"),
    )
    image_objective: str = _option(
        "",
        "Adversarial objective on images: least_squares, wasserstein (with gradient penalty), "
        "non_saturating or minimax; empty: the method's own.",
        choices=_names_of("losses:OBJECTIVES"),
    )
    pixel_loss: str = _option(
        "l1",
        "Loss of reconstructions and cycles: l1, l2 or ms_ssim.",
        choices=_names_of("losses:PIXEL_LOSSES"),
    )
    clip_norm: float = _option(
        0.0,
        "Largest norm of a gradient, over all variables of the generators, of the discriminators "
        "or of a classifier; a larger one is scaled down. 0: off.",
        minimum=0,
    )
    mixed_precision: str = _option(
        "",
        "Compute layers in half precision, bfloat16 or float16; weights, losses, images and scores "
        "stay float32. float16 scales the losses. Empty: float32 throughout.",
        choices=("", "bfloat16", "float16"),
    )
    jit_compile: bool = _option(False, "Compile steps by XLA. Slower to start, and on CPUs.")
    steps_per_execution: int = _option(
        1,
        "Steps that run without coming back to Python, for small networks on fast GPUs. Must "
        "divide the steps of an epoch.",
        minimum=1,
    )
    profile: str = _option(
        "",
        "FIRST,LAST: record these steps of the method's model, counted from where the command "
        "began or went on, for TensorBoard's profiler; empty: none.",
    )
    keep_checkpoints: int = _option(
        2, "How many checkpoints of each of the run's models to keep.", minimum=1
    )
    checkpoint_minutes: float = _option(
        10.0,
        "Also write a checkpoint within an epoch when so many minutes have gone by since the last; "
        "0: only after so many steps, and at the ends of epochs.",
        minimum=0,
    )
    checkpoint_steps: int = _option(
        0,
        "Also write a checkpoint within an epoch when so many steps have gone by since the last; "
        "0: only by --checkpoint_minutes.",
        minimum=0,
    )
    deterministic: bool = _option(
        False,
        "Let TensorFlow compute the same numbers, bit for bit, each time the run is repeated or "
        "continued on the same machine. May be slower on GPUs.",
    )

    strategy: str = _option(
        "auto",
        "Devices to train on. one; mirrored: all GPUs of the machine; multiworker: those of all "
        "machines that TF_CONFIG names, or of all tasks of a Slurm job step; auto: what there is.",
        choices=_names_of("training.strategy:STRATEGIES"),
    )
    communication: str = _option(
        "auto",
        "How workers exchange gradients. auto: as TensorFlow chooses; nccl: between GPUs; ring: "
        "over TensorFlow's own gRPC.",
        choices=_names_of("training.strategy:COMMUNICATIONS"),
    )
    sync_batch_norm: bool = _option(
        False,
        "Batch norm's moments are those of the global batch, over all devices, instead of each "
        "device's own part.",
    )

    def __post_init__(self):
        """Checks all fields at once."""
        refuse(checks.problems(self))

    @property
    def dtype(self):
        """The models' dtype policy."""
        return f"mixed_{self.mixed_precision}" if self.mixed_precision else "float32"

    @property
    def profiled_steps(self):
        """First and last step to profile; None for none.

        Raises:
            InputError: `profile` is not two steps of the run.
        """
        if not self.profile:
            return None
        first, _, last = self.profile.partition(",")
        steps = self.classifier_steps if self.method in BASELINES else self.steps
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= steps):
            raise InputError(
                f"--profile must be FIRST,LAST, two steps from 1 to {steps} like 11,20. "
                f"Received: {self.profile!r}"
            )
        return int(first), int(last)

    @property
    def image_shape(self):
        """(H, W, C) of source images."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def target_shape(self):
        """(H, W, C) of target images."""
        side = self.target_image_size or self.image_size
        return (side, side, self.target_channels or self.channels)

    @property
    def augmentation(self):
        """What is done to training images."""
        from keras_i2i import data

        return data.Augmentation(
            rotation=self.rotation,
            scale=self.scale,
            translation=self.translation,
            pixels=self.translation_pixels,
            levels=self.levels,
            invert=self.invert,
            flip=self.flip,
        )

    @property
    def geometry(self):
        """How images of any size become those that networks see."""
        from keras_i2i import data

        return data.Geometry(
            load_size=self.load_size,
            crop_size=self.crop_size,
            fit=self.fit,
            crop_place=self.crop_place,
        )

    @property
    def storage(self):
        """How images in files are split and kept."""
        from keras_i2i import data

        return data.Storage(
            max_unreadable=self.max_unreadable,
            cache=self.cache,
            cache_dir=os.path.join(self.run_dir, "cache") if self.cache == "disk" else None,
            test_share=self.test_share,
            split_seed=self.split_seed,
        )

    def domain(self, name):
        """The `data.Domain` of "source" or "target"."""
        return self._domains[name]

    @functools.cached_property
    def _usable_storage(self):
        # While an experiment is checked, what is wrong with its flags is listed by their names,
        # once, and domains are looked up without them.
        from keras_i2i import data

        try:
            return self.storage
        except InputError:
            return data.Storage()

    @functools.cached_property
    def _domains(self):
        # Looked up once: a folder's classes are found by listing it.
        from keras_i2i import data

        return {
            name: data.get_domain(getattr(self, name), self._usable_storage)
            for name in ("source", "target")
        }

    @property
    def segments(self):
        """Whether the source's labels are masks."""
        return self.domain("source").has_masks

    @property
    def num_classes(self):
        """Number of classes of both domains; 0 if the source has no labels."""
        return len(self.domain("source").class_names)

    @property
    def target_has_labels(self):
        """Whether there is something to measure accuracy on."""
        return bool(self.domain("target").class_names)

    @property
    def target_can_be_learned(self):
        """Whether the target's training images have labels too: for the ceiling, or few of them."""
        return self.target_has_labels and self.domain("target").labelled_train

    @property
    def preset_name(self):
        """The method's preset: the one asked for, or its first."""
        return self.preset or next(iter(METHODS[self.method].presets))

    @property
    def encoder_name(self):
        """The classifiers' encoder: the one asked for, or the method's."""
        method = METHODS.get(self.method)
        return self.encoder or (method.encoder if method else "lenet")

    @property
    def weights(self):
        """Every loss weight that is not the model's default of 0."""
        weights = {**METHODS[self.method].weights(self.preset_name), **self.loss_weights}
        if self.target_labels_per_class:
            weights.setdefault("target_task", 1.0)
        return weights

    @property
    def adapts_by(self):
        """Which of `ADAPTATIONS` the run reports; None without labelled source images."""
        if not self.num_classes:
            return None
        if not self.adaptation and self.method == "i2i_adapt" and self.preset == "cyclegan":
            return "reads_translated_target"  # it has no head
        return self.adaptation or METHODS[self.method].adaptations[0]

    def build_model(self, seed, source_only=None):
        """The method's model, compiled.

        Args:
            seed: the run's.
            source_only: the trained source-only `Classifier`, if the method starts from it.
        """
        method = METHODS[self.method]
        model = method.build(self, seed, source_only)
        self._batch_norm_of(model)
        optimizer, discriminator_optimizer = optimizers(self, self.steps * self.generator_steps)
        model.compile(
            optimizer,
            discriminator_optimizer,
            discriminator_steps=self.discriminator_steps,
            generator_steps=self.generator_steps,
            **self._execution,
            **method.objectives(self),
        )
        return model

    def build_classifier(self, domain):
        """A plain classifier for images of a domain's shape, compiled."""
        from keras_i2i.models import Classifier
        from keras_i2i.optimizers import Adam

        shape = self.image_shape if domain == "source" else self.target_shape
        rate = self.classifier_learning_rate
        options = self.reader_options(shape, rate)
        model = Classifier(shape, self.num_classes, dtype=self.dtype, **options)
        self._batch_norm_of(model)
        rate = self.learning_rate_factor * rate
        rate = scheduled(rate, self.classifier_schedule, self.classifier_steps)
        model.compile(Adam(rate, global_clipnorm=self.clip_norm or None), **self._execution)
        return model

    def _batch_norm_of(self, model):
        from keras_i2i.networks import synchronize_batch_norm

        if self.sync_batch_norm:
            synchronize_batch_norm(model)

    @property
    def _execution(self):
        return {"jit_compile": self.jit_compile, "steps_per_execution": self.steps_per_execution}

    def reader_options(self, image_shape, learning_rate):
        """What an encoder and a head are made of, as `Classifier` and `I2IAdapt` take it.

        Args:
            image_shape: (H, W, C).
            learning_rate: that of the rest of the model.
        """
        from keras_i2i import networks

        name, width = self.encoder_name, self.encoder_width
        encoder = name
        if name in networks.BACKBONES:
            with networks.under_policy(self.dtype):
                encoder = networks.backbone(
                    name,
                    (None, None, image_shape[-1]) if self.segments else image_shape,
                    output_stride=self.output_stride,
                    width=width,
                    weights=self.encoder_weights or None,
                    preprocessing=self.encoder_preprocessing or None,
                    anti_gridding=self.anti_gridding,
                    freeze_batch_norm=self.freeze_batch_norm,
                )
        rate = self.encoder_learning_rate
        return {
            "encoder": encoder,
            "encoder_width": width,
            "segmentation": self.segments,
            "pooling": self.pooling,
            "encoder_rate": rate / learning_rate if rate else 1.0,
        }
