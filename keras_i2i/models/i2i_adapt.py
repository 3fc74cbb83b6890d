"""I2I-Adapt: image to image translation for domain adaptation.

Z. Murez, S. Kolouri, D. Kriegman, R. Ramamoorthi, K. Kim, CVPR 2018.

Labelled source images x ∈ X, unlabelled target images y ∈ Y and a latent space Z that both share.
With encoders f, decoders g, a task head h and discriminators d,

    Q = λ_c Q_c + λ_z Q_z + λ_tr Q_tr + λ_id Q_id + λ_cyc Q_cyc + λ_trc Q_trc          (equation 7)

    Q_c   = CE(h(f_x(x)), c)                                              task         (equation 1)
    Q_id  = ‖g_x(f_x(x)) - x‖ + ‖g_y(f_y(y)) - y‖                         identity     (equation 2)
    Q_z   = adversarial: d_z tells f_x(x) (real) from f_y(y) (fake)       feature      (equation 3)
    Q_tr  = adversarial: d_y tells y from g_y(f_x(x)), d_x x from g_x(f_y(y))
                                                                          translation  (equation 4)
    Q_cyc = ‖g_x(f_y(g_y(f_x(x)))) - x‖ + ‖g_y(f_x(g_x(f_y(y)))) - y‖     cycle        (equation 5)
    Q_trc = CE(h(f_y(g_y(f_x(x)))), c)                              translated_task    (equation 6)

    Two gradients stop short: Q_z moves f through the target images only ("we want the encoder to
    learn to map the target images to the same distribution as the source images, not vice versa"),
    and Q_trc moves only the second encoding, f_y and h, so that no decoder smuggles the label.

    symbol      variable                            symbol      variable
    x, y        batch["source"], batch["target"]    g_x         decoder_trunk, then source_branch
    c           batch["source_labels"]              g_y         decoder_trunk, then target_branch
    f_x, f_y    source_encoder, target_encoder      d_z         discriminators["feature"]
    h           head                                d_x, d_y    discriminators["source"], ["target"]

Not in the paper, weight 0 unless asked for: `information`, information maximization on h(f_y(y))
(Hu et al. 2017), and `target_task`, Q_c on the few target images that have labels, to which the
paper says its framework "is readily extensible".
"""

import keras
from keras import ops

from keras_i2i import losses, networks
from keras_i2i.errors import InputError
from keras_i2i.models.adversarial import AdversarialModel, checked_weights
from keras_i2i.models.image_model import DOMAINS
from keras_i2i.models.passes import decoded, moving_averages_kept, on_both

TERMS = (
    "task",
    "feature",
    "translation",
    "identity",
    "cycle",
    "translated_task",
    "information",
    "target_task",
)

# The paper's Table 1: the systems that are special cases of its framework. Its own weights are lost
# from its text; those of "i2i_adapt" are a public note's for digits, and of the two such notes that
# are known the one that did better in a trial of this project's.
PRESETS = {
    "i2i_adapt": {
        "loss_weights": {
            "task": 1.0, "feature": 0.2, "translation": 0.02, "identity": 0.1, "cycle": 0.05,
        },
    },
    # Hoffman et al. 2016, "FCNs in the wild".
    "fcns_in_the_wild": {"loss_weights": {"task": 1.0, "feature": 0.2}},
    # Tzeng et al. 2017: source first (`start_from`), then only the target encoder learns.
    "adda": {"loss_weights": {"feature": 1.0}, "encoder_sharing": "none", "freeze_source": True},
    # Ghifary et al. 2016: the target half of Q_id only.
    "drcn": {"loss_weights": {"task": 1.0, "identity": 1.0}, "identity_of": ("target",)},
    # Zhu et al. 2017; λ_cyc : λ_tr = 10 : 1 as published. It has no classifier.
    "cyclegan": {"loss_weights": {"translation": 1.0, "cycle": 10.0}, "encoder_sharing": "none"},
}  # fmt: skip


