import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.data.augmentation import Augmentation
from keras_i2i.data.batches import evaluation_batches, labelled_batches, unpaired_batches
from keras_i2i.data.domain import Examples
from keras_i2i.data.preprocessing import to_uint8
from keras_i2i.errors import InputError

SHAPE = (2, 2, 1)
AUGMENTATION = Augmentation(rotation=20, scale=0.2, translation=0.2)


def numbered(n, *, labels=True, first=0):
    """Images filled with their own number, which is also their label."""
    numbers = np.arange(first, first + n)
    images = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (n, *SHAPE)).copy()
    return Examples(images, numbers.astype(np.int64) if labels else None)


def noise(n, *, labels=True, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), np.uint8)
    return Examples(images, np.arange(n) if labels else None)


def steps(dataset, n):
    return list(itertools.islice(dataset.as_numpy_iterator(), n))


def numbers(images):
    return to_uint8(images)[:, 0, 0, 0].astype(int)


def pairs(source=None, target=None, **settings):
    settings = {"batch_size": 4, "image_shape": SHAPE, "seed": 0, **settings}
    source = numbered(10) if source is None else source
    target = numbered(7, labels=False) if target is None else target
    return unpaired_batches(source, target, **settings)


def assert_same(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 25])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 17])
def test_each_pass_shows_every_image_once(n, batch_size):
    passes = 4
    dataset = labelled_batches(numbered(n), batch_size=batch_size, image_shape=SHAPE, seed=3)
    shown = [labels for _, labels in steps(dataset, -(-n * passes // batch_size))]
    for one_pass in np.concatenate(shown)[: n * passes].reshape(passes, n):
        np.testing.assert_array_equal(np.sort(one_pass), np.arange(n))


def test_orders_are_those_of_a_good_shuffle():
    n, passes = 10, 1000
    dataset = labelled_batches(numbered(n), batch_size=n, image_shape=SHAPE, seed=0)
    orders = np.stack([labels for _, labels in steps(dataset, passes)])
    # 1,000 draws out of 3,628,800 orders: none, or hardly one, comes twice.
    assert len({tuple(order) for order in orders}) >= passes - 2
    # Every image is equally often at every place: 100 times, standard deviation 9.5.
    places = np.array([np.bincount(orders[:, place], minlength=n) for place in range(n)])
    assert np.abs(places - passes / n).max() < 5 * 9.5
    following = np.mean(np.diff(orders, axis=1) == 1)
    assert following == pytest.approx(1 / n, abs=0.02)
    one_after_another = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(orders)]
    assert abs(np.mean(one_after_another)) < 0.05


def test_large_sets_are_permuted_too():
    n = 2**16 + 5
    images = np.zeros((n, 1, 1, 1), np.uint8)
    dataset = labelled_batches(
        Examples(images, np.arange(n)), batch_size=n, image_shape=(1, 1, 1), seed=0
    )
    (_, first), (_, second) = steps(dataset, 2)
    np.testing.assert_array_equal(np.sort(first), np.arange(n))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first, np.arange(n))[0, 1]) < 0.02


def test_images_go_with_their_labels():
    for images, labels in steps(
        labelled_batches(numbered(9), batch_size=4, image_shape=SHAPE, seed=0), 6
    ):
        np.testing.assert_array_equal(numbers(images), labels)
    for inputs, labels in steps(pairs(), 6):
        np.testing.assert_array_equal(numbers(inputs["source"]), labels)


