import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from keras_i2i.data.examples import IGNORED
from keras_i2i.errors import InputError
from keras_i2i.evaluation import metrics


def upsampled_digits(side=32):
    factor = side // 8
    images = np.repeat(np.repeat(load_digits().images[:300], factor, 1), factor, 2)
    return (images[..., None] * (255 / 16)).astype("uint8")


def with_lattice(images, period, strength, offset=0):
    spotted = images.astype("float64")
    spotted[:, offset::period, offset::period] += strength
    return spotted


def test_accuracies_by_hand():
    labels, predictions = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    assert metrics.accuracy(labels, predictions) == pytest.approx(3 / 5)
    np.testing.assert_array_equal(
        metrics.confusion(labels, predictions, 3), [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    )
    np.testing.assert_allclose(
        metrics.per_class_accuracy(labels, predictions, 3), [1 / 2, 2 / 3, np.nan]
    )


def test_iou_by_hand():
    mask = np.array([[0, 0, 1, IGNORED], [1, 2, 2, IGNORED]], "uint8")
    predictions = np.array([[0, 1, 1, 0], [1, 1, 2, 3]])
    counts = metrics.pixel_confusion(mask, predictions, 5)
    np.testing.assert_array_equal(counts[:3, :3], [[1, 1, 0], [0, 2, 0], [0, 1, 1]])
    assert counts.sum() == 6, "the last two pixels do not count"
    np.testing.assert_allclose(metrics.iou(counts), [1 / 2, 2 / 4, 1 / 2, np.nan, np.nan])
    assert metrics.mean_iou(counts) == pytest.approx(1 / 2)
    assert metrics.pixel_accuracy(counts) == pytest.approx(4 / 6)


def test_iou_of_many_images_agrees_with_sets_and_with_keras():
    rng = np.random.default_rng(0)
    counts, of_keras = 0, keras.metrics.MeanIoU(6, ignore_class=IGNORED, sparse_y_pred=False)
    true, said = ([set() for _ in range(6)] for _ in range(2))
    for number in range(4):
        mask = rng.integers(0, 5, (9, 7 + number)).astype("uint8")
        mask[rng.random(mask.shape) < 0.2] = IGNORED
        logits = rng.normal(size=(*mask.shape, 6)) + 2 * np.eye(6)[np.minimum(mask, 5)]
        predictions = logits.argmax(axis=-1)
        counts = counts + metrics.pixel_confusion(mask, predictions, 6)
        of_keras.update_state(mask, logits)
        for place in zip(*np.nonzero(mask != IGNORED), strict=True):
            true[mask[place]].add((number, *place))
            said[predictions[place]].add((number, *place))
    expected = [len(t & s) / len(t | s) for t, s in zip(true, said, strict=True)]
    np.testing.assert_allclose(metrics.iou(counts), expected)
    assert metrics.mean_iou(counts) == pytest.approx(np.mean(expected))
    assert metrics.mean_iou(counts) == pytest.approx(float(of_keras.result()), rel=1e-6)


def test_iou_without_a_counted_pixel_is_unknown():
    counts = metrics.pixel_confusion(np.full((2, 2), IGNORED), np.zeros((2, 2), int), 3)
    assert np.isnan(metrics.iou(counts)).all()
    assert np.isnan(metrics.mean_iou(counts)) and np.isnan(metrics.pixel_accuracy(counts))


def test_a_class_that_has_no_name_is_named():
    with pytest.raises(InputError, match="class 3, but there are 3"):
        metrics.pixel_confusion(np.array([[3]]), np.array([[0]]), 3)


def test_checkerboard_by_hand():
    """A pure lattice is all lines; half its contrast in another frequency halves the share."""
    spots = with_lattice(np.zeros((1, 16, 16, 1)), period=4, strength=1.0)
    assert metrics.checkerboard(spots) == pytest.approx(1.0)

    columns = np.arange(16)
    line = np.cos(2 * np.pi * 4 * columns / 16)  # Period 4: a line, of power 1/2.
    other = np.cos(2 * np.pi * 1 * columns / 16)  # One wave: no line, of power 1/2.
    image = np.broadcast_to(line + other, (1, 16, 16))[..., None]
    assert metrics.checkerboard(image) == pytest.approx(0.5)


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("offset", [0, 1])
def test_checkerboard_finds_a_lattice_and_nothing_in_digits(period, offset):
    digits = upsampled_digits()
    plain = metrics.checkerboard(digits)
    values = [
        metrics.checkerboard(with_lattice(digits, period, strength, offset))
        for strength in (20, 40, 80)
    ]
    assert plain < 1e-3
    assert plain < values[0] < values[1] < values[2]
    assert values[2] > 10 * plain and values[2] > 0.01


def test_checkerboard_finds_hardly_anything_in_photographs():
    """Borders that do not match draw a cross through the spectrum."""
    photographs = np.stack(
        [
            photograph[top : top + 32, left : left + 32]
            for photograph in load_sample_images().images
            for top in range(0, 390, 39)
            for left in range(0, 600, 60)
        ]
    )
    assert metrics.checkerboard(photographs) < 5e-3


def test_checkerboard_does_not_depend_on_scale_and_brightness():
    spotted = with_lattice(upsampled_digits(), 4, 60)
    expected = metrics.checkerboard(spotted)
    assert metrics.checkerboard(spotted / 127.5 - 1) == pytest.approx(expected, rel=1e-4)


def test_checkerboard_has_an_answer_for_odd_small_and_empty_images():
    assert metrics.checkerboard(np.full((2, 16, 16, 3), 7, "uint8")) == 0.0
    assert np.isnan(metrics.checkerboard(np.zeros((2, 8, 8, 1))))
    assert 0 <= metrics.checkerboard(np.random.default_rng(0).normal(size=(3, 29, 15, 3))) <= 1


def test_diversity_is_the_deviation_within_a_class():
    images = np.zeros((4, 2, 2, 1))
    images[0], images[1] = 1.0, -1.0  # Class 0 varies with variance 1, class 1 not at all.
    assert metrics.diversity(images, np.array([0, 0, 1, 1])) == pytest.approx(np.sqrt(0.5))
    assert metrics.diversity(images[2:], np.array([0, 1])) == 0.0
    assert metrics.diversity(images[:2]) == 1.0, "without labels all are of one class"


def test_nearest_neighbours_agree_with_all_distances():
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(5, 4, 4, 1)), rng.normal(size=(9, 4, 4, 1))
    indices, distances = metrics.nearest_neighbours(queries, references, count=2)
    every = np.linalg.norm((queries[:, None] - references[None]).reshape(5, 9, -1), axis=-1)
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1)[:, :2])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :2])


def test_keeps_class_names_the_classes_that_are_permuted():
    labels = np.repeat(np.arange(4), 10)
    read_as = labels.copy()
    read_as[labels == 2] = 3
    read_as[labels == 3] = 2
    read_as[[0, 1, 2, 3, 4]] = 1  # Half of class 0: not most of it.
    reading = metrics.keeps_class(labels, read_as, num_classes=5)
    assert reading.accuracy == pytest.approx(15 / 40)
    assert reading.matrix.sum() == 40
    assert reading.permuted == [(2, 3, 1.0), (3, 2, 1.0)]


def test_keeps_class_forgives_scattered_mistakes():
    labels = np.zeros(10, int)
    assert metrics.keeps_class(labels, np.arange(10) % 5, num_classes=5).permuted == []
