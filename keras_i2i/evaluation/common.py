"""What the evaluations of both tasks share: figures, translations, and what both may warn of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_i2i.data.preprocessing import to_uint8
from keras_i2i.evaluation import figures, metrics

DIRECTIONS = {"source_to_target": ("source", "target"), "target_to_source": ("target", "source")}
STAGES = {"source_only": "Before: source only", "adapted": "After: adapted"}

# A lattice of 1 % of the contrast is about where an eye notices it.
VISIBLE_LATTICE = 0.01


@dataclass(kw_only=True)
class Drawing:
    """One seed's figures: each is drawn under a name of its own, and it is noted where.

    Attributes:
        out_dir: the run's folder.
        domain_names: what figures call source and target.
        suffix: what file names end in.
        figures: name → path relative to `out_dir`, of those drawn so far.
    """

    out_dir: Path
    domain_names: tuple[str, str]
    suffix: str
    figures: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, function: Callable[..., Path], *args, **kwargs) -> None:
        """Draws a figure under a name of its own."""
        path = self.out_dir / "figures" / f"{name}{self.suffix}.png"
        function(*args, path=path, **kwargs)
        self.figures[name] = path.relative_to(self.out_dir).as_posix()

    def draw_training(self, history: Sequence[Mapping[str, float]] | None) -> list[str]:
        """Draws the training curves, if they are any, and returns what they show."""
        clocks = {"epoch", "step", "steps", "seconds", "learning_rate", "warnings"}
        curves = [
            {key: epoch[key] for key in epoch if key not in clocks} for epoch in history or []
        ]
        names = list(dict.fromkeys(name for epoch in curves for name in epoch))
        if len(curves) > 1 and names:  # One epoch is a point, not a curve.
            self.draw("training", figures.training_curves, curves)
        return names

    def way(self, direction: str) -> str:
        """A direction of translation, in the domains' names."""
        return " → ".join(self.domain_names[:: 1 if direction == "source_to_target" else -1])


def readable_names(domain_names: Sequence[str]) -> tuple[str, ...]:
    """Domains' names, fit to stand before "images"."""
    return tuple(name.replace("_", " ") for name in domain_names)


def readers_of(models: Mapping[str, Any]) -> dict[str, Any]:
    """The models that classify, images or pixels; "translator" never counts as one."""
    return {
        name: model
        for name, model in models.items()
        if name != "translator" and getattr(model, "can_classify", True)
    }


def other_name(readers: Mapping[str, Any]) -> str | None:
    """The name under which the adapted model is there a second time."""
    baselines = ("source_only", "adapted", "target_only")
    for name, model in readers.items():
        if name not in baselines and model is readers.get("adapted"):
            return name
    return None


def translator_of(models: Mapping[str, Any]) -> Any:
    """The model whose translations are shown, if one translates."""
    for name in ("translator", "adapted", "joint"):
        if getattr(models.get(name), "directions", ()):
            return models[name]
    return None


def in_range(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] even from a model that diverged, so that it still gets its report."""
    return np.clip(np.nan_to_num(images), -1, 1)


def translation_quality(
    translated: np.ndarray,
    real: np.ndarray,
    labels: np.ndarray | None = None,
    real_labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Lattice and diversity of translations, each beside that of real images.

    Args:
        translated: (n, H, W, C) in [-1, 1].
        real: (m, H, W, C), of the domain translated to.
        labels: integers (n,), classes of what was translated.
        real_labels: integers (m,).
    """
    # Compared are like with like: images of one class on both sides, or all images on both.
    within_class = labels is not None and real_labels is not None
    return {
        "checkerboard": metrics.checkerboard(translated),
        "checkerboard_real": metrics.checkerboard(real),
        "diversity": metrics.diversity(translated, labels if within_class else None),
        "diversity_real": metrics.diversity(real, real_labels if within_class else None),
        "within_class": within_class,
    }


def translation_rows(
    translator: Any, direction: str, images: np.ndarray, translated: np.ndarray
) -> dict[str, np.ndarray]:
    """What the figure of a translation shows: row name → uint8 images, as far as there are ways."""
    origin, destination = DIRECTIONS[direction]
    rows = {"input": images, "translated": translated}
    if translator.can_reconstruct(origin):
        rows["reconstructed"] = translator.reconstruct(images, domain=origin)
    way_back = f"{destination}_to_{origin}"
    if way_back in translator.directions:
        rows["and back"] = translator.translate(translated, way_back)
    return {name: to_uint8(in_range(row)) for name, row in rows.items()}


def warn_of_divergence(
    scores: Mapping[str, Mapping[str, Any]], adapted_is: str | None
) -> list[str]:
    """A sentence for each model with outputs that are not finite."""
    return [
        f"The {name.replace('_', ' ')} model's outputs are not all finite numbers: its training "
        "diverged."
        for name, score in scores.items()
        if not score["finite"] and name != adapted_is
    ]


def warn_of_translation(measured: Mapping[str, Any], way: str) -> list[str]:
    """Sentences on a lattice or a collapse in what `translation_quality` measured.

    Args:
        measured: of one direction.
        way: "from … to …".
    """
    found = []
    if measured["checkerboard"] > measured["checkerboard_real"] + VISIBLE_LATTICE:
        found.append(
            f"Translations {way} carry a regular lattice of spots: it makes up "
            f"{percent(measured['checkerboard'])} of their contrast, "
            f"{percent(measured['checkerboard_real'])} in real images."
        )
    if measured["diversity"] < metrics.COLLAPSED_DIVERSITY * measured["diversity_real"]:
        among = "within a class they" if measured["within_class"] else "they"
        found.append(
            f"Translations {way} resemble each other: {among} differ "
            f"{percent(measured['diversity'] / measured['diversity_real'])} as much as real "
            "images do. The translator may have collapsed onto a few outputs."
        )
    return found


def percent(fraction: float) -> str:
    """A fraction in per cent."""
    return f"{100 * fraction:.1f} %"
