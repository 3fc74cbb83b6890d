"""The Domain Transfer Network: translation that keeps what a fixed encoder sees.

Girish Chandar G, S. Kagi, S. Deepak Narayanan, S. Bhagat, "Unsupervised Cross-Domain Image
Generation", after Y. Taigman, A. Polyak and L. Wolf, ICLR 2017, of the same title.

Source images x ∈ S and target images y ∈ T. The encoder f is the body of a classifier, trained on
the source and then fixed; only the generator g learns, so that G = g ∘ f maps S to T and leaves T
as it is. The discriminator D tells *three* kinds apart: 1: G(x), 2: G(y), 3: y. (section 4)

    L_G = L_GANG + α L_CONST + β L_TID + γ L_TV

    L_GANG  = -log D_3(G(x)) - log D_3(G(y))                               translation
    L_CONST = d(f(x), f(G(x)))                                             constancy
    L_TID   = ‖G(y) - y‖²                                                  identity
    L_TV    = Σ_ij (z_i,j+1 - z_ij)² + (z_i+1,j - z_ij)²,  z = G(x), G(y)  total_variation

    L_D     = -log D_1(G(x)) - log D_2(G(y)) - log D_3(y)

    symbol      variable                            symbol      variable
    x, y        batch["source"], batch["target"]    D           discriminators["ternary"]
    f           encoder                             α           loss_weights["constancy"]
    g           generator                           β           loss_weights["identity"]
    d           constancy: l2, cosine               γ           loss_weights["total_variation"]

Reductions. The text writes every loss as a sum over images; here, as everywhere in this package, a
loss is the *mean* over an image's entries (features of f, pixels and channels of an image), then
the mean over images. Summing over images would scale all terms alike; summing over entries would
not. The text's α, β, γ are taken over as they stand, with means. To have its sums literally,
multiply each weight by the number of entries: α by 128 for f's 128 features (not for the cosine,
which has one value per image), β by 1024 for 32x32x1, and γ, for images of side H with C channels,
by H (H - 1) C: 27 360 for 96x96x3.
"""

import keras
from keras import ops

from keras_i2i import losses
from keras_i2i.errors import InputError
from keras_i2i.losses.features import cosine_distance
from keras_i2i.losses.ternary import (
    REAL,
    UNDECIDED,
    ternary_discriminator_loss,
    ternary_generator_loss,
)
from keras_i2i.models.adversarial import AdversarialModel, checked_weights
from keras_i2i.networks.domain_transfer import NETWORKS, fitted

TERMS = ("translation", "constancy", "identity", "total_variation")
CONSTANCY = {"l2": losses.l2, "cosine": cosine_distance}

# Section 6: one set of weights for both directions between SVHN and MNIST, one for faces.
PRESETS = {
    "digits": {
        "loss_weights": {"translation": 1.0, "constancy": 0.001, "identity": 1000.0},
    },
    "faces": {
        "image_shape": (96, 96, 3),
        "networks": "faces",
        "constancy": "cosine",
        "loss_weights": {
            "translation": 1.0, "constancy": 0.01, "identity": 100.0, "total_variation": 0.0001,
        },
    },
}  # fmt: skip


