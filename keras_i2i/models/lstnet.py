"""LSTNet: translation through a latent space that a discriminator keeps common.

M. Friedjungová, D. Vašata, T. Chobola and M. Jiřina, "Unsupervised Latent Space Translation
Network", ESANN 2020.

Unpaired images x₁ ∈ X₁ (source) and x₂ ∈ X₂ (target), which may differ in size. Encoders
E_i = E_s ∘ E_i* lead to one latent space, generators G_i = G_i* ∘ G_s out of it, E_s and G_s being
shared. Encoders and generators minimize, and the discriminators D_1, D_2 and D_l maximize,

    J = w₁ J_AN1 + w₂ J_AN2 + w_l J_ANl + w₃ J_CC1 + w₄ J_CC2 + w₅ J_CC3 + w₆ J_CC4    (equation 1)

    J_AN1 = log D_1(x₁) + log(1 - D_1(G_1(E_2(x₂))))             translation_to_source   w₁ = 20
    J_AN2 = log D_2(x₂) + log(1 - D_2(G_2(E_1(x₁))))             translation_to_target   w₂ = 20
    J_ANl = log D_l(E_1(x₁)) + log(1 - D_l(E_2(x₂)))             latent                  w_l = 30
    J_CC1 = ‖x₁ - G_1(E_1(x₁))‖₁                                 identity_source         w₃ = 100
    J_CC2 = ‖x₂ - G_2(E_2(x₂))‖₁                                 identity_target         w₄ = 100
    J_CC3 = ‖x₁ - G_1(E_2(G_2(E_1(x₁))))‖₁                       cycle_source            w₅ = 100
    J_CC4 = ‖x₂ - G_2(E_1(G_1(E_2(x₂))))‖₁                       cycle_target            w₆ = 100

    symbol      variable                            symbol      variable
    x₁, x₂      batch["source"], batch["target"]    G_s         decoder_trunk
    E_1*, E_2*  source_entry, target_entry          G_1*, G_2*  source_branch, target_branch
    E_s         encoder_trunk                       D_1, D_2    discriminators["source"], ["target"]
    w           loss_weights                        D_l         discriminators["latent"]

Norms are means over pixels and channels ("given by MAE"); each D is σ of a discriminator's logit.
Two things are as the field has them and not as printed:

- Generators play the usual, non-saturating form of their part of J_AN, with flipped labels:
  -log D(fake). `compile(objective="minimax")` plays the part as printed. Of J_ANl both parts depend
  on encoders, so the latents of both domains move, each towards the other's label.
- w₁, w₂ and w_l do not weigh the discriminators' losses. Each discriminator has parameters of its
  own, and Adam's step does not depend on the scale of a loss.

No labels are used; the second step, a classifier that reads translations, is `models.translated`'s.
"""

import keras

from keras_i2i import losses
from keras_i2i.errors import InputError
from keras_i2i.models.adversarial import AdversarialModel, checked_weights
from keras_i2i.models.image_model import DOMAINS
from keras_i2i.models.passes import decoded, moving_averages_kept, on_both
from keras_i2i.networks import lstnet as networks

WEIGHTS = {
    "translation_to_source": 20.0,
    "translation_to_target": 20.0,
    "latent": 30.0,
    "identity_source": 100.0,
    "identity_target": 100.0,
    "cycle_source": 100.0,
    "cycle_target": 100.0,
}
TERMS = tuple(WEIGHTS)


