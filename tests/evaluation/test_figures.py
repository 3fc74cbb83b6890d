import io
import pathlib

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image

from keras_i2i.data.examples import IGNORED
from keras_i2i.errors import InputError
from keras_i2i.evaluation import figures

DIGITS = [str(label) for label in range(10)]
OFFICE = [f"some long class {number}" for number in range(31)]
rng = np.random.default_rng(0)


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def looks_drawn(path):
    drawn = pixels(path)
    assert drawn.shape[0] > 150 and drawn.shape[1] > 300
    assert drawn.std() > 5
    assert (drawn[0] == 255).all() and (drawn[-1] == 255).all(), "something is cut off"


@pytest.mark.parametrize("names", [["cat", "dog"], DIGITS, OFFICE])
@pytest.mark.parametrize("titles", [["Before"], ["Before", "After"]])
def test_confusions(names, titles, tmp_path):
    matrices = {title: rng.integers(0, 50, (len(names), len(names))) for title in titles}
    matrices[titles[0]][0] = 0  # A class without test images.
    looks_drawn(figures.confusions(matrices, names, path=tmp_path / "a" / "confusion.png"))


@pytest.mark.parametrize("present", [["source_only"], ["source_only", "adapted", "target_only"]])
@pytest.mark.parametrize("names", [DIGITS, OFFICE])
def test_per_class(names, present, tmp_path):
    accuracies = {name: rng.uniform(size=len(names)) for name in present}
    accuracies["source_only"][1] = np.nan
    looks_drawn(figures.per_class(accuracies, names, path=tmp_path / "bars.png"))


def test_iou_bars_without_a_class(tmp_path):
    ious = {"adapted": np.array([0.5, np.nan, 0.2])}
    looks_drawn(figures.iou_bars(ious, ["road", "ghost", "sky"], path=tmp_path / "bars.png"))


def test_segmentation_panels_show_classes_in_their_colours(tmp_path):
    """Half of a square is one class, a quarter another, a quarter does not count."""
    classes = np.full((8, 8), 2, "uint8")
    classes[4:, :4], classes[4:, 4:] = 1, IGNORED
    palette = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    image = np.full((64, 64, 1), 10, "uint8")
    drawn = pixels(
        figures.segmentation_panels(
            [{"image": image, "mask": classes}] * 2, "abc", palette, "seen", path=tmp_path / "a.png"
        )
    )
    side = figures.PANEL_WIDTH * 150
    shares = [
        (drawn == colour).all(axis=-1).sum() / (2 * side**2)
        for colour in ([10] * 3, *palette, [figures.STRIPES[0]] * 3, [figures.STRIPES[1]] * 3)
    ]
    # The legend adds a little, but no patch for the class that is not shown.
    np.testing.assert_allclose(shares, [1, 0, 1 / 4, 1 / 2, 1 / 8, 1 / 8], atol=0.01)
    assert shares[1] == 0


def test_segmentation_panels_of_images_of_many_sizes(tmp_path):
    sizes = [(30, 40), (400, 900), (90, 20)]
    rows = [
        {"image": np.zeros((*size, 3), "uint8"), "adapted": rng.integers(0, 31, size)}
        for size in sizes
    ]
    looks_drawn(figures.segmentation_panels(rows, OFFICE, path=tmp_path / "panels.png"))


@pytest.mark.parametrize("count", [2, 19, 150])
def test_palettes_tell_classes_apart(count):
    palette = figures.class_palette(count)
    assert len(set(palette)) == count and np.array(palette).dtype == int
    assert all(len(colour) == 3 and 0 <= min(colour) <= max(colour) <= 255 for colour in palette)


def test_tsne_maps(tmp_path):
    maps = {title: (rng.normal(size=(30, 2)), rng.normal(size=(20, 2))) for title in "ab"}
    labels = np.arange(30) % 31, np.arange(20) % 31
    looks_drawn(figures.tsne_maps(maps, *labels, OFFICE, path=tmp_path / "tsne.png"))


