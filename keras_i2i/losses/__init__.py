"""Losses: pure functions and objectives, each an equation with its paper, one value per image."""

from keras_i2i.losses.adversarial import (
    OBJECTIVES,
    AdversarialObjective,
    LeastSquares,
    LogitObjective,
    Minimax,
    NonSaturating,
    Wasserstein,
    get_objective,
)
from keras_i2i.losses.penalties import gradient_penalty, information_maximization, total_variation
from keras_i2i.losses.reconstruction import PIXEL_LOSSES, get_pixel_loss, l1, l2, ms_ssim
from keras_i2i.losses.reduction import per_image

__all__ = [
    "OBJECTIVES",
    "PIXEL_LOSSES",
    "AdversarialObjective",
    "LeastSquares",
    "LogitObjective",
    "Minimax",
    "NonSaturating",
    "Wasserstein",
    "get_objective",
    "get_pixel_loss",
    "gradient_penalty",
    "information_maximization",
    "l1",
    "l2",
    "ms_ssim",
    "per_image",
    "total_variation",
]
