"""The history of fakes: what is shown, what is kept, and that it comes again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.models.history_pool import HistoryPool

SHAPE = (2, 3, 1)


def numbered(start, size):
    """Images that are told apart by their one value: start, start + 1, ..."""
    values = np.arange(start, start + size, dtype="float32")
    return np.broadcast_to(values[:, None, None, None], (size, *SHAPE)).copy()


def numbers(images):
    images = np.asarray(images)
    assert images.shape[1:] == SHAPE
    assert np.array_equal(images, np.broadcast_to(images[:, :1, :1], images.shape))
    return images[:, 0, 0, 0].astype(int).tolist()


def kept(pool):
    return numbers(pool.images)[: int(keras.ops.convert_to_numpy(pool.filled))]


def run(pool, steps, size=4, start=1):
    """What was given, shown, kept before and kept after, at each step; numbers never come twice."""
    record = []
    for step in range(steps):
        fresh, before = start + step * size + np.arange(size), kept(pool)
        shown = numbers(pool(numbered(fresh[0], size)))
        record.append((fresh.tolist(), shown, before, kept(pool)))
    return record


@pytest.fixture
def full():
    """A pool of 8, full of the images 1 to 8."""
    pool = HistoryPool(8, SHAPE, seed=0)
    run(pool, 2)
    return pool


def test_while_it_fills_it_shows_what_it_is_given_and_keeps_all_in_order():
    pool = HistoryPool(8, SHAPE, seed=0)
    assert kept(pool) == []
    for fresh, shown, before, after in run(pool, 2):
        assert shown == fresh
        assert after == before + fresh
    assert kept(pool) == list(range(1, 9))


def test_each_shown_image_is_the_fresh_one_or_one_from_before(full):
    for fresh, shown, before, after in run(full, 50, start=9):
        swapped = [i for i in range(4) if shown[i] != fresh[i]]
        assert all(shown[i] in before for i in swapped)
        # Kept are those that took another's place, where it was; nothing else has changed.
        assert len(after) == len(before) == 8 and len(set(after)) == 8
        for place in range(8):
            if after[place] != before[place]:
                assert any(after[place] == fresh[i] and shown[i] == before[place] for i in swapped)
        # Two that want one place both see who was there, and one of them stays.
        assert set(before) - set(after) == {shown[i] for i in swapped}
        assert len(set(after) - set(before)) == len({shown[i] for i in swapped})


def test_about_half_are_old_and_every_place_has_its_turn(full):
    old, places = [], set()
    for fresh, shown, before, _ in run(full, 100, start=9):
        old += [a != b for a, b in zip(fresh, shown, strict=True)]
        places |= {before.index(number) for number in shown if number in before}
    assert abs(np.mean(old) - 0.5) < 4.5 * 0.5 / np.sqrt(400)
    assert places == set(range(8))


def test_the_batch_that_fills_it(snapshot):
    """Six are kept; of the next four two fill the pool, and two may swap with one of those six."""
    swaps = 0
    for seed in range(8):
        pool = HistoryPool(8, SHAPE, seed=seed)
        run(pool, 1, size=6)
        ((fresh, shown, before, after),) = run(pool, 1, start=7)
        assert before == [1, 2, 3, 4, 5, 6]
        assert shown[:2] == fresh[:2] == after[6:]
        for one, other in zip(fresh[2:], shown[2:], strict=True):
            assert other == one or other in before
            swaps += other != one
        assert set(after[:6]) <= {*before, *fresh[2:]} and len(set(after)) == 8
    assert 0 < swaps < 16


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_larger_than_the_pool(size):
    pool = HistoryPool(size, SHAPE, seed=0)
    record = run(pool, 30, size=5)
    fresh, shown, _, after = record[0]
    assert shown == fresh and after == fresh[:size]
    for fresh, shown, before, after in record[1:]:
        assert all(a == b or a in before for a, b in zip(shown, fresh, strict=True))
        assert len(after) == size and set(after) <= {*before, *fresh}
    assert any(shown != fresh for fresh, shown, *_ in record)


def test_batches_may_have_any_size():
    pool = HistoryPool(4, SHAPE, seed=0)
    start = 1
    for size in (1, 2, 5, 1, 3):
        run(pool, 1, size, start)
        start += size
        assert len(kept(pool)) == min(start - 1, 4)


def test_a_seed_brings_the_same_choices():
    one, two, other = (run(HistoryPool(3, SHAPE, seed=seed), 20) for seed in (1, 1, 2))
    assert one == two != other
    keras.utils.set_random_seed(0)
    assert run(HistoryPool(3, SHAPE), 20) != run(HistoryPool(3, SHAPE), 20)


def test_it_does_in_a_graph_what_it_does_eagerly():
    eager, graph = HistoryPool(3, SHAPE, seed=1), HistoryPool(3, SHAPE, seed=1)
    step = tf.function(lambda images: graph(images), reduce_retracing=True)
    for number in range(10):
        images = numbered(1 + 4 * number, 4)
        np.testing.assert_array_equal(step(tf.constant(images)), eager(images))
        assert kept(graph) == kept(eager)


def test_from_its_weights_it_continues_as_if_nothing_had_happened(full):
    run(full, 3, start=9)
    again = HistoryPool(8, SHAPE, seed=5)
    again.set_weights(full.get_weights())
    for one, two in zip(again.variables, full.variables, strict=True):
        one.assign(two)  # the random state is a variable, but not among Keras's `weights`
    assert run(again, 10, start=100) == run(full, 10, start=100)


def test_nothing_of_it_is_trained_or_rounded():
    pool = HistoryPool(3, SHAPE, seed=1)
    assert pool.trainable_variables == [] and len(pool.weights) == 2
    images = tf.constant(numbered(257, 2))
    assert pool(tf.cast(images, "float64")).dtype == "float32"
    assert kept(pool) == [257, 258], "numbers that bfloat16 cannot hold"


def test_two_replicas_have_one_pool(two_replicas):
    """The first replica fills it, both show from it."""
    with two_replicas.scope():
        pool = HistoryPool(3, SHAPE, seed=1)

    @tf.function
    def step(images):
        return two_replicas.run(pool, (images,))

    def copies(variable):
        values = two_replicas.experimental_local_results(variable.value)
        return [np.asarray(value).tolist() for value in values]

    swaps, firsts, seen = 0, set(), set()
    for number in range(20):
        starts = 1 + 4 * number, 3 + 4 * number
        before = kept(pool)
        given = two_replicas.experimental_distribute_values_from_function(
            lambda context, starts=starts: tf.constant(
                numbered(starts[context.replica_id_in_sync_group], 2)
            )
        )
        shown = two_replicas.experimental_local_results(step(given))
        firsts |= set(numbers(numbered(starts[0], 2)))
        for start, images in zip(starts, shown, strict=True):
            for place, image in enumerate(numbers(images)):
                assert image == start + place or image in before
                swaps += image != start + place
        seen |= set(kept(pool))
        for variable in pool.variables:
            one, *others = copies(variable)
            assert all(other == one for other in others)
        assert len(kept(pool)) == min(2 * (number + 1), 3)
    assert seen <= firsts and len(seen) > 3
    assert swaps > 5
