"""The report's pictures: each function draws one figure and saves it as a PNG.

`show` alone gives its figure back: it is for notebooks.

Figures are made through matplotlib's object-oriented interface, so nothing here touches pyplot's
global state or needs a display. Colours stay apart for colour-blind readers (Paul Tol's schemes),
and no figure relies on colour alone: classes also carry their name, domains their marker.
"""

import colorsys
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter
from PIL import Image

from keras_i2i.data.examples import IGNORED
from keras_i2i.data.preprocessing import to_uint8
from keras_i2i.errors import InputError
from keras_i2i.evaluation.metrics import COLLAPSED_DIVERSITY
from keras_i2i.files import replacing

INK, FAINT, GRID = "#22262b", "#6b737c", "#e3e6e9"
BEFORE, AFTER, CEILING, WRONG = "#a9b4c0", "#2f6fb0", "#22262b", "#bb3344"
CLASS_COLOURS = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933",
    "#ddcc77", "#cc6677", "#882255", "#aa4499", "#8c8c8c",
)  # fmt: skip
LINE_COLOURS = ("#2f6fb0", "#cc6677", "#117733", "#ddaa33", "#882255", "#44aa99", "#8c8c8c")
HEALTH = "#117733"

# Pixels that count for nothing: stripes that no class is painted in.
STRIPES = (176, 214)
STRIPE = 5
PANEL_WIDTH, PANEL_GAP = 2.4, 0.1  # inches
TALLEST = 1.4  # height of a panel by its width

# Panels of the training curves that carry a mark.
DISCRIMINATORS, DIVERSITY, MIOU = "discriminator accuracy", "diversity", "mIoU"
HEALTHY = (0.6, 0.8)  # Discriminator accuracy while neither side wins: Basci, section 4.3.

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,  # A class may be called "$5".
    "text.color": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 150,
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Path]:
    """Lets `draw` return a figure under the house style, and saves it at its keyword `path`."""

    @wraps(draw)
    def save(*args, path: str | os.PathLike, **kwargs) -> Path:
        path = Path(path)
        with matplotlib.rc_context(STYLE), replacing(path) as temporary:
            figure = draw(*args, **kwargs)
            figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.12)
        return path

    return save


