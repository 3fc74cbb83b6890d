"""Intersection over union against a count with sets of pixels."""

import keras
import numpy as np
import pytest

from keras_i2i.models.iou import IntersectionOverUnion


def by_sets(masks, read, k):
    counted = np.argwhere(masks != 255)
    truth = {tuple(at) for at in counted if masks[tuple(at)] == k}
    said = {tuple(at) for at in counted if read[tuple(at)] == k}
    return len(truth & said) / len(truth | said) if truth | said else np.nan


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)
    masks = rng.choice([0, 1, 2, 255], (2, 3, 5, 4)).astype("uint8")  # never class 3
    logits = rng.normal(size=(2, 3, 5, 4, 5)).astype("float32")
    logits[..., 4] = -9.0  # nor class 4, which is not read either
    return masks, logits


def test_it_counts_all_pixels_of_all_batches_but_ignored_ones(batches):
    masks, logits = batches
    metric = IntersectionOverUnion(5)
    for batch in zip(masks, logits, strict=True):
        metric.update_state(*batch)
    expected = [by_sets(masks, logits.argmax(-1), k) for k in range(5)]
    assert expected[3] == 0.0 and np.isnan(expected[4])
    np.testing.assert_allclose(metric.per_class(), expected, rtol=1e-6)
    assert float(metric.result()) == pytest.approx(np.nanmean(expected))


def test_nothing_of_it_depends_on_where_logits_of_ignored_pixels_are(batches):
    masks, logits = batches
    metric, other = IntersectionOverUnion(5), IntersectionOverUnion(5)
    metric.update_state(masks[0], logits[0])
    other.update_state(masks[0], np.where((masks[0] == 255)[..., None], 7.0, logits[0]))
    np.testing.assert_array_equal(metric.per_class(), other.per_class())


def test_it_is_made_again_from_its_config():
    metric = keras.metrics.deserialize(keras.metrics.serialize(IntersectionOverUnion(3)))
    assert isinstance(metric, IntersectionOverUnion)
    assert (metric.name, metric.num_classes, metric.ignore_class) == ("mean_iou", 3, 255)