@keras.saving.register_keras_serializable("keras_i2i")
class LSTNet(AdversarialModel):
    """LSTNet; see the module's docstring for the equations.

    `fit` takes a `tf.data.Dataset` of `({"source": x₁, "target": x₂}, labels)` with images
    (batch, H, W, C) in [-1, 1], both domains' batches of one size. The labels may be missing; they
    are not looked at. `model(images)` gives translations of *source* images.

    Args:
        image_shape: (H, W, C) of source images.
        target_shape: that of target images; None: the same. Which sizes fit each other,
            `networks.lstnet_columns` says.
        loss_weights: dict, term of `TERMS` → w ≥ 0; missing means 0. A term without weight is not
            computed; discriminators and generators that only it needs are not built. Default:
            `WEIGHTS`, the paper's.
        width: factor on the encoders' and generators' numbers of filters.
        discriminator_width: the discriminators'.
        **kwargs: `name`, `dtype`, as in `keras.Model`.

    Raises:
        InputError: an argument is not one of the above.
    """

    TERMS = TERMS

    def __init__(
        self,
        image_shape=(28, 28, 1),
        target_shape=(16, 16, 1),
        loss_weights=None,
        width=1.0,
        discriminator_width=1.0,
        **kwargs,
    ):
        super().__init__(image_shape, target_shape, **kwargs)
        self.loss_weights = checked_weights(loss_weights, self.TERMS, WEIGHTS)
        self._widths = {"width": width, "discriminator_width": discriminator_width}
        with self.own_dtype_policy():
            self._build_networks(width, discriminator_width)
        self.built = True

    def _build_networks(self, width, discriminator_width):
        pair = networks.lstnet_columns(self.image_shape, self.target_shape)
        columns = dict(zip(DOMAINS, pair, strict=True))
        for domain, column in columns.items():
            entry = networks.lstnet_entry(
                self.image_shape_of(domain), column, width, f"{domain}_entry"
            )
            setattr(self, f"{domain}_entry", entry)
        self.encoder_trunk = networks.lstnet_encoder_trunk(entry.output_shape[1:], width)
        latent_shape = self.encoder_trunk.output_shape[1:]

        self.decoder_trunk = self.source_branch = self.target_branch = None
        if any(self.loss_weights[term] for term in TERMS if term != "latent"):
            self.decoder_trunk = networks.lstnet_decoder_trunk(latent_shape, width)
            trunk_shape = self.decoder_trunk.output_shape[1:]
            for domain, column in columns.items():
                if self._rebuilds(domain) or self._translates_to(domain):
                    channels = self.image_shape_of(domain)[-1]
                    branch = networks.lstnet_branch(
                        trunk_shape, channels, column, width, f"{domain}_branch"
                    )
                    setattr(self, f"{domain}_branch", branch)

        self.discriminators = {}
        for domain, column in columns.items():
            if self.loss_weights[f"translation_to_{domain}"]:
                self.discriminators[domain] = networks.lstnet_discriminator(
                    self.image_shape_of(domain),
                    column,
                    discriminator_width,
                    f"{domain}_discriminator",
                )
        if self.loss_weights["latent"]:
            self.discriminators["latent"] = networks.lstnet_latent_discriminator(
                latent_shape, discriminator_width
            )

    def compile(
        self,
        optimizer="adam",
        discriminator_optimizer="adam",
        objective="non_saturating",
        pixel_loss="l1",
        **kwargs,
    ):
        """Gives the model its optimizers and objectives.

        Args:
            optimizer: that of encoders and generators. The paper's are Adam with a rate of 1e-4 and
                β = (0.8, 0.999), for both players.
            discriminator_optimizer: that of the discriminators.
            objective: of all three games: "non_saturating", "minimax" (the paper's equations), or a
                `LogitObjective`. The latent game has to swap labels, which other scores cannot.
            pixel_loss: of identities and cycles, a name of `losses.PIXEL_LOSSES`.
            **kwargs: see `AdversarialModel.compile`.

        Raises:
            InputError: unknown choices, or an objective that is not of logits.
        """
        self.objective = losses.get_objective(objective)
        if not isinstance(self.objective, losses.LogitObjective):
            raise InputError(
                "LSTNet's latent game swaps labels by negating logits, so its objective must be "
                f"one of logits: non_saturating or minimax. Received: {objective!r}"
            )
        losses.get_pixel_loss(pixel_loss)
        self.pixel_loss = pixel_loss
        super().compile(optimizer, discriminator_optimizer, **kwargs)

    def forward(self, batch):
        """Latents of both domains, and all images that a term needs made of them.

        Returns:
            A dict with, for each domain, `latent_<domain>`, `identity_<domain>`, `fake_<domain>`
            (the other domain's images as this one's) and `cycle_<domain>`.
        """
        out = {}
        out["latent_source"], out["latent_target"] = self._encode(batch["source"], batch["target"])
        if self.decoder_trunk is None:
            return out
        of_source, of_target = on_both(
            self.decoder_trunk, out["latent_source"], out["latent_target"]
        )
        for domain, own, others in (
            ("source", of_source, of_target),
            ("target", of_target, of_source),
        ):
            out |= decoded(
                getattr(self, f"{domain}_branch"),
                {f"identity_{domain}": own} if self._rebuilds(domain) else {},
                {f"fake_{domain}": others} if self._translates_to(domain) else {},
            )
        if self._cycles():
            with self._moving_averages_kept():
                latents = self._encode(out["fake_source"], out["fake_target"])
                of_fake_source, of_fake_target = on_both(self.decoder_trunk, *latents)
                # A translation to the target came from the source, and there it returns.
                if self.loss_weights["cycle_source"]:
                    out["cycle_source"] = self.source_branch(of_fake_target, training=True)
                if self.loss_weights["cycle_target"]:
                    out["cycle_target"] = self.target_branch(of_fake_source, training=True)
        return out

    def generator_losses(self, batch, outputs):
        """The encoders' and generators' parts of J, those with a weight."""
        fooling, d = self.objective.generator, self.discriminators
        pixel_loss = losses.get_pixel_loss(self.pixel_loss)
        terms = {}
        for domain in DOMAINS:
            if domain in d:
                terms[f"translation_to_{domain}"] = fooling(d[domain](outputs[f"fake_{domain}"]))
            for name in (f"identity_{domain}", f"cycle_{domain}"):
                if self.loss_weights[name]:
                    terms[name] = pixel_loss(batch[domain], outputs[name])
        if "latent" in d:
            # To D_l, source latents are what is real and target latents what is fake. Both encoders
            # play against it: E_2 wants its fakes taken for real, E_1 the reverse. Negating a logit
            # swaps the labels, 1 - σ(s) = σ(-s), so E_1's loss is that of fakes with the logit -s.
            terms["latent"] = fooling(d["latent"](outputs["latent_target"])) + fooling(
                -d["latent"](outputs["latent_source"])
            )
        return {name: terms[name] for name in TERMS if name in terms}

    def discriminator_losses(self, batch, outputs):
        """-J_AN1, -J_AN2 and -J_ANl."""
        pairs = {
            "source": (batch["source"], outputs.get("fake_source")),
            "target": (batch["target"], outputs.get("fake_target")),
            "latent": (outputs["latent_source"], outputs["latent_target"]),
        }
        terms = {}
        for name, discriminator in self.discriminators.items():
            real, fake = pairs[name]
            terms[name] = self.objective.discriminator(*on_both(discriminator, real, fake))
            penalty = self.objective.penalty(discriminator, real, fake, self.seed_generator)
            if penalty is not None:
                terms[name] += penalty
        return terms

    @property
    def undecided(self):
        """The same of all three games."""
        level = self.objective.undecided
        return {} if level is None else dict.fromkeys(self.discriminators, level)

    def encoder_of(self, domain):
        """E_1 or E_2: a function from images to latents (batch, L, L, D)."""
        self.check_domain(domain)
        entry = getattr(self, f"{domain}_entry")
        return lambda images: self.encoder_trunk(entry(images))

    def mapping(self, origin, destination):
        """The origin's encoder, then the destination's generator."""
        encoder, branch = self.encoder_of(origin), getattr(self, f"{destination}_branch")
        return branch and (lambda images: branch(self.decoder_trunk(encoder(images))))

    def get_config(self):
        """Arguments of the constructor."""
        config = super().get_config()
        return {**config, "loss_weights": dict(self.loss_weights), **self._widths}

    def get_compile_config(self):
        """Arguments of `compile`, so that a loaded model is compiled."""
        config = super().get_compile_config()
        return config and {
            **config,
            "objective": keras.saving.serialize_keras_object(self.objective),
            "pixel_loss": self.pixel_loss,
        }

    def _cycles(self):
        return self.loss_weights["cycle_source"] or self.loss_weights["cycle_target"]

    def _rebuilds(self, domain):
        return self.loss_weights[f"identity_{domain}"]

    def _translates_to(self, domain):
        # One cycle needs one translation only. It still gets both, and is normalized as in company.
        return self.loss_weights[f"translation_to_{domain}"] or self._cycles()

    def _moving_averages_kept(self):
        return moving_averages_kept(
            self.source_entry,
            self.target_entry,
            self.encoder_trunk,
            self.decoder_trunk,
            self.source_branch,
            self.target_branch,
        )

    def _encode(self, source, target):
        return on_both(
            self.encoder_trunk,
            self.source_entry(source, training=True),
            self.target_entry(target, training=True),
        )
