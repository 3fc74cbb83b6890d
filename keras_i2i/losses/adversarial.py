"""Adversarial objectives: what a discriminator's scores are asked to be.

An objective turns raw scores into losses for both players. All are interchangeable: a model asks
for `discriminator(real, fake)`, `generator(fake)` and `penalty(...)` and does not know which one it
has. Scores have shape (batch, ...), any real number; every loss has shape (batch,) in float32, one
value per image, averaged over the score map. Dividing by the batch is the model's business.
"""

import math

import keras
from keras import ops

from keras_i2i.errors import InputError
from keras_i2i.losses.penalties import gradient_penalty
from keras_i2i.losses.reduction import per_image


class AdversarialObjective:
    """What every objective offers; see the module's docstring for shapes.

    `boundary` is the score at which a discriminator is undecided. None: scores have no such middle,
    and whether one is right cannot be said. `undecided` is the loss of one that always is, where no
    loss can be below 0. None: losses have no such floor, and how near it a discriminator has come
    cannot be said.
    """

    boundary = 0.0
    undecided = None

    def discriminator(self, real_scores, fake_scores):
        """Loss of the discriminator, per image. The two batches have the same size."""
        raise NotImplementedError

    def generator(self, fake_scores):
        """Loss of whoever made the fakes, per image."""
        raise NotImplementedError

    def penalty(self, discriminator, real, fake, seed):
        """Regularizer of the discriminator, per image; none unless the objective needs one.

        Args:
            discriminator: function from a batch to scores.
            real: (batch, ...), real images or features.
            fake: the same shape, translated images or the other domain's features.
            seed: a `keras.random.SeedGenerator` or an integer.

        Returns:
            (batch,) in float32, or None.
        """
        return None

    def get_config(self):
        """Arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The objective that `get_config` describes."""
        return cls(**config)


@keras.saving.register_keras_serializable("keras_i2i")
class LeastSquares(AdversarialObjective):
    """Least-squares GAN (Mao et al. 2017, equation 9 with b = c = 1, a = 0, without the halves).

        L_D = (D(real) - 1)² + D(fake)²,   L_G = (D(fake) - 1)²

    Both are ≥ 0; a discriminator that knows nothing answers 1/2 and pays 1/2.
    """

    boundary = 0.5
    undecided = 0.5

    def discriminator(self, real_scores, fake_scores):
        """(D(real) - 1)² + D(fake)²."""
        return per_image(ops.square(_float(real_scores) - 1.0)) + per_image(
            ops.square(_float(fake_scores))
        )

    def generator(self, fake_scores):
        """(D(fake) - 1)²."""
        return per_image(ops.square(_float(fake_scores) - 1.0))


@keras.saving.register_keras_serializable("keras_i2i")
class Wasserstein(AdversarialObjective):
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, equation 3).

        L_D = D(fake) - D(real) + λ · (‖∇D(x̂)‖₂ - 1)²,   L_G = -D(fake)

    Unbounded on both sides; -(D(fake) - D(real)) estimates the distance of the distributions. Only
    differences of scores mean something.

    Args:
        penalty_weight: λ ≥ 0. The I2I-Adapt text lost its value; 10 is Gulrajani et al.'s.
    """

    boundary = None

    def __init__(self, penalty_weight=10.0):
        if not penalty_weight >= 0:
            raise InputError(f"penalty_weight must be ≥ 0. Received: {penalty_weight}")
        self.penalty_weight = penalty_weight

    def discriminator(self, real_scores, fake_scores):
        """D(fake) - D(real)."""
        return per_image(_float(fake_scores)) - per_image(_float(real_scores))

    def generator(self, fake_scores):
        """-D(fake)."""
        return -per_image(_float(fake_scores))

    def penalty(self, discriminator, real, fake, seed):
        """λ · (‖∇D(x̂)‖₂ - 1)² at one random point x̂ between each real and each fake."""
        if not self.penalty_weight:
            return None
        return self.penalty_weight * gradient_penalty(discriminator, real, fake, seed)

    def get_config(self):
        """Arguments of the constructor."""
        return {"penalty_weight": self.penalty_weight}


class LogitObjective(AdversarialObjective):
    """What the standard GAN's two forms have in common (Goodfellow et al. 2014, equation 1).

        L_D = -log σ(D(real)) - log(1 - σ(D(fake)))

    Scores are logits: σ(D) is the probability of "real", and -D the logit of the other answer, so
    that negating scores swaps the labels. Computed as softplus, so that no logit overflows. L_D is
    > 0; a discriminator that knows nothing answers 0 and pays 2 log 2.
    """

    undecided = 2 * math.log(2)

    def discriminator(self, real_scores, fake_scores):
        """-log σ(D(real)) - log(1 - σ(D(fake)))."""
        return per_image(ops.softplus(-_float(real_scores))) + per_image(
            ops.softplus(_float(fake_scores))
        )


@keras.saving.register_keras_serializable("keras_i2i")
class NonSaturating(LogitObjective):
    """The standard GAN in its non-saturating form, from logits (Goodfellow et al. 2014, section 3).

        L_G = -log σ(D(fake)),   L_D as in `LogitObjective`

    L_G is > 0, and steepest where the discriminator is sure of a fake.
    """

    def generator(self, fake_scores):
        """-log σ(D(fake))."""
        return per_image(ops.softplus(-_float(fake_scores)))


@keras.saving.register_keras_serializable("keras_i2i")
class Minimax(LogitObjective):
    """The standard GAN as it was first written, from logits (Goodfellow et al. 2014, equation 1).

        L_G = log(1 - σ(D(fake))),   L_D as in `LogitObjective`

    Both players' value is one and the same. L_G is < 0, and flat where the discriminator is sure of
    a fake: there the generator hardly learns, which is why `NonSaturating` is in use.
    """

    def generator(self, fake_scores):
        """log(1 - σ(D(fake)))."""
        return -per_image(ops.softplus(_float(fake_scores)))


OBJECTIVES = {
    "least_squares": LeastSquares,
    "wasserstein": Wasserstein,
    "non_saturating": NonSaturating,
    "minimax": Minimax,
}


def get_objective(objective):
    """The objective that is asked for: an instance as it is, or one by its name in `OBJECTIVES`.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(objective, AdversarialObjective):
        return objective
    if objective not in OBJECTIVES:
        raise InputError(
            f"Unknown adversarial objective {objective!r}. Known are: {', '.join(OBJECTIVES)}; "
            "or pass an AdversarialObjective."
        )
    return OBJECTIVES[objective]()


def _float(scores):
    return ops.cast(scores, "float32")
