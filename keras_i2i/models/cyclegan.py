"""CycleGAN for unsupervised domain adaptation, its first step: the translator.

P. Basci, "Unsupervised Domain Adaptation through CycleGAN", after J.-Y. Zhu, T. Park, P. Isola and
A. A. Efros, ICCV 2017.

Unpaired images x ∈ X (source) and y ∈ Y (target), generators G: X → Y and F: Y → X, discriminators
D_X and D_Y. The generators minimize

    L = L_GAN(G) + L_GAN(F) + λ₁ L_cyc + λ₂ L_identity                             (section 4.1.3)

    L_GAN(G)   = (D_Y(G(x)) - 1)²,   L_GAN(F) = (D_X(F(y)) - 1)²                     translation
    L_cyc      = ‖F(G(x)) - x‖₁ + ‖G(F(y)) - y‖₁                                     cycle
    L_identity = ‖G(y) - y‖₁ + ‖F(x) - x‖₁                                           identity

and each discriminator half of its loss, "to slow down the learning process of the discriminators":

    ½ [(D_Y(y) - 1)² + D_Y(G(x))²],   ½ [(D_X(x) - 1)² + D_X(F(y))²]                 (section 4.3)

    symbol      variable                            symbol      variable
    x, y        batch["source"], batch["target"]    D_X, D_Y    discriminators["source"], ["target"]
    G           to_target                           λ₁          loss_weights["cycle"] = 8
    F           to_source                           λ₂          loss_weights["identity"] = 0.1 λ₁

Norms are means over pixels and channels, scores means over the patches. No labels are used; the
second step, a classifier that profits from the translations, is `models.translated`'s.
"""

import functools

import keras
from keras import ops

from keras_i2i import losses, networks
from keras_i2i.errors import InputError
from keras_i2i.models.adversarial import AdversarialModel, checked_weights
from keras_i2i.models.history_pool import HistoryPool
from keras_i2i.models.image_model import DOMAINS
from keras_i2i.models.passes import on_both

TERMS = ("translation", "cycle", "identity")
WEIGHTS = {"translation": 1.0, "cycle": 8.0, "identity": 0.8}
GENERATORS = ("unet", "resnet")


