"""How networks with batch norm are run in training, where two domains and translations meet."""

import contextlib

import tensorflow as tf
from keras import ops


def on_both(network, first, second):
    """One training pass over two batches, split again.

    Half the calls, and batch norm's moments are of both batches together. Where a network reads
    both domains, training so normalizes as inference does, with one set of moments for all.

    Args:
        network: a `keras.Model` from (batch, ...) to (batch, ...).
        first: (n, ...).
        second: (m, ...), of one shape with `first` but for the batch.

    Returns:
        The network's outputs for each, (n, ...) and (m, ...).
    """
    joined = network(ops.concatenate([first, second]), training=True)
    # Not slices, whose gradients are two batches of zeros to be added up.
    return tf.split(joined, [ops.shape(first)[0], ops.shape(second)[0]])


def decoded(branch, rebuilds, translates):
    """A domain's decoder branch in training, in one pass where it has two things to do.

    Args:
        branch: a `keras.Model` from features (batch, ...) to images of its domain.
        rebuilds: name → features of the domain's own images, to be rebuilt; empty for none.
        translates: name → features of the other domain's images, to be translated; likewise.

    Returns:
        A dict, name → images, of those names.
    """
    wanted = {**rebuilds, **translates}
    if len(wanted) == 2:
        return dict(zip(wanted, on_both(branch, *wanted.values()), strict=True))
    return {name: branch(features, training=True) for name, features in wanted.items()}


def state_kept(model):
    """For a training pass that is only looked at: moving averages, pools and random states stay.

    Args:
        model: a `keras.Model`; its metrics go on.
    """
    metrics = {id(variable) for variable in model.metrics_variables}
    return _kept([v for v in model.non_trainable_variables if id(v) not in metrics])


def moving_averages_kept(*networks):
    """For passes over translations: batch norm's moving averages stay those of real images.

    A pass normalizes by its own batch either way. But inference reads real images, and early
    translations look like none: averaged in, they cost I2I-Adapt 20 points of target accuracy
    within 50 steps of a warm start on MNIST→USPS.

    Args:
        *networks: `keras.Model`s that run in the block; None, a network that a model does not
            have, is passed over.
    """
    return _kept([v for network in networks if network for v in network.non_trainable_weights])


@contextlib.contextmanager
def _kept(variables):
    """Variables have the same values after the block as before it."""
    before = [ops.copy(variable) for variable in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
