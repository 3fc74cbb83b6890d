"""A history of generated images, which steadies a discriminator."""

import keras
from keras import ops


class HistoryPool(keras.layers.Layer):
    """Shows a discriminator old fakes among the fresh ones.

    A. Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial
    Training", CVPR 2017, section 2.3; with Zhu et al. 2017's rule for each image: while the pool is
    not full the image is stored and shown; then, with even odds, it is shown, or it takes the place
    of a random stored one, which is shown instead.

    The images, how many there are and the random state are variables of the layer, so that a
    resumed training has the same history. On several replicas all show from one pool, which the
    first fills.

    Args:
        size: how many images to keep, ≥ 1.
        image_shape: (H, W, C).
        seed: of the random choices; None draws one.
        **kwargs: as in `keras.layers.Layer`.
    """

    def __init__(self, size, image_shape, seed=None, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.size = size
        self.seed_generator = keras.random.SeedGenerator(seed)
        options = {"trainable": False, "initializer": "zeros", "aggregation": "only_first_replica"}
        self.images = self.add_weight(shape=(size, *image_shape), name="images", **options)
        self.filled = self.add_weight(shape=(), dtype="int32", name="filled", **options)
        self.built = True

    def call(self, images):
        """Images (batch, H, W, C) to show instead of these."""
        batch = ops.shape(images)[0]
        position = ops.arange(batch)
        # As if one image came after the other, except that none is swapped for one of its batch.
        fresh = self.filled + position
        old = keras.random.randint((batch,), 0, self.size, seed=self.seed_generator)
        swap = keras.random.uniform((batch,), seed=self.seed_generator) < 0.5
        filling = fresh < self.size
        swap = ops.logical_and(swap, ops.logical_not(filling))
        # What was not stored yet cannot be shown: the batch that fills the pool shows itself.
        swap = ops.logical_and(swap, old < self.filled)

        choose = ops.reshape(swap, (-1, 1, 1, 1))
        images = ops.cast(images, "float32")
        shown = ops.where(choose, ops.take(self.images, old, axis=0), images)
        # Where nothing is stored the write goes to a row behind the last, which is cut off again.
        place = ops.where(filling, fresh, ops.where(swap, old, self.size))
        place = ops.expand_dims(place, -1)
        longer = ops.concatenate([self.images, self.images[:1]])
        self.images.assign(ops.scatter_update(longer, place, images)[: self.size])
        self.filled.assign(ops.minimum(self.filled + batch, self.size))
        return shown