@keras.saving.register_keras_serializable("keras_i2i")
class CycleGAN(AdversarialModel):
    """CycleGAN; see the module's docstring for the equations.

    The networks are Basci's for 32x32 pixels unless others are asked for. Zhu et al. translate
    images of 256x256 with `generator="resnet", patch=70`.

    `fit` takes a `tf.data.Dataset` of `{"source": x, "target": y}`, with or without labels, which
    are not looked at: images (batch, H, W, C) in [-1, 1], both domains' batches of one size.
    `model(images)` gives translations of *source* images.

    Logged beside the losses is how often each discriminator is right about a patch,
    `d_source_accuracy` and `d_target_accuracy`, real and fake counting alike: "the learning process
    leads the generator to produce better results when the discriminator accuracy varies in the
    range 60-80%" (section 4.3). Not of Wasserstein critics, whose scores have no middle.

    Args:
        image_shape: (H, W, C) of both domains, H and W multiples of 2^generator_stages, or of 4
            for the residual generators.
        loss_weights: dict, term of `TERMS` → weight ≥ 0; missing means 0. Default: `WEIGHTS`, the
            paper's.
        generator_width: factor on the generators' numbers of filters.
        discriminator_width: the discriminators'.
        dropout: share of features dropped inside the U-Nets, in [0, 1); residual generators have
            no dropout.
        dropout_at_inference: drop also after training, so that translations are random.
        image_skip: whether the U-Nets' last convolution sees the image, too, so that translations
            keep brightness and colors; residual generators have no skips.
        pool_size: how many generated images of each domain to keep and show to its discriminator
            again (Zhu et al. 2017, section 4, keep 50); 0: only fresh ones, as Basci's text.
            Several updates of a discriminator on one batch see the same.
        generator: a name of `GENERATORS`: "unet" (Basci) or "resnet" (Zhu et al. 2017).
        generator_stages: how many times the U-Nets halve an image; residual generators always do
            twice.
        patch: side of the discriminators' patches in pixels: 23 (Basci) or 70 (Zhu et al. 2017).
        seed: seed of the history pools and of a gradient penalty; None draws one.
        **kwargs: `name`, `dtype`, as in `keras.Model`.

    Raises:
        InputError: an argument is not one of the above.
    """

    TERMS = TERMS
    MEASURED = "how often the opponents are right: 0.6 to 0.8 is healthy"

    def __init__(
        self,
        image_shape=(32, 32, 3),
        loss_weights=None,
        generator_width=1.0,
        discriminator_width=1.0,
        dropout=0.0,
        dropout_at_inference=False,
        image_skip=False,
        pool_size=0,
        generator="unet",
        generator_stages=3,
        patch=23,
        seed=None,
        **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.loss_weights = checked_weights(loss_weights, self.TERMS, WEIGHTS)
        if pool_size < 0:
            raise InputError(f"pool_size must be ≥ 0. Received: {pool_size}")
        if generator not in GENERATORS:
            raise InputError(
                f"generator must be one of {', '.join(GENERATORS)}. Received: {generator!r}"
            )
        if generator == "resnet" and dropout:
            raise InputError(
                "The residual generators have no dropout: set dropout=0 or generator='unet'. "
                f"Received: dropout={dropout}"
            )
        if generator == "resnet" and image_skip:
            raise InputError(
                "The residual generators have no skips: set image_skip=False or generator='unet'."
            )
        if dropout_at_inference and not dropout:
            raise InputError(
                "dropout_at_inference needs something to drop: give dropout a share above 0, like "
                "0.5. Received: dropout=0"
            )
        self._config = {
            "generator_width": generator_width,
            "discriminator_width": discriminator_width,
            "dropout": dropout,
            "dropout_at_inference": dropout_at_inference,
            "image_skip": image_skip,
            "pool_size": pool_size,
            "generator": generator,
            "generator_stages": generator_stages,
            "patch": patch,
            "seed": seed,
        }
        with self.own_dtype_policy():
            if generator == "unet":
                build = functools.partial(
                    networks.unet_generator,
                    dropout=dropout,
                    dropout_at_inference=dropout_at_inference,
                    stages=generator_stages,
                    image_skip=image_skip,
                )
            else:
                build = networks.resnet_generator
            self.to_target = build(self.image_shape, generator_width, name="to_target")
            self.to_source = build(self.image_shape, generator_width, name="to_source")
            self.discriminators = {}
            if self.loss_weights["translation"]:
                for domain in DOMAINS:
                    self.discriminators[domain] = networks.patch_discriminator(
                        self.image_shape, discriminator_width, f"{domain}_discriminator", patch
                    )
        self.pools = {}
        if pool_size and self.discriminators:
            self.pools = {
                domain: HistoryPool(
                    pool_size,
                    self.image_shape,
                    None if seed is None else seed + number,
                    name=f"{domain}_pool",
                )
                for number, domain in enumerate(DOMAINS)
            }
        self.built = True

    def compile(
        self,
        optimizer="adam",
        discriminator_optimizer="adam",
        image_objective="least_squares",
        pixel_loss="l1",
        **kwargs,
    ):
        """Gives the model its optimizers and objectives.

        Args:
            optimizer: that of G and F.
            discriminator_optimizer: that of D_X and D_Y.
            image_objective: a name of `losses.OBJECTIVES` or an `AdversarialObjective`.
            pixel_loss: of cycles and identities, a name of `losses.PIXEL_LOSSES`.
            **kwargs: see `AdversarialModel.compile`.
        """
        self.image_objective = losses.get_objective(image_objective)
        losses.get_pixel_loss(pixel_loss)
        self.pixel_loss = pixel_loss
        judges = self.image_objective.boundary is not None  # a critic is neither right nor wrong
        self.measures = tuple(f"d_{name}_accuracy" for name in self.discriminators if judges)
        super().compile(optimizer, discriminator_optimizer, **kwargs)

    def forward(self, batch):
        """Translations, and identities and cycles where their terms have a weight."""
        x, y = batch["source"], batch["target"]
        out = {}
        if self.loss_weights["identity"]:
            # Nothing couples the images of a batch, so each generator runs once on both domains.
            out["fake_y"], out["identity_y"] = on_both(self.to_target, x, y)
            out["fake_x"], out["identity_x"] = on_both(self.to_source, y, x)
        else:
            out["fake_y"] = self.to_target(x, training=True)
            out["fake_x"] = self.to_source(y, training=True)
        if self.loss_weights["cycle"]:
            out["cycle_x"] = self.to_source(out["fake_y"], training=True)
            out["cycle_y"] = self.to_target(out["fake_x"], training=True)
        for letter, pool in zip("xy", self.pools.values(), strict=False):  # or there is none
            out[f"shown_{letter}"] = pool(ops.stop_gradient(out[f"fake_{letter}"]))
        return out

    def generator_losses(self, batch, outputs):
        """L_GAN(G) + L_GAN(F), L_cyc and L_identity, those with a weight."""
        x, y, d = batch["source"], batch["target"], self.discriminators
        pixel_loss = losses.get_pixel_loss(self.pixel_loss)
        terms = {}
        if self.loss_weights["translation"]:
            generator = self.image_objective.generator
            terms["translation"] = generator(d["target"](outputs["fake_y"])) + generator(
                d["source"](outputs["fake_x"])
            )
        for name in ("cycle", "identity"):
            if self.loss_weights[name]:
                terms[name] = pixel_loss(x, outputs[f"{name}_x"]) + pixel_loss(
                    y, outputs[f"{name}_y"]
                )
        return terms

    def discriminator_losses(self, batch, outputs):
        """Half of D_X's and of D_Y's loss."""
        shown = "shown" if self.pools else "fake"
        pairs = {
            "source": (batch["source"], outputs[f"{shown}_x"]),
            "target": (batch["target"], outputs[f"{shown}_y"]),
        }
        terms = {}
        for name, discriminator in self.discriminators.items():
            real, fake = pairs[name]
            real_scores, fake_scores = on_both(discriminator, real, fake)
            loss = self.image_objective.discriminator(real_scores, fake_scores)
            penalty = self.image_objective.penalty(discriminator, real, fake, self.seed_generator)
            terms[name] = 0.5 * (loss if penalty is None else loss + penalty)
            if self.measures:
                middle = self.image_objective.boundary
                right = losses.per_image(
                    ops.cast(real_scores > middle, "float32")
                ) + losses.per_image(ops.cast(fake_scores < middle, "float32"))
                self.measure(f"d_{name}_accuracy", 0.5 * right)
        return terms

    @property
    def undecided(self):
        """Half of what either discriminator's objective has it lose."""
        level = self.image_objective.undecided
        return {} if level is None else dict.fromkeys(self.discriminators, 0.5 * level)

    def mapping(self, origin, destination):
        """G towards the target, F towards the source; both leave their own domain as it is."""
        self.check_domain(origin)
        generator = {"source": self.to_source, "target": self.to_target}[destination]
        return lambda images: generator(images)

    def get_config(self):
        """Arguments of the constructor."""
        config = super().get_config()
        del config["target_shape"]  # both domains have one
        return {**config, "loss_weights": dict(self.loss_weights), **self._config}

    def get_compile_config(self):
        """Arguments of `compile`, so that a loaded model is compiled."""
        config = super().get_compile_config()
        return config and {
            **config,
            "image_objective": keras.saving.serialize_keras_object(self.image_objective),
            "pixel_loss": self.pixel_loss,
        }