def test_same_seed_same_batches_other_seed_others():
    settings = {"augmentation": AUGMENTATION, "source": noise(10)}
    first = steps(pairs(**settings), 5)
    tf.random.set_seed(7)
    assert_same(first, steps(pairs(**settings), 5))
    other = steps(pairs(**settings, seed=1), 5)
    assert any((a[1] != b[1]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("k", [1, 2, 5, 1000])
def test_first_step_is_where_another_run_left(k):
    settings = {"augmentation": AUGMENTATION, "source": noise(10), "labelled_target": numbered(3)}
    resumed = steps(pairs(**settings, first_step=k), 3)
    assert_same(resumed, steps(pairs(**settings).skip(k), 3))


def test_augmentation_is_new_at_every_step_and_in_each_domain():
    one = noise(1)
    settings = {"batch_size": 1, "image_shape": (8, 8, 1), "seed": 0, "augmentation": AUGMENTATION}
    shown = steps(unpaired_batches(one, one.without_labels(), **settings), 5)
    pictures = [inputs[domain].tobytes() for inputs, _ in shown for domain in ("source", "target")]
    assert len(set(pictures)) == 10


def test_domains_are_shuffled_independently():
    same = numbered(50)
    inputs, labels = zip(*steps(pairs(same, same.without_labels(), batch_size=50), 20), strict=True)
    targets = [numbers(i["target"]) for i in inputs]
    together = [np.corrcoef(s, t)[0, 1] for s, t in zip(labels, targets, strict=True)]
    assert abs(np.mean(together)) < 0.12


def test_another_target_does_not_change_the_source():
    settings = {"source": noise(10), "augmentation": AUGMENTATION}
    for (one, labels), (other, other_labels) in zip(
        steps(pairs(target=noise(7, labels=False), **settings), 6),
        steps(pairs(target=noise(23, labels=False, seed=1), **settings), 6),
        strict=True,
    ):
        np.testing.assert_array_equal(one["source"], other["source"])
        np.testing.assert_array_equal(labels, other_labels)


def test_source_only_training_sees_the_same_source():
    settings = {"batch_size": 4, "image_shape": SHAPE, "seed": 5, "augmentation": AUGMENTATION}
    alone = labelled_batches(noise(10), **settings)
    paired = unpaired_batches(noise(10), numbered(7, labels=False), **settings)
    for (images, labels), (inputs, paired_labels) in zip(
        steps(alone, 5), steps(paired, 5), strict=True
    ):
        np.testing.assert_array_equal(images, inputs["source"])
        np.testing.assert_array_equal(labels, paired_labels)


def test_target_labels_are_refused():
    with pytest.raises(InputError, match=r"target examples with labels.*load_unlabelled"):
        pairs(target=numbered(7))


def test_target_labels_change_nothing():
    target = noise(7)
    relabelled = Examples(target.images, target.labels[::-1].copy())
    assert_same(
        steps(pairs(target=target.without_labels()), 6),
        steps(pairs(target=relabelled.without_labels()), 6),
    )


def test_shapes_are_static_and_the_set_endless():
    few = numbered(3)
    dataset = pairs(noise(10), batch_size=4, image_shape=(5, 6, 3), labelled_target=few)
    inputs, labels = dataset.element_spec
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert (labels.shape, labels.dtype) == ((4,), tf.int64)
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in inputs.items()}
    assert shapes == {
        "source": ([4, 5, 6, 3], tf.float32),
        "target": ([4, 5, 6, 3], tf.float32),
        "target_labelled": ([3, 5, 6, 3], tf.float32),
        "target_labels": ([3], tf.int64),
    }
    assert set(pairs().element_spec[0]) == {"source", "target"}


def test_target_of_its_own_shape():
    few = numbered(3)
    settings = {"source": noise(10), "image_shape": (8, 8, 1), "augmentation": AUGMENTATION}
    dataset = pairs(target_shape=(5, 6, 3), labelled_target=few, **settings)
    inputs, _ = dataset.element_spec
    shapes = {name: spec.shape.as_list() for name, spec in inputs.items()}
    assert shapes == {
        "source": [4, 8, 8, 1],
        "target": [4, 5, 6, 3],
        "target_labelled": [3, 5, 6, 3],
        "target_labels": [3],
    }
    # The source is as it is without, and the target as where both have its shape.
    source_shaped = steps(pairs(labelled_target=few, **settings), 3)
    settings["image_shape"] = (5, 6, 3)
    target_shaped = steps(pairs(labelled_target=few, **settings), 3)
    for (inputs, labels), source, target in zip(
        steps(dataset, 3), source_shaped, target_shaped, strict=True
    ):
        assert_same((inputs["source"], labels), (source[0]["source"], source[1]))
        for name in ("target", "target_labelled", "target_labels"):
            np.testing.assert_array_equal(inputs[name], target[0][name])


def test_labelled_target():
    few = numbered(6, first=100)
    for inputs, _ in steps(pairs(labelled_target=few), 9):
        assert inputs["target_labels"].shape == (4,)
        np.testing.assert_array_equal(numbers(inputs["target_labelled"]), inputs["target_labels"])
    # The unlabelled streams are as they are without.
    for (one, labels), (other, other_labels) in zip(
        steps(pairs(labelled_target=few), 3), steps(pairs(), 3), strict=True
    ):
        np.testing.assert_array_equal(one["source"], other["source"])
        np.testing.assert_array_equal(one["target"], other["target"])
        np.testing.assert_array_equal(labels, other_labels)


def test_values_stay_in_range():
    for inputs, _ in steps(pairs(noise(10), image_shape=(9, 9, 3), augmentation=AUGMENTATION), 4):
        for images in inputs.values():
            assert images.dtype == np.float32 and np.abs(images).max() <= 1 + 1e-5


def test_evaluation_shows_everything_once_in_order():
    examples = numbered(10)
    batches = list(
        evaluation_batches(examples, batch_size=4, image_shape=SHAPE).as_numpy_iterator()
    )
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), np.arange(10))
    np.testing.assert_array_equal(
        np.concatenate([numbers(images) for images, _ in batches]), np.arange(10)
    )
    dataset = evaluation_batches(examples.without_labels(), batch_size=4, image_shape=(5, 5, 3))
    assert dataset.element_spec.shape.as_list() == [None, 5, 5, 3]
    assert sum(len(images) for images in dataset.as_numpy_iterator()) == 10


def test_streams_can_be_shared_out_over_replicas():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    ((inputs, labels),) = itertools.islice(strategy.experimental_distribute_dataset(pairs()), 1)
    ((expected_inputs, expected_labels),) = steps(pairs(), 1)
    assert_same((inputs, labels), (expected_inputs, expected_labels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": numbered(5, labels=False)}, "source examples without labels"),
        ({"labelled_target": numbered(5, labels=False)}, "labelled target examples without"),
        ({"batch_size": 0}, "Got batch_size 0; expected at least 1"),
        ({"seed": -1}, "Got seed -1; expected at least 0"),
        ({"first_step": -1}, "Got first_step -1"),
        ({"target": Examples(np.zeros((0, 2, 2, 1), np.uint8), None)}, "Got number_of_images 0"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(InputError, match=message):
        pairs(**settings)


def test_mistakes_elsewhere():
    with pytest.raises(InputError, match="training examples without labels"):
        labelled_batches(numbered(5, labels=False), batch_size=1, image_shape=SHAPE, seed=0)
    with pytest.raises(InputError, match="Got batch_size 0"):
        evaluation_batches(numbered(5), batch_size=0, image_shape=SHAPE)