@pytest.mark.parametrize("labels", [(np.arange(30) % 3, None), (None, None)])
def test_tsne_maps_of_unlabelled_domains_tell_them_by_colour(labels, tmp_path):
    maps = {"a": (rng.normal(size=(30, 2)), rng.normal(size=(20, 2)))}
    names = DIGITS if labels[0] is not None else ()
    drawn = pixels(figures.tsne_maps(maps, *labels, names, path=tmp_path / "tsne.png"))
    blue, red = (
        [int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in ("#2f6fb0", "#cc6677")
    )
    assert np.abs(drawn.astype(int) - red).sum(axis=-1).min() < 60
    assert (np.abs(drawn.astype(int) - blue).sum(axis=-1).min() < 60) == (labels[0] is None)


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_shows_the_images(channels, tmp_path):
    """An image that is all bright next to one that is all dark, whatever its own range."""
    dark, bright = (np.full((1, 8, 8, channels), value, "uint8") for value in (0, 255))
    rows = {"input": np.concatenate([dark, bright]), "translated": np.concatenate([bright, dark])}
    notes = {"translated": [("read as 0", True), ("read as 3", False)]}
    path = figures.image_grid(rows, "01", "a → b", notes, path=tmp_path / "grid.png")
    drawn = pixels(path)
    black = (drawn == 0).all(axis=-1)
    # Two of four equal squares are black, the other two are as white as the page.
    assert 2 * 100**2 < black.sum() < 2 * 120**2
    red = (drawn[..., 0] > 150) & (drawn[..., 1] < 100)
    assert red.sum() > 20, "the wrong reading should stand out"


def test_image_grid_shows_all_rows_at_one_size(tmp_path):
    """Black rows of different sizes and channels cover the same area."""
    shapes = [(28, 28, 1), (16, 16, 1), (40, 40, 3)]
    rows = {str(shape): np.zeros((2, *shape), "uint8") for shape in shapes}
    drawn = pixels(figures.image_grid(rows, ["", ""], "a → b", path=tmp_path / "grid.png"))
    black = (drawn == 0).all(axis=-1)
    across = np.flatnonzero(black.sum(axis=1) > 150)
    heights = [len(part) for part in np.split(across, np.flatnonzero(np.diff(across) > 1) + 1)]
    assert len(heights) == 3 and max(heights) - min(heights) <= 1
    widths = black[across].sum(axis=1)
    assert widths.max() - widths.min() <= 4


def test_the_balance_of_players_and_the_collapse_are_marked(tmp_path):
    names = ("d_source_accuracy", "d_target_accuracy", "d_source", "diversity", "accuracy")
    assert [figures.panel_of(name) for name in names] == [
        figures.DISCRIMINATORS, figures.DISCRIMINATORS, "d_source", figures.DIVERSITY, "accuracy",
    ]  # fmt: skip

    def colours(**values):
        history = [values, values]
        drawn = pixels(figures.training_curves(history, path=tmp_path / "curves.png")).astype(int)
        green = (drawn[..., 1] > drawn[..., 0] + 8) & (drawn[..., 1] > drawn[..., 2] + 5)
        red = drawn[..., 0] > drawn[..., 1] + 60
        return green.sum(), red.sum()

    green, red = colours(d_source_accuracy=0.7)
    assert green > 5000 and red < 100
    green, red = colours(diversity=0.9)
    assert green < 100 and red > 300
    assert colours(accuracy=0.7) == (0, 0)


def test_mious_share_a_panel():
    names = ("target_test_miou", "source_validation_miou", "val_mean_iou")
    assert {figures.panel_of(name) for name in names} == {figures.MIOU}


def test_training_curves_with_gaps_and_divergence(tmp_path):
    history = [{"loss": 1.0, "d_loss": -3.0, "accuracy": 0.1, "val_loss": 2.0} for _ in range(4)]
    history[1] = {"loss": float("nan"), "d_loss": float("inf")}
    looks_drawn(figures.training_curves(history, path=tmp_path / "curves.png"))


def test_a_loss_that_is_never_finite_still_has_its_panel(tmp_path):
    history = [{"loss": float("nan"), "accuracy": 0.1}] * 3
    looks_drawn(figures.training_curves(history, path=tmp_path / "curves.png"))


def test_a_figure_that_fails_halfway_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "loss.png"
    path.write_bytes(b"before")

    def fail(figure, path, **options):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError("no room")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="no room"):
        figures.training_curves([{"loss": 2.0}, {"loss": 1.0}], path=path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("loss.png", b"before")]


def test_matplotlib_is_left_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    figures.per_class({"adapted": np.ones(10)}, DIGITS, path=tmp_path / "bars.png")
    assert dict(matplotlib.rcParams) == before


class TestShow:
    """Rows of images in a notebook."""

    def test_rows_of_any_size_and_kind(self):
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (3, 8, 8, 1), np.uint8)
        large = tf.constant(rng.uniform(-1, 1, (3, 16, 16, 3)), tf.float32)
        figure = figures.show({"small": small, "large": large}, titles=[7, "b", "c"], title="Both")
        shown = [axis.images[0].get_array() for axis in figure.axes]
        np.testing.assert_array_equal(shown[1], small[1, ..., 0])
        np.testing.assert_allclose(shown[5] / 127.5 - 1, large[2], atol=0.004)
        assert [axis.get_title() for axis in figure.axes[:3]] == ["7", "b", "c"]
        assert figure.texts[0].get_text() == "Both"
        with Image.open(io.BytesIO(figure._repr_png_())) as png:
            assert png.format == "PNG" and png.width > png.height / 2

    def test_it_leaves_matplotlibs_settings_alone(self):
        before = dict(matplotlib.rcParams)
        figures.show({"row": np.zeros((1, 4, 4, 1), np.uint8)})._repr_png_()
        assert dict(matplotlib.rcParams) == before

    @pytest.mark.parametrize(
        ("rows", "titles", "message"),
        [
            ({}, None, "Received: no rows"),
            ({"a": np.zeros((2, 4, 4, 1)), "b": np.zeros((3, 4, 4, 1))}, None, "a: 2, b: 3"),
            ({"a": np.zeros((2, 4, 4, 1))}, ["x"], "a: 2, titles: 1"),
            ({"a": np.zeros((0, 4, 4, 1))}, None, "a: 0"),
            ({"a": np.zeros((4, 4, 1))}, None, r"row 'a'. Received shape: \(4, 4, 1\)"),
        ],
    )
    def test_rows_that_do_not_fit_are_named(self, rows, titles, message):
        with pytest.raises(InputError, match=message):
            figures.show(rows, titles)