@_styled
def confusions(matrices: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Confusion matrices side by side, each row as percentages of its class.

    Args:
        matrices: title → counts `(classes, classes)`, label by prediction.
        class_names: one name per class.
        path: where the PNG goes.
    """
    count = len(class_names)
    many = count > 20
    side = 0.22 * count if many else max(3.6, 0.4 * count)
    figure = Figure((len(matrices) * (side + 0.5), side + 0.7), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        _name_ticks(axis.xaxis, class_names, rotate=True)
        _name_ticks(axis.yaxis, class_names)
        axis.tick_params(labelsize=7 if many else 9.5)
        axis.spines[:].set_visible(False)
        # Numbers of a percent or more only: zeros would hide the mistakes among themselves.
        for row, column in () if many else np.argwhere(shares >= 0.01):
            share = shares[row, column]
            colour = "white" if share > 0.55 else INK
            axis.text(column, row, f"{100 * share:.0f}", color=colour, **_CENTRED, fontsize=8)
    return figure


@_styled
def per_class(accuracies: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Accuracy of each class: bars for source only and adapted, a tick for the ceiling.

    Args:
        accuracies: any of "source_only", "adapted", "target_only" → `(classes,)` fractions.
        class_names: one name per class.
        path: where the PNG goes.
    """
    return _class_bars(accuracies, class_names, "Accuracy on target test images, by class")


@_styled
def iou_bars(ious: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Intersection over union of each class, drawn like `per_class`.

    Args:
        ious: any of "source_only", "adapted", "target_only" → `(classes,)` fractions; NaN for a
            class that does not appear.
        class_names: one name per class.
        path: where the PNG goes.
    """
    return _class_bars(ious, class_names, "IoU on target test images, by class")


def _class_bars(
    fractions: Mapping[str, np.ndarray], class_names: Sequence[str], title: str
) -> Figure:
    figure = Figure((max(7.0, 0.38 * len(class_names)), 3.1), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(class_names))
    bars = [name for name in ("source_only", "adapted") if name in fractions]
    looks = {"source_only": ("source only", BEFORE), "adapted": ("adapted", AFTER)}
    width = 0.76 / max(len(bars), 1)
    handles = []
    for number, name in enumerate(bars):
        label, colour = looks[name]
        shift = (number - (len(bars) - 1) / 2) * width
        handles.append(
            axis.bar(places + shift, fractions[name], width * 0.94, color=colour, label=label)
        )
    if "target_only" in fractions:
        ticks = fractions["target_only"]
        handles.append(
            axis.hlines(
                ticks, places - 0.4, places + 0.4, color=CEILING, linewidth=1.6,
                label="trained on target labels",
            )
        )  # fmt: skip
    axis.set_ylim(0, 1)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.grid(axis="y")
    axis.spines[["left", "bottom"]].set_visible(False)
    _name_ticks(axis.xaxis, class_names, rotate=max(map(len, class_names)) > 6)
    axis.set_title(title)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@_styled
def segmentation_panels(
    rows: Sequence[Mapping[str, np.ndarray]],
    class_names: Sequence[str],
    palette: Sequence[tuple[int, int, int]] | None = None,
    title: str = "",
) -> Figure:
    """A row for each image: the image, and classes of its pixels in colour, with a legend.

    The legend names the classes that are shown. Ignored pixels are striped gray.

    Args:
        rows: for each image, name of a column → a uint8 image `(h, w, 1 or 3)`, or the classes of
            its pixels, integers `(h, w)`, where `IGNORED` is none. All have the same columns.
        class_names: one name per class.
        palette: an RGB colour in [0, 255] for each class; None for `class_palette`.
        title: the heading.
        path: where the PNG goes.
    """
    palette = palette or class_palette(len(class_names))
    names = list(rows[0])
    aspects = [min(max(p.shape[0] / p.shape[1] for p in row.values()), TALLEST) for row in rows]
    handles = _class_legend(rows, class_names, palette)
    # Laid out in inches, so that a panel has the pixels that it is drawn with.
    heights = PANEL_WIDTH * np.array(aspects)
    width = PANEL_WIDTH * len(names) + PANEL_GAP * (len(names) - 1)
    longest = max(len(handle.get_label()) for handle in handles)
    lines = -(-len(handles) // max(1, int(width / (0.42 + 0.072 * longest))))
    head, foot = 0.28 + 0.3 * bool(title), 0.2 + 0.21 * lines
    height = head + heights.sum() + PANEL_GAP * (len(rows) - 1) + foot
    figure = Figure((width, height))
    axes = figure.subplots(
        len(rows), len(names), squeeze=False,
        gridspec_kw={
            "left": 0, "right": 1, "top": 1 - head / height, "bottom": foot / height,
            "wspace": PANEL_GAP / PANEL_WIDTH, "hspace": PANEL_GAP / heights.mean(),
            "height_ratios": heights,
        },
    )  # fmt: skip
    if title:
        figure.text(0, 1, title, va="top", weight="bold", fontsize=10.5)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, color=FAINT, fontsize=9, weight="normal", loc="center", pad=5)
    for line_of_axes, row in zip(axes, rows, strict=True):
        for axis, name in zip(line_of_axes, names, strict=True):
            axis.imshow(_panel(row[name], palette), interpolation="nearest")
            axis.set_axis_off()
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, (foot - 0.1) / height),
        ncols=-(-len(handles) // lines), fontsize=8.5, handlelength=1.3, handleheight=1.0,
        columnspacing=1.4, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    return figure


def class_palette(count: int) -> list[tuple[int, int, int]]:
    """RGB colours in [0, 255] for `count` classes that come without any.

    The first ones stay apart for colour-blind readers; further ones go round the circle of hues by
    the golden angle, so that neighbours differ.
    """
    first = [tuple(bytes.fromhex(colour[1:])) for colour in CLASS_COLOURS]
    further = [
        colorsys.hsv_to_rgb(
            number * 0.618034 % 1, (0.75, 0.45)[number % 2], (0.9, 0.65)[number % 3 > 0]
        )
        for number in range(len(first), count)
    ]
    return [*first, *(tuple(round(255 * part) for part in colour) for colour in further)][:count]


def paint(classes: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Classes of pixels as a picture; ignored ones in gray stripes.

    Args:
        classes: integers `(h, w)`, positions in `palette`, or `IGNORED`.
        palette: an RGB colour in [0, 255] for each class.

    Returns:
        uint8 `(h, w, 3)`.
    """
    colours = np.zeros((IGNORED + 1, 3), "uint8")
    colours[: len(palette)] = palette
    painted = colours[classes]
    down, across = np.nonzero(classes == IGNORED)
    painted[down, across] = np.array(STRIPES)[(down + across) // STRIPE % 2, np.newaxis]
    return painted


@_styled
def tsne_maps(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    source_labels: np.ndarray | None,
    target_labels: np.ndarray | None,
    class_names: Sequence[str],
    domain_names: tuple[str, str] = ("source", "target"),
) -> Figure:
    """Maps side by side: colour is the class, circles are source and crosses target.

    Args:
        maps: title → (source points `(n, 2)`, target points `(m, 2)`), as `embeddings.tsne` gives.
        source_labels: integers `(n,)`; None: the domain has a colour of its own instead.
        target_labels: integers `(m,)` or None.
        class_names: one name per class; each is written where the class's source points lie.
        domain_names: what the legend calls the two domains.
        path: where the PNG goes.
    """
    figure = Figure((4.5 * len(maps), 4.9), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    colours = np.array([CLASS_COLOURS[c % len(CLASS_COLOURS)] for c in range(len(class_names))])
    circles, crosses = (
        plain if labels is None else colours[labels]
        for labels, plain in zip((source_labels, target_labels), LINE_COLOURS, strict=False)
    )
    for axis, (title, (source, target)) in zip(axes, maps.items(), strict=True):
        axis.scatter(*source.T, s=13, c=circles, alpha=0.45, linewidths=0)
        axis.scatter(*target.T, s=15, c=crosses, marker="x", alpha=0.9, linewidths=0.9)
        for label in () if source_labels is None else np.unique(source_labels):
            # A median point, unlike a mean, lies within the cluster that most of the class forms.
            centre = np.median(source[source_labels == label], axis=0)
            box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": colours[label], "alpha": 0.85}
            axis.text(*centre, class_names[label], bbox=box, **_CENTRED, fontsize=8, weight="bold")
        axis.set_title(title)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(True)
    handles = [
        Line2D([], [], color=look if isinstance(look, str) else FAINT, marker=marker, linestyle="",
               markersize=5)
        for look, marker in ((circles, "o"), (crosses, "x"))
    ]  # fmt: skip
    figure.legend(handles, domain_names, loc="outside lower center", ncols=2)
    return figure


class ShownFigure(Figure):
    """A figure that any notebook shows: the inline ones of matplotlib would need pyplot."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", bbox_inches="tight", pad_inches=0.12)
        return png.getvalue()


@_styled
def image_grid(
    rows: Mapping[str, np.ndarray],
    column_names: Sequence[str],
    title: str,
    notes: Mapping[str, Sequence[tuple[str, bool]]] | None = None,
    cell: tuple[float, float] = (0.78, 0.78),
) -> Figure:
    """Rows of small images under one heading.

    Args:
        rows: row name → uint8 `(columns, height, width, channels)`; size and channels may differ
            between rows, all images are shown at one size.
        column_names: what stands above each column.
        title: the heading.
        notes: row name → for each image (text below it, whether it is as it should be); a text
            that is not stands out.
        cell: width and height of an image, in inches.
        path: where the PNG goes.
    """
    notes = notes or {}
    columns = len(column_names)
    # Laid out in inches: every image has the same size whatever the number of rows.
    heights = [1.22 if name in notes else 1.0 for name in rows]
    width, height = cell[0] * columns + 1.25, cell[1] * sum(heights) + 0.55
    figure = ShownFigure((width, height))
    grid = {"wspace": 0.06, "hspace": 0.06, "height_ratios": heights}
    edges = {"left": 1.25 / width, "right": 1, "bottom": 0, "top": 1 - 0.55 / height}
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw=grid | edges)
    figure.text(0, 1, title, va="top", weight="bold", fontsize=10.5)
    heading = _fitting(9, column_names, cell[0])
    for axis, name in zip(axes[0], column_names, strict=True):
        axis.set_title(name, color=FAINT, fontsize=heading, weight="normal", loc="center", pad=5)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        row[0].text(-0.15, 0.5, name, transform=row[0].transAxes, ha="right", va="center")
        for number, (axis, image) in enumerate(zip(row, images, strict=True)):
            axis.imshow(_displayed(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_axis_off()
            axis.set_anchor("N")
            if name in notes:
                text, right = notes[name][number]
                look = {"color": FAINT} if right else {"color": WRONG, "weight": "bold"}
                axis.text(
                    0.5, -0.06, text, transform=axis.transAxes, ha="center", va="top",
                    fontsize=_fitting(8, [text for text, _ in notes[name]], cell[0]), **look,
                )  # fmt: skip
    return figure


def show(
    rows: Mapping[str, np.ndarray], titles: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Draws rows of images; as the last line of a notebook's cell it shows them.

        show({"printed": images[:10], "by hand": model.translate(images[:10], "source_to_target")})

    Args:
        rows: what stands beside a row → its images, `(n, height, width, 1 or 3)`: uint8, or
            floating-point in [-1, 1]; arrays or tensors. Rows may differ in size and channels.
        titles: what stands above each of the n columns, such as predictions; None for nothing.
        title: the heading.

    Returns:
        A matplotlib figure, which can also be saved: `show(...).savefig("rows.png")`.

    Raises:
        InputError: rows are of different lengths, empty, or no images.
    """
    pixels = {name: _pixels(name, images) for name, images in rows.items()}
    lengths = {name: len(images) for name, images in pixels.items()}
    if titles is not None:
        lengths["titles"] = len(titles)
    if not pixels or len(set(lengths.values())) > 1 or not min(lengths.values()):
        found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(
            f"Expected rows of equally many images, with a title for each column if there are any. "
            f"Received: {found or 'no rows'}"
        )
    if titles is None:
        titles = [""] * next(iter(lengths.values()))
    with matplotlib.rc_context(STYLE):
        return image_grid.__wrapped__(pixels, [str(text) for text in titles], title)


def _pixels(name: str, images: np.ndarray) -> np.ndarray:
    """Images of [0, 255] or [-1, 1] as uint8."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            f"Expected images (n, height, width, 1 or 3) in row {name!r}. "
            f"Received shape: {images.shape}"
        )
    return images if images.dtype == np.uint8 else to_uint8(images)


def _fitting(size: float, texts: Sequence[str], width: float) -> float:
    """A font size, at most that one, at which each text fits into a width in inches."""
    longest = max(map(len, texts), default=0)
    return min(size, 72 * width / (0.55 * longest)) if longest else size


@_styled
def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Accuracies or mIoU in the first panel, then one small panel per loss, as scales differ a lot.

    Discriminators' accuracies have a panel with the band where neither side wins; the diversity of
    translations has one with the line below which they count as collapsed.

    Args:
        history: one dict per epoch, of at least two, name → value; see `panel_of` for which share
            a panel. `val_x` is drawn with `x`, dashed. A name may be absent from some epochs.
        path: where the PNG goes.
    """
    names = list(dict.fromkeys(name for epoch in history for name in epoch))
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(panel_of(name), []).append(name)
    first = ("accuracy", MIOU, DISCRIMINATORS, DIVERSITY, "loss")
    order = sorted(panels, key=lambda key: first.index(key) if key in first else len(first))
    columns = min(3, len(order))
    lines = -(-len(order) // columns)
    figure = Figure((3.1 * columns + 0.4, 2.15 * lines + 0.3), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flat
    epochs = np.arange(1, len(history) + 1)
    for axis, key in zip(axes, order, strict=False):
        bases = list(dict.fromkeys(name.removeprefix("val_") for name in panels[key]))
        for name in panels[key]:
            values = np.array([epoch.get(name, np.nan) for epoch in history], "float64")
            values[~np.isfinite(values)] = np.nan
            axis.plot(
                epochs, values,
                color=LINE_COLOURS[bases.index(name.removeprefix("val_")) % len(LINE_COLOURS)],
                linestyle="--" if name.startswith("val_") else "-",
                linewidth=1.6, label=_readable(name, within=key),
            )  # fmt: skip
        axis.set_title(_readable(key), fontsize=9.5)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.grid(axis="y")
        axis.spines["left"].set_visible(False)
        axis.margins(x=0.02)
        if key in ("accuracy", MIOU, DISCRIMINATORS):
            axis.set_ylim(0, 1.02)
            axis.yaxis.set_major_formatter(PercentFormatter(1))
            axis.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        if key == DISCRIMINATORS:
            low, high = HEALTHY
            axis.axhspan(
                low, high, color=HEALTH, alpha=0.13, linewidth=0,
                label=f"healthy: {100 * low:.0f}–{100 * high:.0f} %",
            )  # fmt: skip
        if key == DIVERSITY:
            axis.axhline(
                COLLAPSED_DIVERSITY, color=WRONG, linewidth=1, linestyle=":",
                label=f"below {COLLAPSED_DIVERSITY}: collapsed?",
            )  # fmt: skip
            axis.set_ylim(0, max(1.05, axis.get_ylim()[1]))
        if len(panels[key]) > 1 or key in (DISCRIMINATORS, DIVERSITY):
            axis.legend(fontsize=7.5, handlelength=1.6)
    for axis in list(figure.axes)[len(order) :]:
        axis.remove()
    figure.supxlabel("epoch", fontsize=9, color=FAINT)
    return figure


def panel_of(name: str) -> str:
    """Which panel of the training curves a logged value belongs to."""
    if name.startswith("d_") and name.endswith("_accuracy"):
        return DISCRIMINATORS
    if name.startswith(DIVERSITY):
        return DIVERSITY
    if "miou" in name or "mean_iou" in name:
        return MIOU
    return "accuracy" if "acc" in name else name.removeprefix("val_")


_CENTRED = {"ha": "center", "va": "center"}


def _name_ticks(axis: Axis, names: Sequence[str], rotate: bool = False) -> None:
    """Writes class names along an axis, slanted when they would run into each other."""
    slanted = rotate and max(map(len, names)) > 2
    look = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axis.set_ticks(range(len(names)), names, **look)


def _displayed(image: np.ndarray) -> np.ndarray:
    """A grayscale image without its channel axis, as imshow wants it."""
    return image[..., 0] if image.shape[-1] == 1 else image


def _panel(shown: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """An image, or classes, in the resolution of a panel: stripes are of one width on all."""
    is_image = shown.ndim == 3
    picture = Image.fromarray(
        _displayed(shown).astype("uint8") if is_image else shown.astype("uint8")
    )
    scale = PANEL_WIDTH * STYLE["savefig.dpi"] / picture.width
    scale = min(scale, TALLEST * PANEL_WIDTH * STYLE["savefig.dpi"] / picture.height)
    size = [max(1, round(scale * side)) for side in picture.size]
    smooth = is_image and scale < 1
    picture = picture.resize(
        size, Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    )
    return np.asarray(picture.convert("RGB")) if is_image else paint(np.asarray(picture), palette)


def _class_legend(
    rows: Sequence[Mapping[str, np.ndarray]],
    class_names: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> list[Patch]:
    """A patch for each class that is shown, and one for ignored pixels if there are any."""
    maps = [shown for row in rows for shown in row.values() if shown.ndim == 2]
    present = set().union(*(np.flatnonzero(np.bincount(shown.ravel())) for shown in maps))
    handles = [
        Patch(facecolor=np.array(palette[number]) / 255, edgecolor=GRID, label=name)
        for number, name in enumerate(class_names)
        if number in present
    ]
    if IGNORED in present:
        dark, light = (str(gray / 255) for gray in STRIPES)
        handles.append(Patch(facecolor=light, edgecolor=dark, hatch="////", label="not counted"))
    return handles


def _readable(name: str, within: str = "") -> str:
    """`val_target_accuracy` → "target accuracy (validation)"; shorter within a panel that says."""
    words = name.removeprefix("val_").replace("_", " ").replace("miou", MIOU)
    if within == DISCRIMINATORS:
        words = words.removeprefix("d ").removesuffix(" accuracy")
    return f"{words} (validation)" if name.startswith("val_") else words
