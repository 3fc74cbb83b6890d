"""Tiny models that segment: a stride of 8, images of any size, masks with pixels that do not count.

And I2I-Adapt's step for them, once more from the paper; see `reference.py`.
"""

import keras
import numpy as np
import tensorflow as tf

from .conftest import CLASSES
from .reference import ReferenceStep

SHAPE = (16, 32, 1)  # the sides differ, so that a swap shows
STRIDE = 8
# Weights far from each other, so that a swap shows; the terms of the paper's driving scenes.
WEIGHTS = {"task": 1.0, "translation": 0.4, "identity": 1.3, "translated_task": 0.3}


def encoder():
    """A functional encoder of stride 8 for images of any size, without any padding."""
    images = keras.Input((None, None, 1), name="images")
    x = keras.layers.Conv2D(3, 4, 4, activation="tanh", name="one")(images)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    return keras.Model(images, keras.layers.Conv2D(5, 2, 2, name="two")(x), name="own")


def options(**others):
    """What a model takes to segment with an encoder like that."""
    return {"image_shape": SHAPE, "encoder": encoder, "segmentation": True, **others}


def make_batch(size=4, seed=0):
    """`({"source": x, "target": y}, masks)`; of the last image no pixel counts."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, size, *SHAPE)).astype("float32")
    masks = rng.choice([*range(CLASSES), 255], (size, *SHAPE[:2])).astype("uint8")
    masks[-1] = 255
    return {"source": x, "target": 0.5 * y + 0.2}, masks


def enlarging(length, factor):
    """The matrix (length · factor, length) of linear interpolation with half-pixel centers."""
    matrix = np.zeros((length * factor, length), "float32")
    for i, row in enumerate(matrix):
        center = (i + 0.5) / factor - 0.5
        below = int(np.floor(center))
        for at, share in ((below, 1 - (center - below)), (below + 1, center - below)):
            row[np.clip(at, 0, length - 1)] += share
    return matrix


class SegmentationStep(ReferenceStep):
    """Equations 1, 2, 4 and 6 with a class for each pixel, for a model with `encoder` above.

    Args:
        encoder_rate: the encoders' share of the learning rate.
        others: as in `ReferenceStep`.
    """

    def __init__(self, *others, encoder_rate=1.0):
        super().__init__(*others)
        self.encoder_rate = encoder_rate

    def encode(self, network, x):
        one, two = network.get_layer("one"), network.get_layer("two")
        x = tf.tanh(tf.nn.conv2d(x, self[one.kernel], 4, "VALID") + self[one.bias])
        x = self.batch_norm(x, network.get_layer("norm"))
        return tf.nn.conv2d(x, self[two.kernel], 2, "VALID") + self[two.bias]

    def trunk(self, z):
        network = self.model.decoder_trunk
        z = tf.nn.conv2d(z, self[network.get_layer("conv_1").kernel], 1, "SAME")
        z = tf.maximum(self.batch_norm(z, network.get_layer("norm_1")), 0)
        z = self.up(z, network.get_layer("conv_2").kernel)
        return tf.maximum(self.batch_norm(z, network.get_layer("norm_2")), 0)

    def head(self, z):
        layer = self.model.head.get_layer("coarse_logits")
        coarse = tf.einsum("nhwd,dk->nhwk", z, self[layer.kernel][0, 0]) + self[layer.bias]
        rows, columns = (enlarging(side, STRIDE) for side in z.shape[1:3])
        return tf.einsum("ih,jw,nhwk->nijk", rows, columns, coarse)

    def cross_entropy(self, masks, z):
        logits, means = self.head(z), []
        for image, mask in zip(logits, masks, strict=True):
            p = tf.nn.softmax(image[mask != 255])
            right = tf.gather(p, mask[mask != 255].astype(int), batch_dims=1)
            means.append(-tf.reduce_mean(tf.math.log(right)) if len(right) else 0.0)
        return tf.add_n(means) / len(means)

    def step(self, batch):
        images, masks = batch
        x, y = images["source"], images["target"]
        f_x, f_y = self.model.source_encoder, self.model.target_encoder

        def both(network, a, b):
            out = network(tf.concat([a, b], 0))
            return out[: len(a)], out[len(a) :]

        logs = {}
        with tf.GradientTape() as tape:
            if f_x is f_y:
                z_x, z_y = both(lambda images: self.encode(f_x, images), x, y)
            else:
                z_x, z_y = self.encode(f_x, x), self.encode(f_y, y)
            t_x, t_y = both(self.trunk, z_x, z_y)
            same_x, fake_x = both(lambda t: self.branch("source", t), t_x, t_y)
            same_y, fake_y = both(lambda t: self.branch("target", t), t_y, t_x)

            with tf.GradientTape() as discriminator_tape:
                for name, pair in {"source": (x, fake_x), "target": (y, fake_y)}.items():
                    logs[f"d_{name}"] = self.telling_apart(name, *map(tf.stop_gradient, pair))
                total = logs["d_source"] + logs["d_target"]
            theirs = [v for d in self.model.discriminators.values() for v in d.trainable_variables]
            self.update(theirs, discriminator_tape.gradient(total, [self[v] for v in theirs]))

            self.averaging = False  # translations are read
            terms = {
                "task": self.cross_entropy(masks, z_x),
                "translation": self.fooling("target", fake_y) + self.fooling("source", fake_x),
                "identity": self.distance(same_x, x) + self.distance(same_y, y),
                "translated_task": self.cross_entropy(
                    masks, self.encode(f_y, tf.stop_gradient(fake_y))
                ),
            }
            loss = tf.add_n([self.weights[name] * term for name, term in terms.items()])
        self.averaging = True
        known = {id(v) for v in theirs}
        ours = [v for v in self.trainable() if id(v) not in known]
        gradients = dict(
            zip(map(id, ours), tape.gradient(loss, [self[v] for v in ours]), strict=True)
        )
        slow = {id(v) for f in (f_x, f_y) for v in f.trainable_variables}
        adam = self.adam
        for rate, of in (
            (adam["rate"], [v for v in ours if id(v) not in slow]),
            (adam["rate"] * self.encoder_rate, [v for v in ours if id(v) in slow]),
        ):
            self.adam = {**adam, "rate": rate}
            self.update(of, [gradients[id(v)] for v in of])
        self.adam = adam
        return {name: float(value) for name, value in {**logs, **terms, "loss": loss}.items()}