@keras.saving.register_keras_serializable("keras_i2i")
class DomainTransferNetwork(AdversarialModel):
    """Domain Transfer Network; see the module's docstring for the equations.

    `fit` takes a `tf.data.Dataset` of `{"source": x, "target": y}`, with or without labels, which
    are not looked at: images (batch, H, W, C) in [-1, 1], both domains' batches of one size.
    `model(images)` gives translations of *source* images. Logged beside the losses is `fooled`, the
    share of generated images that D takes for real target images, G(x) and G(y) counting alike.

    Where target images have another size or number of channels than f reads, they are brought to
    f's by `networks.domain_transfer.fitted`.

    Args:
        encoder: f, a trained `keras.Model` from source images (batch, H, W, C) to features
            (batch, ...), functional or sequential. It is taken as it is, not copied, and frozen
            (`trainable = False`); it always runs as at inference. `keras.models.clone_model` gives
            fresh weights to all of a model, to f too: copy the weights, or load the model's file.
        image_shape: (H, W, C) of source images, which f reads.
        target_shape: that of target images, H and W multiples of 8 for digits; None: the same.
            Channels are 1 or 3 where the two shapes differ in them.
        networks: "digits" or "faces", which g and D, of `networks.domain_transfer.NETWORKS`.
        loss_weights: dict, term of `TERMS` → weight ≥ 0; missing means 0. A term without weight
            costs nothing. Default: "digits" of `PRESETS`.
        constancy: d, "l2" (mean squared difference) or "cosine" (one minus the cosine).
        width: factor on g's numbers of filters.
        discriminator_width: D's.
        **kwargs: `name`, `dtype`, as in `keras.Model`.

    Raises:
        InputError: an argument is not one of the above, or shapes do not fit.
    """

    TERMS = TERMS
    MEASURED = "the share of generated images that pass as real target images"

    def __init__(
        self,
        encoder,
        image_shape=(32, 32, 1),
        target_shape=None,
        networks="digits",
        loss_weights=None,
        constancy="l2",
        width=1.0,
        discriminator_width=1.0,
        **kwargs,
    ):
        super().__init__(image_shape, target_shape, **kwargs)
        self.loss_weights = checked_weights(
            loss_weights, self.TERMS, PRESETS["digits"]["loss_weights"]
        )
        _check_choice("networks", networks, NETWORKS)
        _check_choice("constancy", constancy, CONSTANCY)
        self.constancy = constancy
        self._config = {
            "networks": networks,
            "constancy": constancy,
            "width": width,
            "discriminator_width": discriminator_width,
        }
        if isinstance(encoder, dict):  # of a model's `get_config`, read back from a file
            encoder = keras.saving.deserialize_keras_object(encoder)
        check_shapes(encoder, self.image_shape, self.target_shape)
        self.encoder = encoder
        self.encoder.trainable = False

        build_generator, build_discriminator = NETWORKS[networks]
        with self.own_dtype_policy():
            self.generator = build_generator(encoder.output_shape[1:], self.target_shape, width)
            self.discriminators = {}
            if self.loss_weights["translation"]:
                self.discriminators["ternary"] = build_discriminator(
                    self.target_shape, discriminator_width
                )
        self.measures = ("fooled",) if self.discriminators else ()
        self.built = True

    @classmethod
    def from_preset(cls, preset, encoder, **kwargs):
        """The text's digits or its faces.

        Args:
            preset: a name of `PRESETS`.
            encoder: f, as in the constructor.
            **kwargs: arguments of the constructor, stronger than the preset's.

        Raises:
            InputError: the name is unknown.
        """
        _check_choice("preset", preset, PRESETS)
        return cls(encoder, **{**PRESETS[preset], **kwargs})

    def forward(self, batch):
        """f(x), and of G(x) and G(y) those that a term needs."""
        kinds = {}
        if self._any("translation", "constancy", "total_variation"):
            kinds["translated"] = self._features(batch["source"])
        if self._any("translation", "identity", "total_variation"):
            kinds["rebuilt"] = self._features(batch["target"])
        # One pass: g's batch norm normalizes both domains alike, as at inference.
        images = self.generator(ops.concatenate(list(kinds.values())), training=True)
        out = dict(zip(kinds, ops.split(images, len(kinds)), strict=True))
        if self._any("constancy"):
            out["features"] = kinds["translated"]
        return out

    def generator_losses(self, batch, outputs):
        """L_GANG, L_CONST, L_TID and L_TV, those with a weight."""
        terms = {}
        if self._any("translation"):
            translated, rebuilt, _ = self._answers(batch, outputs)
            terms["translation"] = ternary_generator_loss(translated, rebuilt)
            answers = ops.argmax(ops.concatenate([translated, rebuilt]), axis=-1)
            self.measure("fooled", ops.cast(answers == REAL, "float32"))
        if self._any("constancy"):
            # Through f, which is fixed, into g.
            again = self._features(outputs["translated"])
            terms["constancy"] = CONSTANCY[self.constancy](outputs["features"], again)
        if self._any("identity"):
            terms["identity"] = losses.l2(batch["target"], outputs["rebuilt"])
        if self._any("total_variation"):
            # The text's z is "the" generated image; both kinds are.
            terms["total_variation"] = losses.total_variation(
                outputs["translated"]
            ) + losses.total_variation(outputs["rebuilt"])
        return terms

    def discriminator_losses(self, batch, outputs):
        """L_D."""
        return {"ternary": ternary_discriminator_loss(*self._answers(batch, outputs))}

    @property
    def undecided(self):
        """D's 3 log 3."""
        return dict.fromkeys(self.discriminators, UNDECIDED)

    def encoder_of(self, domain):
        """f, for target images after they are brought to its shape."""
        self.check_domain(domain)
        return self._features

    def mapping(self, origin, destination):
        """G = g ∘ f from either domain to the target; nothing leads to the source."""
        self.check_domain(origin)
        self.check_domain(destination)
        if destination == "source":
            return None
        return lambda images: self.generator(self._features(images))

    def get_config(self):
        """Arguments of the constructor."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "loss_weights": dict(self.loss_weights),
            **self._config,
        }

    def _any(self, *terms):
        return any(self.loss_weights[term] for term in terms)

    def _features(self, images):
        # Never training: f's batch norms, if it has any, keep their moving averages.
        return self.encoder(fitted(images, self.image_shape), training=False)

    def _answers(self, batch, outputs):
        """D's logits (batch, 3) for G(x), G(y) and y.

        All three in one pass, in both players' updates: batch normalization then has the moments of
        the mixture. In passes of their own each kind would be normalized by its own moments, and D
        could not see how kinds differ in brightness or contrast. This project's choice; the text
        does not say.
        """
        images = [outputs["translated"], outputs["rebuilt"], batch["target"]]
        logits = self.discriminators["ternary"](ops.concatenate(images), training=True)
        return ops.split(logits, 3)


def check_shapes(encoder, image_shape, target_shape):
    """Whether a model can be f.

    Args:
        encoder: f.
        image_shape: (H, W, C) of source images.
        target_shape: that of target images.

    Raises:
        InputError: f reads images of another shape, or has no features of one shape; or images
            cannot be converted from the target's shape to the source's.
    """
    reads, gives = (getattr(encoder, name, None) for name in ("input_shape", "output_shape"))
    fits = isinstance(encoder, keras.Model) and reads == (None, *image_shape)
    if not fits or not isinstance(gives, tuple) or len(gives) < 2 or None in gives[1:]:
        raise InputError(
            "The encoder must be a functional or sequential keras.Model from source images "
            f"{(None, *image_shape)} to features of one known shape (None, ...). "
            f"Received: {encoder!r}, {reads} → {gives}"
        )
    if len(target_shape) != 3:
        raise InputError(f"target_shape must be (H, W, C). Received: {target_shape}")
    channels = {image_shape[-1], target_shape[-1]}
    if len(channels) > 1 and channels != {1, 3}:
        raise InputError(
            "Between domains only gray (1) and color (3) channels can be converted. "
            f"Received: images {image_shape}, target images {target_shape}"
        )


def _check_choice(argument, value, known):
    if value not in known:
        raise InputError(f"{argument} must be one of {', '.join(known)}. Received: {value!r}")
