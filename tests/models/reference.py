"""I2I-Adapt's train step once more, from the paper's equations and nothing of the package.

Straight TensorFlow and NumPy: networks by their layers, losses by their formulas, Adam by its
recurrence. Only where the weights lie is asked of the model. Slow, plain, and for tests alone.
"""

import keras
import numpy as np
import tensorflow as tf


def moments(x, axes):
    """Not `tf.nn.moments`, which holds the mean fixed in the variance: wrong in a penalty."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    return mean, tf.reduce_mean((x - mean) ** 2, axes, keepdims=True)


class ReferenceStep:
    """Copies a model's weights and trains the copies.

    Args:
        model: the `I2IAdapt` to follow.
        seed: of the gradient penalty's random points.
        adam: dict with rate, beta_1, beta_2, epsilon, for both players.
        feature, image: "least_squares", "wasserstein" or "non_saturating".
        pixel: "l1" or "l2".
    """

    def __init__(self, model, seed, adam, feature, image, pixel):
        self.model, self.adam, self.weights = model, adam, model.loss_weights
        self.objective = {"feature": feature, "source": image, "target": image}
        self.pixel = pixel
        self.random = keras.random.SeedGenerator(seed)
        self.copy = {id(v): tf.Variable(v.numpy()) for v in model.variables}
        self.moments = {}
        self.averaging = True  # whether batch norm's moving averages follow

    def __getitem__(self, variable):
        return self.copy[id(variable)]

    # Networks

    def batch_norm(self, x, layer):
        mean, variance = moments(x, [0, 1, 2])
        pairs = (layer.moving_mean, mean), (layer.moving_variance, variance)
        for moving, moment in pairs if self.averaging else ():
            self[moving].assign(0.9 * self[moving] + 0.1 * tf.squeeze(moment))
        return self[layer.gamma] * (x - mean) / tf.sqrt(variance + 1e-3) + self[layer.beta]

    def encode(self, network, x):
        for stage in (1, 2, 3, 4):
            x = tf.nn.conv2d(x, self[network.get_layer(f"conv_{stage}").kernel], 2, "SAME")
            x = tf.maximum(self.batch_norm(x, network.get_layer(f"norm_{stage}")), 0)
        return x

    def up(self, x, kernel):
        n, h, w, _ = x.shape
        return tf.nn.conv2d_transpose(x, self[kernel], (n, 2 * h, 2 * w, kernel.shape[2]), 2)

    def trunk(self, z):
        network = self.model.decoder_trunk
        for stage in (1, 2):
            z = self.up(z, network.get_layer(f"conv_{stage}").kernel)
            z = tf.maximum(self.batch_norm(z, network.get_layer(f"norm_{stage}")), 0)
        return z

    def branch(self, domain, x):
        network = getattr(self.model, f"{domain}_branch")
        x = self.up(x, network.get_layer("conv_3").kernel)
        x = tf.maximum(self.batch_norm(x, network.get_layer("norm_3")), 0)
        last = network.get_layer("conv_4")
        return tf.tanh(self.up(x, last.kernel) + self[last.bias])

    def head(self, z):
        layer = self.model.head.get_layer("logits")
        return tf.reshape(z, (z.shape[0], -1)) @ self[layer.kernel] + self[layer.bias]

    def score(self, name, x):
        network = self.model.discriminators[name]
        if name == "feature":
            x = tf.reshape(x, (x.shape[0], -1))
            for stage in (1, 2, None):
                layer = network.get_layer(f"dense_{stage}" if stage else "scores")
                x = x @ self[layer.kernel] + self[layer.bias]
                x = tf.where(x > 0, x, 0.2 * x) if stage else x
            return x
        for stage in (1, 2, 3, None):
            layer = network.get_layer(f"conv_{stage}" if stage else "scores")
            x = tf.nn.conv2d(x, self[layer.kernel], 2, "SAME")
            if stage is None:
                x += self[layer.bias]
            else:
                norm = network.get_layer(f"norm_{stage}")
                mean, variance = moments(x, [1, 2])
                x = self[norm.gamma] * (x - mean) / tf.sqrt(variance + 1e-3) + self[norm.beta]
                x = tf.where(x > 0, x, 0.2 * x)
        return tf.reduce_mean(x, [1, 2, 3])[:, None]

    # Losses, all of them means over the batch

    def distance(self, a, b):
        return tf.reduce_mean(tf.abs(a - b) if self.pixel == "l1" else (a - b) ** 2)

    def cross_entropy(self, labels, z):
        p = tf.nn.softmax(self.head(z))
        return -tf.reduce_mean(tf.math.log(tf.gather(p, labels, batch_dims=1)))

    def information(self, z):
        p = tf.nn.softmax(self.head(z))
        mean = tf.reduce_mean(p, 0)
        conditional = -tf.reduce_mean(tf.reduce_sum(p * tf.math.log(p), 1))
        return conditional + tf.reduce_sum(mean * tf.math.log(mean))

    def fooling(self, name, fake):
        score = self.score(name, fake)
        return tf.reduce_mean(
            {
                "least_squares": lambda: (score - 1) ** 2,
                "wasserstein": lambda: -score,
                "non_saturating": lambda: -tf.math.log_sigmoid(score),
            }[self.objective[name]]()
        )

    def telling_apart(self, name, real, fake):
        r, f = self.score(name, real), self.score(name, fake)
        if self.objective[name] == "least_squares":
            return tf.reduce_mean((r - 1) ** 2 + f**2)
        if self.objective[name] == "non_saturating":
            return -tf.reduce_mean(tf.math.log_sigmoid(r) + tf.math.log_sigmoid(-f))
        mix = keras.random.uniform((real.shape[0], 1, 1, 1), seed=self.random)
        between = mix * real + (1 - mix) * fake
        with tf.GradientTape() as tape:
            tape.watch(between)
            score = tf.reduce_sum(self.score(name, between))
        slope = tf.reshape(tape.gradient(score, between), (real.shape[0], -1))
        penalty = tf.reduce_mean((tf.norm(slope, axis=1) - 1) ** 2)
        return tf.reduce_mean(f - r) + 10 * penalty

    # The step

    def step(self, batch):
        """One alternation; returns what is to be logged."""
        images, c = batch
        x, y = images["source"], images["target"]
        few = images.get("target_labelled")
        n = len(x)
        f_x, f_y = self.model.source_encoder, self.model.target_encoder
        shared = f_x is f_y

        def both(network, a, b):
            out = network(tf.concat([a, b], 0))
            return out[: len(a)], out[len(a) :]

        def encode_both(a, b):
            if shared:
                return both(lambda images: self.encode(f_x, images), a, b)
            return self.encode(f_x, a), self.encode(f_y, b)

        logs = {}
        with tf.GradientTape() as tape:
            z_x, z_y = encode_both(x, y if few is None else np.concatenate([y, few]))
            z_y, z_few = z_y[:n], z_y[n:]
            t_x, t_y = both(self.trunk, z_x, z_y)
            same_x, fake_x = both(lambda t: self.branch("source", t), t_x, t_y)
            same_y, fake_y = both(lambda t: self.branch("target", t), t_y, t_x)
            self.averaging = False  # from here on, translations are read
            # f_x on x and what looks like x, f_y on y and what looks like y.
            z_fake_x, z_fake_y = encode_both(fake_x, fake_y)
            t_fake_x, t_fake_y = both(self.trunk, z_fake_x, z_fake_y)
            cycle_x, cycle_y = self.branch("source", t_fake_y), self.branch("target", t_fake_x)

            with tf.GradientTape() as discriminator_tape:
                pairs = {"feature": (z_x, z_y), "source": (x, fake_x), "target": (y, fake_y)}
                for name, pair in pairs.items():
                    logs[f"d_{name}"] = self.telling_apart(name, *map(tf.stop_gradient, pair))
                total = tf.add_n([logs[f"d_{name}"] for name in pairs])
            theirs = [v for d in self.model.discriminators.values() for v in d.trainable_variables]
            self.update(theirs, discriminator_tape.gradient(total, [self[v] for v in theirs]))

            terms = {
                "task": self.cross_entropy(c, z_x),
                "feature": self.fooling("feature", z_y),
                "translation": self.fooling("target", fake_y) + self.fooling("source", fake_x),
                "identity": self.distance(same_x, x) + self.distance(same_y, y),
                "cycle": self.distance(cycle_x, x) + self.distance(cycle_y, y),
                "translated_task": self.cross_entropy(
                    c, self.encode(f_y, tf.stop_gradient(fake_y))
                ),
                "information": self.information(z_y),
            }
            if few is not None:
                terms["target_task"] = self.cross_entropy(images["target_labels"], z_few)
            loss = tf.add_n([self.weights[name] * term for name, term in terms.items()])
        self.averaging = True
        known = {id(v) for v in theirs}
        ours = [v for v in self.trainable() if id(v) not in known]
        self.update(ours, tape.gradient(loss, [self[v] for v in ours]))
        return {name: float(value) for name, value in {**logs, **terms, "loss": loss}.items()}

    def trainable(self):
        model = self.model
        networks = [model.source_encoder, model.target_encoder, model.head, model.decoder_trunk]
        networks += [model.source_branch, model.target_branch, *model.discriminators.values()]
        return {id(v): v for network in networks for v in network.trainable_variables}.values()

    def update(self, variables, gradients):
        """Adam (Kingma and Ba 2015, the order of computation at the end of their section 2)."""
        rate, b1, b2, epsilon = (self.adam[k] for k in ("rate", "beta_1", "beta_2", "epsilon"))
        for variable, gradient in zip(variables, gradients, strict=True):
            g = gradient.numpy().astype("float64")
            t, m, v = self.moments.get(id(variable), (0, 0.0, 0.0))
            t, m, v = t + 1, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            self.moments[id(variable)] = t, m, v
            step = rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + epsilon)
            self[variable].assign_sub(step.astype("float32"))