@keras.saving.register_keras_serializable("keras_i2i")
class I2IAdapt(AdversarialModel):
    """I2I-Adapt; see the module's docstring for the equations.

    `fit` takes a `tf.data.Dataset` of `({"source": x, "target": y}, labels)` with images
    (batch, H, W, C) in [-1, 1], both domains' batches of one size, and integer labels (batch,), or
    masks (batch, H, W) where it segments. `model(images)` gives logits (batch, num_classes) for
    *target* images, or (batch, H, W, num_classes).

    Args:
        image_shape: (H, W, C) of both domains, H and W multiples of 16 and of the encoder's stride.
            A model that segments trains on these and reads images of any size.
        num_classes: number of classes.
        loss_weights: dict, term of `TERMS` → λ ≥ 0; missing means 0. A term without weight costs
            nothing: networks that no other term needs are not built. Default: "i2i_adapt" of
            `PRESETS`.
        encoder: "lenet", "densenet", a backbone of `networks.BACKBONES`, or a functional
            `keras.Model`, such as `networks.backbone` makes, from images to features
            (batch, H/s, W/s, D); for the decoders s must be 8, 16 or 32. Where the model segments,
            its images must be (None, None, C).
        encoder_sharing: how f_x and f_y relate: "all" weights (the paper), "all_but_batch_norm",
            or "none" (ADDA).
        identity_of: domains whose reconstruction Q_id asks for.
        freeze_source: keep f_x and h as they are (ADDA's second stage); call `start_from` first.
        encoder_width: factor on the encoder's numbers of filters.
        decoder_width: the decoders'.
        discriminator_width: the discriminators'.
        segmentation: labels are masks, with a class for each pixel or 255 for one that does not
            count. h is a 1x1 convolution whose logits are interpolated to the images' size.
        pooling: how h, where it classifies, turns a feature map into a vector: "flatten" (digits)
            or "average" (Office).
        feature_discriminator: d_z, "dense" (digits) or "convolutional" (Office, segmentation).
        encoder_rate: the encoders' share of the learning rate, for pre-trained ones; needs an
            optimizer that knows of it, `optimizers.Adam`.
        seed: seed of the gradient penalty's random points; None draws one.
        **kwargs: `name`, `dtype`, as in `keras.Model`.

    Raises:
        InputError: an argument is not one of the above.
    """

    TERMS = TERMS

    def __init__(
        self,
        image_shape=(32, 32, 1),
        num_classes=10,
        loss_weights=None,
        encoder="lenet",
        encoder_sharing="all",
        identity_of=DOMAINS,
        freeze_source=False,
        encoder_width=1.0,
        decoder_width=1.0,
        discriminator_width=1.0,
        segmentation=False,
        pooling="flatten",
        feature_discriminator="dense",
        encoder_rate=1.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.num_classes = num_classes
        self.has_masks = segmentation
        self.pooling = pooling
        self.feature_discriminator = feature_discriminator
        self.encoder_rate = encoder_rate
        self.loss_weights = checked_weights(
            loss_weights, self.TERMS, PRESETS["i2i_adapt"]["loss_weights"]
        )
        self.encoder_sharing = encoder_sharing
        self.identity_of = tuple(identity_of)
        self.freeze_source = freeze_source
        self._widths = (encoder_width, decoder_width, discriminator_width)
        self._encoder_spec = encoder

        if not set(self.identity_of) <= set(DOMAINS) or not self.identity_of:
            raise InputError(
                f"identity_of must name one or both of {', '.join(DOMAINS)}, in a list. "
                f"Received: {identity_of!r}"
            )
        if freeze_source and encoder_sharing == "all":
            raise InputError(
                "freeze_source needs a target encoder of its own: encoder_sharing='none'. "
                "Received: encoder_sharing='all'"
            )
        if segmentation and self._any("information"):
            raise InputError(
                "The term information asks for classes that are used alike, which those of pixels "
                "are not; leave it out of loss_weights where segmentation=True."
            )
        if segmentation and self._any("feature") and feature_discriminator == "dense":
            raise InputError(
                "A dense feature discriminator reads images of one size. Where segmentation=True, "
                "give feature_discriminator='convolutional', or leave the term feature out of "
                "loss_weights."
            )
        with self.own_dtype_policy():
            self._build_networks(encoder, encoder_width, decoder_width, discriminator_width)
        self.slow_down(encoder_rate, self.source_encoder, self.target_encoder)
        if freeze_source:
            self.source_encoder.trainable = False
            self.head.trainable = False
        self.built = True

    def _build_networks(self, encoder, encoder_width, decoder_width, discriminator_width):
        shape = self.network_shape
        self.source_encoder = networks.build_encoder(encoder, shape, encoder_width)
        self.target_encoder = networks.second_encoder(self.source_encoder, self.encoder_sharing)
        feature_shape = self.source_encoder.output_shape[1:]

        self.head = None
        if self.freeze_source or self._any("task", "translated_task", "information", "target_task"):
            self.head = self.build_head(self.source_encoder, self.pooling)

        self.decoder_trunk = self.source_branch = self.target_branch = None
        if self._any("translation", "identity", "cycle", "translated_task"):
            stride = self._decoder_stride()
            self.decoder_trunk = networks.decoder_trunk(feature_shape, decoder_width, stride=stride)
            trunk_shape = self.decoder_trunk.output_shape[1:]
            channels = self.image_shape[-1]
            for domain in DOMAINS:
                if self._rebuilds(domain) or self._translates_to(domain):
                    branch = networks.decoder_branch(
                        trunk_shape, channels, decoder_width, f"{domain}_branch", stride
                    )
                    setattr(self, f"{domain}_branch", branch)

        self.discriminators = {}
        if self._any("feature"):
            self.discriminators["feature"] = networks.feature_discriminator(
                feature_shape, discriminator_width, kind=self.feature_discriminator
            )
        if self._any("translation"):
            for domain in DOMAINS:
                self.discriminators[domain] = networks.image_discriminator(
                    shape, discriminator_width, f"{domain}_discriminator"
                )

    @classmethod
    def from_preset(cls, preset="i2i_adapt", **kwargs):
        """The full system or one of its special cases, the paper's Table 1.

        Args:
            preset: a name of `PRESETS`.
            **kwargs: arguments of the constructor, stronger than the preset's.

        Raises:
            InputError: the name is unknown.
        """
        if preset not in PRESETS:
            raise InputError(f"Unknown preset {preset!r}. Known are: {', '.join(PRESETS)}.")
        return cls(**{**PRESETS[preset], **kwargs})

    def compile(
        self,
        optimizer="adam",
        discriminator_optimizer="adam",
        feature_objective="least_squares",
        image_objective="wasserstein",
        pixel_loss="l1",
        **kwargs,
    ):
        """Gives the model its optimizers and objectives.

        Args:
            optimizer: that of encoders, decoders and head.
            discriminator_optimizer: that of the discriminators.
            feature_objective: d_z's, a name of `losses.OBJECTIVES` or an `AdversarialObjective`.
            image_objective: d_x's and d_y's. The paper: Wasserstein for digits and driving scenes,
                least squares for Office.
            pixel_loss: of Q_id and Q_cyc, a name of `losses.PIXEL_LOSSES`.
            **kwargs: see `AdversarialModel.compile`.
        """
        self.feature_objective = losses.get_objective(feature_objective)
        self.image_objective = losses.get_objective(image_objective)
        losses.get_pixel_loss(pixel_loss)
        self.pixel_loss = pixel_loss
        super().compile(optimizer, discriminator_optimizer, **kwargs)

    def forward(self, batch):
        """Features f(·) of both domains and, where a term needs it, all that the decoders make."""
        x, y = batch["source"], batch["target"]
        out = {}
        if self._any("target_task"):
            few = batch["target_labelled"]
            out["z_x"], z = self._encode(x, ops.concatenate([y, few]))
            out["z_y"], out["z_few"] = z[: ops.shape(y)[0]], z[ops.shape(y)[0] :]
        else:
            out["z_x"], out["z_y"] = self._encode(x, y)

        if self.decoder_trunk is not None:
            out.update(self._decode(out["z_x"], out["z_y"]))
        if self._any("cycle"):
            with self._moving_averages_kept():
                z_fake_x, z_fake_y = self._encode(out["fake_x"], out["fake_y"])
                trunk_fake_x, trunk_fake_y = on_both(self.decoder_trunk, z_fake_x, z_fake_y)
                out["cycle_x"] = self.source_branch(trunk_fake_y, training=True)
                out["cycle_y"] = self.target_branch(trunk_fake_x, training=True)
        return out

    def generator_losses(self, batch, outputs):
        """Q_c, Q_z, Q_tr, Q_id, Q_cyc, Q_trc and this project's two, those with a weight."""
        x, y, labels = batch["source"], batch["target"], batch["source_labels"]
        d = self.discriminators
        pixel_loss = losses.get_pixel_loss(self.pixel_loss)
        terms = {}
        if self._any("task"):
            terms["task"] = self.task_loss(labels, self.head(outputs["z_x"]))
        if self._any("feature"):
            # Through the target only: the source's features do not enter.
            terms["feature"] = self.feature_objective.generator(d["feature"](outputs["z_y"]))
        if self._any("translation"):
            objective = self.image_objective
            terms["translation"] = objective.generator(
                d["target"](outputs["fake_y"])
            ) + objective.generator(d["source"](outputs["fake_x"]))
        if self._any("identity"):
            originals = {"source": (x, "identity_x"), "target": (y, "identity_y")}
            terms["identity"] = sum(
                pixel_loss(image, outputs[name])
                for image, name in (originals[domain] for domain in self.identity_of)
            )
        if self._any("cycle"):
            terms["cycle"] = pixel_loss(x, outputs["cycle_x"]) + pixel_loss(y, outputs["cycle_y"])
        if self._any("translated_task"):
            # Through the second encoding only: neither the decoder nor f_x learns to hide a label.
            fake_y = ops.stop_gradient(outputs["fake_y"])
            with self._moving_averages_kept():
                z = self.target_encoder(fake_y, training=True)
            terms["translated_task"] = self.task_loss(labels, self.head(z))
        if self._any("information"):
            terms["information"] = losses.information_maximization(self.head(outputs["z_y"]))
        if self._any("target_task"):
            few = self.task_loss(batch["target_labels"], self.head(outputs["z_few"]))
            # There may be fewer labelled images than the batch has: each image stands for the mean.
            terms["target_task"] = ops.broadcast_to(ops.mean(few), ops.shape(labels))
        return terms

    def discriminator_losses(self, batch, outputs):
        """d_z's, d_x's and d_y's, with the objectives' penalties."""
        pairs = {
            "feature": (self.feature_objective, outputs["z_x"], outputs["z_y"]),
            "source": (self.image_objective, batch["source"], outputs.get("fake_x")),
            "target": (self.image_objective, batch["target"], outputs.get("fake_y")),
        }
        terms = {}
        for name, discriminator in self.discriminators.items():
            objective, real, fake = pairs[name]
            terms[name] = objective.discriminator(*on_both(discriminator, real, fake))
            penalty = objective.penalty(discriminator, real, fake, self.seed_generator)
            if penalty is not None:
                terms[name] += penalty
        return terms

    @property
    def undecided(self):
        """By each discriminator's own objective; a Wasserstein critic has no such level."""
        levels = {
            name: (self.feature_objective if name == "feature" else self.image_objective).undecided
            for name in self.discriminators
        }
        return {name: level for name, level in levels.items() if level is not None}

    def mapping(self, origin, destination):
        """The origin's encoder, then the destination's decoder."""
        self.check_domain(origin)
        encoder, branch = self.encoder_of(origin), getattr(self, f"{destination}_branch")
        return branch and (lambda images: branch(self.decoder_trunk(encoder(images))))

    def start_from(self, encoder, head):
        """Copies a trained encoder's and head's weights: ADDA's first stage, or a warm start.

        Args:
            encoder: `keras.Model` with the weights of f_x; f_y gets the same.
            head: `keras.Model` with the weights of h.
        """
        self.needs(self.head, "classify")
        for network in (self.source_encoder, self.target_encoder):
            network.set_weights(encoder.get_weights())
        self.head.set_weights(head.get_weights())

    def get_config(self):
        """Arguments of the constructor."""
        encoder_width, decoder_width, discriminator_width = self._widths
        config = super().get_config()
        del config["target_shape"]  # both domains have one
        return {
            **config,
            "num_classes": self.num_classes,
            "loss_weights": dict(self.loss_weights),
            "encoder": networks.encoder_config(self._encoder_spec),
            "encoder_sharing": self.encoder_sharing,
            "identity_of": self.identity_of,
            "freeze_source": self.freeze_source,
            "encoder_width": encoder_width,
            "decoder_width": decoder_width,
            "discriminator_width": discriminator_width,
            "segmentation": self.has_masks,
            "pooling": self.pooling,
            "feature_discriminator": self.feature_discriminator,
            "encoder_rate": self.encoder_rate,
            "seed": self._seed,
        }

    def get_compile_config(self):
        """Arguments of `compile`, so that a loaded model is compiled."""
        config = super().get_compile_config()
        return config and {
            **config,
            "feature_objective": keras.saving.serialize_keras_object(self.feature_objective),
            "image_objective": keras.saving.serialize_keras_object(self.image_objective),
            "pixel_loss": self.pixel_loss,
        }

    def _decoder_stride(self):
        stride, sides = self.stride_of(self.source_encoder), self.image_shape[:2]
        if stride not in networks.DECODER_STRIDES or any(side % 16 for side in sides):
            raise InputError(
                "I2I-Adapt's decoders and discriminators need images of a height and width that "
                "are multiples of 16, and an encoder whose features are "
                f"{', '.join(map(str, networks.DECODER_STRIDES))} times smaller than both, like "
                f"lenet, densenet or a backbone. Received: images {self.image_shape}, features "
                f"{stride} times smaller"
            )
        return stride

    def _any(self, *terms):
        return any(self.loss_weights[term] for term in terms)

    def _rebuilds(self, domain):
        return self._any("identity") and domain in self.identity_of

    def _translates_to(self, domain):
        return self._any("translation", "cycle") or (
            domain == "target" and self._any("translated_task")
        )

    def _moving_averages_kept(self):
        return moving_averages_kept(
            self.source_encoder,
            self.target_encoder,
            self.decoder_trunk,
            self.source_branch,
            self.target_branch,
        )

    def _encode(self, x, y):
        if self.encoder_sharing == "all":
            # Through batch norm's moments, and through nothing else, source images have a part in
            # the gradient of Q_z.
            return on_both(self.source_encoder, x, y)
        return (
            self.source_encoder(x, training=not self.freeze_source),
            self.target_encoder(y, training=True),
        )

    def _decode(self, z_x, z_y):
        """Reconstructions and translations; each branch runs once, on what is needed of it."""
        trunk_x, trunk_y = on_both(self.decoder_trunk, z_x, z_y)
        out = {}
        for domain, letter, own, others in (
            ("source", "x", trunk_x, trunk_y),
            ("target", "y", trunk_y, trunk_x),
        ):
            out |= decoded(
                getattr(self, f"{domain}_branch"),
                {f"identity_{letter}": own} if self._rebuilds(domain) else {},
                {f"fake_{letter}": others} if self._translates_to(domain) else {},
            )
        return out
