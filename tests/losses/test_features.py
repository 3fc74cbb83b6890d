"""The cosine distance: by hand, against finite differences, at zero."""

import numpy as np

from keras_i2i.losses.features import cosine_distance


def test_values_by_hand():
    a = np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
    b = np.array([[4.0, 3.0], [0.0, 7.0], [-5.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(cosine_distance(a, b), [1 - 24 / 25, 1, 2, 0], atol=1e-6)


def test_feature_maps_are_flattened_and_lengths_do_not_count(rng):
    a, b = rng.normal(size=(2, 3, 2, 2, 5))
    cosines = [
        np.vdot(p, q) / np.sqrt(np.vdot(p, p) * np.vdot(q, q)) for p, q in zip(a, b, strict=True)
    ]
    expected = 1 - np.array(cosines)
    np.testing.assert_allclose(cosine_distance(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(cosine_distance(100 * a, 0.01 * b), expected, rtol=1e-5)


def test_its_gradient_is_the_slope(gradients, rng):
    a, b = rng.normal(size=(2, 1, 4))
    in_a, _ = gradients(cosine_distance, a, b)
    step = 1e-2
    slopes = [
        (cosine_distance(a + d, b)[0] - cosine_distance(a - d, b)[0]) / (2 * step)
        for d in step * np.eye(4)
    ]
    np.testing.assert_allclose(in_a[0], slopes, atol=1e-3)


def test_zero_is_orthogonal_to_all_and_its_gradient_finite(gradients):
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    np.testing.assert_allclose(cosine_distance(zero, one), [1.0])
    np.testing.assert_allclose(cosine_distance(zero, zero), [1.0])
    assert all(np.isfinite(g).all() for g in gradients(cosine_distance, zero, one))
