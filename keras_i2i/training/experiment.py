"""What an experiment is: everything that decides a run's result, in one frozen dataclass."""

import dataclasses

import keras

from keras_i2i import data, losses, models, networks
from keras_i2i.errors import InputError

METHODS = ("i2i_adapt", "source_only", "target_only")
SCHEDULES = ("constant", "cosine")


def _option(default, help, choices=None, minimum=None, above=None):
    metadata = {"help": help, "choices": choices, "minimum": minimum, "above": above}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run: `train.py` has a flag of the same name for each field, with the help below.

    Raises:
        InputError: fields do not fit; the message lists all that is wrong.
    """

    method: str = _option(
        "i2i_adapt",
        "What to train: i2i_adapt; source_only, the baseline without adaptation; or target_only, "
        "the ceiling with the target's labels.",
        choices=METHODS,
    )
    preset: str = _option(
        "i2i_adapt",
        "Which system of I2I-Adapt's Table 1: the full one or a special case.",
        choices=tuple(models.PRESETS),
    )
    source: str = _option("", "Domain with labels.")
    target: str = _option("", "Domain whose labels are not used.")
    run_dir: str = _option("", "Folder of the run. The same command again continues it.")
    data_dir: str = _option("", "Folder of prepared datasets; empty: ~/tensorflow_datasets.")
    seeds: list = _option([0], "Seeds; the run is repeated for each and reported as mean ± std.")

    image_size: int = _option(32, "Height and width that images are resized to.", minimum=16)
    channels: int = _option(1, "1: grayscale, 3: RGB.", choices=(1, 3))
    source_size: int = _option(0, "Use the first N source training images; 0: all.", minimum=0)
    target_size: int = _option(0, "Use the first N target training images; 0: all.", minimum=0)
    source_validation_size: int = _option(
        -1, "Source images kept from training for validation; -1: the domain's own.", minimum=-1
    )
    target_validation_size: int = _option(
        -1, "Target images kept from training; -1: the domain's own.", minimum=-1
    )
    target_labels_per_class: int = _option(
        0, "Few-label adaptation: learn from this many labelled target images per class.", minimum=0
    )
    rotation: float = _option(0.0, "Augmentation: rotate by up to ± this, in degrees.", minimum=0)
    scale: float = _option(0.0, "Augmentation: scale by a factor within 1 ± this.", minimum=0)
    translation: float = _option(
        0.0, "Augmentation: shift by up to ± this fraction of the side.", minimum=0
    )

    steps: int = _option(10000, "Training steps of the adapted model.", minimum=1)
    steps_per_epoch: int = _option(100, "Steps between log lines and checkpoints.", minimum=1)
    batch_size: int = _option(64, "Images of each domain in a step, over all GPUs.", minimum=2)
    learning_rate: float = _option(2e-4, "Adam's, for the generators and discriminators.", above=0)
    beta_1: float = _option(0.5, "Adam's first momentum.", minimum=0)
    schedule: str = _option("constant", "Learning rate over the run.", choices=SCHEDULES)
    ema_momentum: float = _option(
        0.0, "Momentum of averaged weights that replace the last ones; 0: off.", minimum=0
    )
    discriminator_steps: int = _option(1, "Discriminator updates on each batch.", minimum=1)
    generator_steps: int = _option(1, "Alternations on each batch.", minimum=1)

    classifier_steps: int = _option(
        1000, "Steps of the source-only baseline and of the target-only ceiling.", minimum=1
    )
    classifier_learning_rate: float = _option(1e-3, "Adam's, for those two.", above=0)
    warm_start: bool = _option(
        False, "Begin with the source-only baseline's encoder and head. ADDA always does."
    )
    ceiling: bool = _option(
        True,
        "Also train target_only, for the report alone: the ceiling, and an independent reader of "
        "translations. The adapted model never sees its labels.",
    )

    encoder: str = _option("lenet", "Encoder network.", choices=tuple(networks.ENCODERS))
    encoder_sharing: str = _option(
        "", "What f_x and f_y share; empty: as the preset has it.", choices=("", *networks.SHARING)
    )
    encoder_width: float = _option(1.0, "Factor on the paper's numbers of filters.", above=0)
    decoder_width: float = _option(1.0, "Factor on the paper's numbers of filters.", above=0)
    discriminator_width: float = _option(1.0, "Factor on the paper's numbers of filters.", above=0)

    loss_weights: dict = _option(
        {},
        "Weights that replace the preset's, as term=weight,...; terms: " + ", ".join(models.TERMS),
    )
    feature_objective: str = _option(
        "least_squares", "Adversarial objective on features.", choices=tuple(losses.OBJECTIVES)
    )
    image_objective: str = _option(
        "wasserstein", "Adversarial objective on images.", choices=tuple(losses.OBJECTIVES)
    )
    pixel_loss: str = _option(
        "l1", "Loss of reconstructions and cycles.", choices=tuple(losses.PIXEL_LOSSES)
    )
    keep_checkpoints: int = _option(2, "How many checkpoints of each step to keep.", minimum=1)

    def __post_init__(self):
        """Checks all fields at once."""
        problems = [
            problem for field in dataclasses.fields(self) for problem in _check(self, field)
        ]
        for name in ("source", "target"):
            try:
                data.get_domain(getattr(self, name))
            except InputError as error:
                problems.append(f"--{name}: {error}")
        if not self.run_dir:
            problems.append("--run_dir is missing: name a folder for the run, like runs/first.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            problems.append(f"--seeds must be different numbers ≥ 0. Received: {self.seeds}")
        if self.image_size % 16:
            problems.append(f"--image_size must be a multiple of 16. Received: {self.image_size}")
        for name in ("steps", "classifier_steps"):
            steps, per_epoch = getattr(self, name), self.steps_per_epoch
            if per_epoch > 0 and steps > per_epoch and steps % per_epoch:
                problems.append(
                    f"--{name} must be a multiple of --steps_per_epoch={per_epoch}, or less. "
                    f"Received: {steps}"
                )
        for name in ("beta_1", "ema_momentum", "scale"):
            if getattr(self, name) >= 1:
                problems.append(f"--{name} must be below 1. Received: {getattr(self, name)}")
        unknown = sorted(set(self.loss_weights) - set(models.TERMS))
        if unknown:
            problems.append(
                f"--loss_weights: unknown terms {', '.join(unknown)}. "
                f"Known are: {', '.join(models.TERMS)}"
            )
        weights = self.loss_weights
        if any(not weight >= 0 for weight in weights.values()):
            problems.append(f"--loss_weights must be ≥ 0. Received: {weights}")
        elif self.preset in models.PRESETS and not any(self._weights.values()):
            problems.append(f"--loss_weights: one must be positive. Received: {weights}")
        if weights.get("target_task") and not self.target_labels_per_class:
            problems.append("--loss_weights: target_task needs --target_labels_per_class.")
        if self.preset == "adda" and self.encoder_sharing not in ("", "none"):
            problems.append(
                "--encoder_sharing must be none with --preset=adda, which keeps the source's "
                f"encoder as it is. Received: {self.encoder_sharing!r}"
            )
        if self.preset == "cyclegan" and self.warm_start:
            problems.append("--warm_start does not go with --preset=cyclegan, which has no head.")
        if problems:
            raise InputError("\n".join(problems))
        if self.method == "i2i_adapt":
            data.check_same_classes(self.source, self.target)

    @property
    def image_shape(self):
        """(H, W, C) of both domains."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def augmentation(self):
        """What is done to training images."""
        return data.Augmentation(self.rotation, self.scale, self.translation)

    @property
    def num_classes(self):
        """Number of classes of both domains."""
        return len(data.get_domain(self.source).class_names)

    def build_model(self, seed):
        """The model to adapt, compiled."""
        overrides = {"encoder_sharing": self.encoder_sharing} if self.encoder_sharing else {}
        model = models.I2IAdapt.from_preset(
            self.preset,
            image_shape=self.image_shape,
            num_classes=self.num_classes,
            loss_weights=self._weights,
            encoder=self.encoder,
            encoder_width=self.encoder_width,
            decoder_width=self.decoder_width,
            discriminator_width=self.discriminator_width,
            seed=seed,
            **overrides,
        )
        ema = {"use_ema": True, "ema_momentum": self.ema_momentum} if self.ema_momentum else {}
        updates = self.steps * self.generator_steps
        discriminator_updates = updates * self.discriminator_steps
        model.compile(
            keras.optimizers.Adam(self._learning_rate(updates), beta_1=self.beta_1, **ema),
            keras.optimizers.Adam(self._learning_rate(discriminator_updates), beta_1=self.beta_1),
            feature_objective=self.feature_objective,
            image_objective=self.image_objective,
            pixel_loss=self.pixel_loss,
            discriminator_steps=self.discriminator_steps,
            generator_steps=self.generator_steps,
        )
        return model

    def build_classifier(self):
        """The model of the source-only baseline or the target-only ceiling, compiled."""
        model = models.Classifier(
            self.image_shape, self.num_classes, self.encoder, self.encoder_width
        )
        model.compile(keras.optimizers.Adam(self.classifier_learning_rate))
        return model

    @property
    def _weights(self):
        weights = {**models.PRESETS[self.preset]["loss_weights"], **self.loss_weights}
        if self.target_labels_per_class:
            weights.setdefault("target_task", 1.0)
        return weights

    def _learning_rate(self, updates):
        if self.schedule == "constant":
            return self.learning_rate
        return keras.optimizers.schedules.CosineDecay(self.learning_rate, updates)


def _check(experiment, field):
    """What is wrong with one field by itself."""
    value, limits = getattr(experiment, field.name), field.metadata
    if limits["choices"] is not None and value not in limits["choices"]:
        known = ", ".join(str(choice) for choice in limits["choices"] if choice != "")
        yield f"--{field.name} must be one of {known}. Received: {value!r}"
    if limits["minimum"] is not None and not value >= limits["minimum"]:
        yield f"--{field.name} must be at least {limits['minimum']}. Received: {value}"
    if limits["above"] is not None and not value > limits["above"]:
        yield f"--{field.name} must be above {limits['above']}. Received: {value}"
