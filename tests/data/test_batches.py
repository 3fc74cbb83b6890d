import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.data.augmentation import Augmentation
from keras_i2i.data.batches import (
    Share,
    evaluation_batches,
    in_memory,
    input_errors,
    labelled_batches,
    unpaired_batches,
)
from keras_i2i.data.examples import (
    IGNORED,
    Examples,
    Reader,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.data.geometry import Geometry
from keras_i2i.data.preprocessing import preprocess, to_uint8
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


def stored(images, labels=None, masks=None, unreadable=(), limit=10, warn=lambda line: None):
    """A list of images, each of its own size, with labels or with a list of masks."""

    def image(position):
        if position in unreadable:
            raise UnreadableError(f"{position}.jpg: broken")
        return images[position]

    reader = Reader(
        image=image,
        channels=images[0].shape[-1],
        unreadable=Unreadable(limit, "fakes", warn),
        labels=labels,
        image_and_mask=None if masks is None else lambda i: (image(i), masks[i]),
    )
    labelled = labels is not None or masks is not None
    return StoredExamples(reader, np.arange(len(images)), labelled)


def numbered_stored(n, **settings):
    """Images filled with their own number, which is also their label, of n sizes."""
    images = [np.full((3 + i % 4, 2 + i % 3, 1), i, np.uint8) for i in range(n)]
    return stored(images, labels=np.arange(n), **settings)


def scenes(n, seed=0):
    """Images of many sizes that are red on the left of an edge, green above, and their masks.

    Returns:
        Images uint8 (h, w, 3) and masks uint8 (h, w) of the classes 0 to 3: 1 is red, 2 is green.
    """
    random = np.random.default_rng(seed)
    images, masks = [], []
    for height, width in random.integers(40, 90, (n, 2)):
        row, column = random.integers(10, 30, 2)
        mask = np.zeros((height, width), np.uint8)
        mask[:, :column] += 1
        mask[:row] += 2
        images.append(np.stack([mask % 2, mask // 2, 0 * mask], axis=-1) * np.uint8(255))
        masks.append(mask)
    return images, masks


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


@pytest.mark.parametrize("k", [1, 2, 5, 100])
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


def test_the_order_is_what_it_always_was():
    """Or older runs could not be resumed."""
    expected = [[4, 3, 0, 1], [2, 3, 2, 1], [4, 0, 2, 3], [1, 0, 4, 2], [0, 4, 1, 3]]
    for examples in (numbered(5), numbered_stored(5)):
        dataset = labelled_batches(examples, batch_size=4, image_shape=SHAPE, seed=3)
        assert [labels.tolist() for _, labels in steps(dataset, 5)] == expected


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_stored_images_are_shown_once_in_each_pass(batch_size):
    n, passes = 7, 2
    dataset = labelled_batches(numbered_stored(n), batch_size=batch_size, image_shape=SHAPE, seed=3)
    shown = steps(dataset, -(-n * passes // batch_size))
    images, labels = (np.concatenate(parts)[: n * passes] for parts in zip(*shown, strict=True))
    assert images.shape[1:] == SHAPE and images.dtype == np.float32 and labels.dtype == np.int64
    np.testing.assert_array_equal(numbers(images), labels)
    for one_pass in labels.reshape(passes, n):
        np.testing.assert_array_equal(np.sort(one_pass), np.arange(n))


def test_stored_images_are_seen_as_those_in_memory():
    source, target = noise(10), noise(7, seed=1)
    settings = {"augmentation": AUGMENTATION, "image_shape": (5, 6, 3)}
    expected = pairs(source, target.without_labels(), labelled_target=target[:3], **settings)
    source, target = (stored(list(e.images), e.labels) for e in (source, target))
    given = pairs(source, target.without_labels(), labelled_target=target[:3], **settings)
    assert given.element_spec == expected.element_spec
    assert given.cardinality() == tf.data.INFINITE_CARDINALITY
    for one, other in zip(steps(given, 4), steps(expected, 4), strict=True):
        assert_close(one, other)


def assert_close(one, other):
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


@pytest.mark.parametrize("masks", [False, True])
def test_a_geometry_treats_all_alike_in_memory_or_not(masks):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 12, 14, 3), np.uint8)
    labels = random.integers(0, 9, (5, 12, 14)).astype(np.uint8) if masks else np.arange(5)
    settings = {"batch_size": 4, "image_shape": (6, 6, 3), "seed": 2}
    settings |= {"geometry": Geometry(crop_size=8), "augmentation": AUGMENTATION}
    kind = {"masks" if masks else "labels": labels}
    given = labelled_batches(stored(list(images), **kind), **settings)
    expected = labelled_batches(Examples(images, labels), **settings)
    for one, other in zip(steps(given, 4), steps(expected, 4), strict=True):
        assert_close(one, other)


def test_re_derivation_of_a_batch():
    images, masks = scenes(5)
    seed, stream, batch_size, step, shape = 11, 0, 4, 6, (16, 20, 3)
    geometry = Geometry(load_size=40, crop_size=24)
    augmentation = Augmentation(rotation=10, flip=0.5, levels=0.3)
    dataset = labelled_batches(
        stored(images, masks=masks),
        batch_size=batch_size,
        image_shape=shape,
        seed=seed,
        geometry=geometry,
        augmentation=augmentation,
        first_step=step,
    )
    order = labelled_batches(
        numbered(5), batch_size=batch_size, image_shape=SHAPE, seed=seed, first_step=step
    )
    ((_, shown),) = steps(order, 1)
    keys = np.random.SeedSequence([seed, stream]).generate_state(4).astype(np.int64)
    seen = [
        geometry.for_training(images[i], masks[i], shape, (keys[3], step * batch_size + j))
        for j, i in enumerate(shown)
    ]
    expected = augmentation(
        tf.stack([image for image, _ in seen]), (keys[2], step), tf.stack([m for _, m in seen])
    )
    ((given_images, given_masks),) = steps(dataset, 1)
    np.testing.assert_allclose(given_images, expected[0], atol=1e-4)
    assert (given_masks == expected[1].numpy()).mean() > 0.999  # up to rounding where pixels tie
    assert given_masks.dtype == np.uint8


@pytest.mark.parametrize("k", [1, 30])
def test_first_step_is_where_another_run_left_stored_images(k):
    images, masks = scenes(5)
    settings = {
        "source": stored(images, masks=masks, unreadable=(1,)),
        "target": stored(images[::-1]),
        "labelled_target": stored(images, masks=masks)[:2],
        "image_shape": (8, 8, 3),
        "augmentation": Augmentation(rotation=10, flip=0.5),
        "geometry": Geometry(load_size=40, crop_size=24, fit="crop"),
    }
    resumed = steps(pairs(**settings, first_step=k), 3)
    assert_same(resumed, steps(pairs(**settings).skip(k), 3))


def test_each_image_is_cut_anew_whatever_the_batch_size():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 1), np.uint8)
    settings = {"image_shape": (8, 8, 1), "seed": 0, "geometry": Geometry(crop_size=8)}
    examples = stored([image], labels=np.zeros(1, np.int64))
    cuts = [
        np.concatenate([images for images, _ in steps(dataset, 12 // batch_size)])
        for batch_size in (1, 4)
        for dataset in [labelled_batches(examples, batch_size=batch_size, **settings)]
    ]
    np.testing.assert_array_equal(*cuts)
    assert len({cut.tobytes() for cut in cuts[0]}) > 9  # of 169 places


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(),
        Geometry(fit="crop"),
        Geometry(crop_size=32),
        Geometry(load_size=50, crop_size=37, fit="crop"),
    ],
)
def test_masks_go_with_their_images_through_everything(geometry):
    images, masks = scenes(6)
    dataset = labelled_batches(
        stored(images, masks=masks),
        batch_size=8,
        image_shape=(48, 48, 3),
        seed=0,
        geometry=geometry,
        augmentation=Augmentation(rotation=25, scale=0.2, translation=0.1, flip=0.5),
    )
    seen, seen_masks = (np.concatenate(part) for part in zip(*steps(dataset, 4), strict=True))
    assert seen_masks.shape == seen.shape[:3] and seen_masks.dtype == np.uint8
    inside = seen_masks != IGNORED
    assert 0.6 < inside.mean() < 1  # the map reaches beyond images
    assert set(np.unique(seen_masks)) == {0, 1, 2, 3, IGNORED}
    colors = (seen[..., 0] > 0) + 2 * (seen[..., 1] > 0)
    # Where a color is pure there is no edge: there the mask says what the image shows ...
    pure = inside & (np.abs(seen[..., :2]) > 0.98).all(axis=-1)
    np.testing.assert_array_equal(seen_masks[pure], colors[pure])
    # ... and elsewhere too, all but where both halves weigh the same.
    clear = inside & (np.abs(seen[..., :2]) > 0.5).all(axis=-1)
    assert (seen_masks[clear] == colors[clear]).mean() > 0.999
    assert clear.sum() > 0.9 * inside.sum()


def test_an_unreadable_image_is_replaced_by_the_next():
    lines = []
    examples = numbered_stored(6, unreadable=(2, 3), warn=lines.append)
    dataset = labelled_batches(examples, batch_size=6, image_shape=SHAPE, seed=0)
    for images, labels in steps(dataset, 3):
        assert sorted(labels) == [0, 1, 4, 4, 4, 5]
        np.testing.assert_array_equal(numbers(images), labels)
    assert sorted(line.split()[-2] for line in lines) == ["2.jpg:", "3.jpg:"]


@pytest.fixture
def spoiled():
    examples = numbered_stored(8, unreadable=(1, 2, 5), limit=2)
    return labelled_batches(examples, batch_size=4, image_shape=SHAPE, seed=0)


def test_too_many_unreadable_images(spoiled):
    message = r"(?s)^fakes: 3 images cannot be read.*\n.*\.jpg: broken.*\nRepair or remove"
    with pytest.raises(InputError, match=message) as caught, input_errors():
        steps(spoiled, 3)
    assert "Traceback" not in str(caught.value)


def test_too_many_unreadable_images_in_fit(spoiled):
    model = keras.Sequential([keras.layers.Input(SHAPE), keras.layers.Flatten()])
    model.add(keras.layers.Dense(8))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(InputError, match=r"^fakes: 3 images cannot be read"), input_errors():
        model.fit(spoiled, steps_per_epoch=5, shuffle=False, verbose=0)


def test_other_errors_of_tensorflow_stay_what_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError), input_errors():
        tf.debugging.assert_equal(tf.data.Dataset.range(3).take(1).get_single_element(), 5)
        tf.raw_ops.Reshape(tensor=[1, 2], shape=[3])


def test_a_process_ends_while_its_pipeline_reads():
    """The pipeline is alive to the very end, and in the middle of reading."""
    code = """
import time
import numpy as np
from keras_i2i.data.batches import labelled_batches
from keras_i2i.data.examples import Reader, StoredExamples, Unreadable

def image(position):
    time.sleep(0.2)
    return np.zeros((4, 4, 1), np.uint8)

reader = Reader(image, 1, Unreadable(0, "fakes"), labels=np.zeros(9, np.int64))
examples = StoredExamples(reader, np.arange(9))
batches = iter(labelled_batches(examples, batch_size=2, image_shape=(4, 4, 1), seed=0))
next(batches)
print("one batch")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    assert done.stdout == "one batch\n"


def test_no_fit_waits_at_its_end_for_tensorflows_tuning():
    for batches in (
        unpaired_batches(
            noise(8), noise(8, labels=False), batch_size=4, image_shape=(8, 8, 1), seed=0
        ),
        labelled_batches(noise(8), batch_size=4, image_shape=(8, 8, 1), seed=0),
        evaluation_batches(noise(8), batch_size=4, image_shape=(8, 8, 1)),
    ):
        assert batches.options().autotune.enabled is False


def test_masks_of_the_target_are_refused():
    images, masks = scenes(2)
    for target in (stored(images, masks=masks), numbered_stored(3)):
        with pytest.raises(InputError, match=r"target examples with labels.*load_unlabelled"):
            pairs(target=target)
    pairs(target=stored(images, masks=masks).without_labels())


def test_in_memory_is_what_a_test_sees():
    images, _ = scenes(5)
    labels, geometry = np.arange(5), Geometry(load_size=30, crop_size=20)
    examples = stored(images, labels, unreadable=(0, 3))
    read = in_memory(examples, (10, 12, 3), geometry)
    np.testing.assert_array_equal(read.labels, [1, 2, 4])
    for i, image in zip(read.labels, read.images, strict=True):
        expected = to_uint8(geometry.for_test(images[i], (10, 12, 3))).numpy()
        np.testing.assert_allclose(image, expected.astype(int), atol=1)  # ties of rounding
    assert len(examples.reader.unreadable.errors) == 2
    assert in_memory(examples.without_labels(), (10, 12, 3)).labels is None


def test_in_memory_of_images_in_memory():
    examples = noise(5)
    read = in_memory(examples, (8, 8, 1))
    np.testing.assert_array_equal(read.images, examples.images)
    np.testing.assert_array_equal(read.labels, examples.labels)
    read = in_memory(examples, (5, 6, 3))
    expected = to_uint8(preprocess(examples.images, (5, 6, 3)))
    np.testing.assert_array_equal(read.images, expected)


def test_in_memory_drops_masks():
    images, masks = scenes(3)
    read = in_memory(stored(images, masks=masks), (10, 12, 3))
    assert read.labels is None and read.images.shape == (3, 10, 12, 3)
    same = np.zeros((2, 4, 4, 1), np.uint8)
    assert in_memory(Examples(same, same[..., 0]), (4, 4, 1)).labels is None


def test_in_memory_of_too_many_unreadable_ones():
    with pytest.raises(InputError, match=r"^fakes: 3 images cannot be read"):
        in_memory(numbered_stored(8, unreadable=(1, 2, 5), limit=2), SHAPE)


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


@pytest.mark.parametrize("masks", [False, True])
def test_replicas_share_a_batch(masks, two_replicas):
    images, seen = scenes(3)
    settings = {"source": noise(10), "augmentation": AUGMENTATION}
    if masks:
        settings |= {"source": stored(images, masks=seen), "geometry": Geometry(crop_size=24)}
    settings |= {"image_shape": (8, 8, 3), "target": stored(images)}
    expected = steps(pairs(**settings), 3)
    distributed = two_replicas.experimental_distribute_dataset(pairs(**settings))
    for batch, whole in zip(distributed, expected, strict=False):
        parts = two_replicas.experimental_local_results(batch)
        assert len(parts) == 2
        halves = [tf.nest.flatten(part) for part in parts]
        for first, second, both in zip(*halves, tf.nest.flatten(whole), strict=True):
            assert len(first) == len(second) == 2
            np.testing.assert_array_equal(np.concatenate([first, second]), both)


@pytest.mark.parametrize("kind", ["in memory", "stored", "masks"])
def test_the_shares_of_all_pipelines_are_the_whole_batches(kind):
    """Two pipelines, of which each feeds two replicas: images, labels, what is drawn for them."""
    images, seen = scenes(3)
    settings = {
        "source": noise(10),
        "target": noise(7, seed=1).without_labels(),
        "labelled_target": noise(9, seed=2),
        "batch_size": 8,
        "first_step": 5,
        "augmentation": Augmentation(
            rotation=20, translation=0.2, pixels=1, levels=1, invert=0.5, flip=0.5
        ),
    }
    if kind == "masks":
        source, few = (stored(images * n, masks=seen * n) for n in (1, 3))
        settings |= {"source": source, "labelled_target": few, "geometry": Geometry(crop_size=24)}
    if kind != "in memory":
        settings |= {"target": stored(images), "image_shape": (8, 8, 3)}
    if kind == "stored":
        settings |= {"source": stored(images * 4, labels=np.arange(12))}
        settings |= {"labelled_target": stored(images * 3, labels=np.arange(9))}
    expected = steps(pairs(**settings), 3)
    shares = [Share(first, 2, 4) for first in (0, 2)]
    first, second = (steps(pairs(**settings, share=share), 6) for share in shares)
    for step, whole in enumerate(expected):
        parts = [*first[2 * step : 2 * step + 2], *second[2 * step : 2 * step + 2]]
        # But for rounding: a cosine of four numbers is computed by other instructions than of one.
        assert_close(tf.nest.map_structure(lambda *p: np.concatenate(p), *parts), whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 6, "share": Share(0, 4, 4)}, "6 images, which 4 replicas cannot share"),
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
    with pytest.raises(InputError, match=r"Got stored examples.*in_memory"):
        evaluation_batches(numbered_stored(5), batch_size=2, image_shape=SHAPE)
