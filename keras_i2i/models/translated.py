"""Adaptation by translation: classifiers that read target images with a translator's help.

P. Basci, "Unsupervised Domain Adaptation through CycleGAN", sections 4.2 and 7; M. Friedjungová et
al., LSTNet, section 3; P. Russo et al., SBADA-GAN, CVPR 2018, sum them. With a translator's
G: source → target and F: target → source, a target image y is read by

    (a)  h_t(y)                            h_t was trained on translated source images G(x)
    (c)  h_s(F(y))                         h_s was trained on source images x
    (d)  w h_t(y) + (1 - w) h_s(F(y))      probabilities; w chosen without target labels

Nothing here is trained: translators and classifiers are models of their own.
"""

import numpy as np
from keras import ops

from keras_i2i.errors import InputError
from keras_i2i.models.image_model import DOMAINS


class ReadsThroughTranslation:
    """A classifier of one domain that reads the other domain's images translated to its own.

    Args:
        translator: a model with `translate`.
        classifier: a model with `classify` and `embed`.
        domain: the one that the classifier knows. "source": (c), target images are translated.
            "target": (a), target images are read as they are, and source images are translated.
    """

    can_classify = True

    def __init__(self, translator, classifier, domain="source"):
        translator.check_domain(domain)
        self.translator, self.classifier, self.domain = translator, classifier, domain
        self.image_shape = translator.image_shape
        self.directions, self.can_translate = translator.directions, translator.can_translate
        (other,) = set(DOMAINS) - {domain}
        if f"{other}_to_{domain}" not in self.directions:
            raise InputError(
                f"Expected a translator from {other} to {domain}. "
                f"Received one for: {', '.join(self.directions) or 'neither direction'}"
            )

    def image_shape_of(self, domain):
        """(H, W, C) of a domain's images: the translator's."""
        return self.translator.image_shape_of(domain)

    def classify(self, images, domain="target"):
        """Logits (n, num_classes) of images (n, H, W, C) in [-1, 1] of that domain."""
        return self.classifier.classify(self._as_known(images, domain), self.domain)

    def embed(self, images, domain="target"):
        """The classifier's features (n, d) of the same."""
        return self.classifier.embed(self._as_known(images, domain), self.domain)

    def translate(self, images, direction):
        """As the translator does."""
        return self.translator.translate(images, direction)

    def can_reconstruct(self, domain):
        """As the translator can."""
        return self.translator.can_reconstruct(domain)

    def reconstruct(self, images, domain):
        """As the translator does."""
        return self.translator.reconstruct(images, domain)

    def _as_known(self, images, domain):
        self.translator.check_domain(domain)
        if domain == self.domain:
            return images
        return self.translator.translate(images, f"{domain}_to_{self.domain}")


class WeightedSum(ReadsThroughTranslation):
    """(d), the weighted sum of the two readers' probabilities.

    Its features, for `embed`, are those of the heavier reader.

    Args:
        on_translated_source: (a).
        reads_translated_target: (c), with the same translator.
        weight: w in [0, 1], the share of (a); see `choose_weight`.
    """

    def __init__(self, on_translated_source, reads_translated_target, weight):
        self.readers = (on_translated_source, reads_translated_target)
        self.weight = weight
        heavier = self.readers[0 if weight >= 0.5 else 1]
        super().__init__(heavier.translator, heavier.classifier, heavier.domain)

    def classify(self, images, domain="target"):
        """Logarithms of the summed probabilities (n, num_classes)."""
        one, other = (probabilities(reader.classify(images, domain)) for reader in self.readers)
        return np.log(self.weight * one + (1 - self.weight) * other + 1e-12)


def choose_weight(on_translated_source, reads_translated_target, images):
    """The weight of (a) in the sum, from unlabelled target images: to each reader by its merit.

        w = I_a / (I_a + I_c),   I = H(mean_j p_j) - mean_j H(p_j)

    I is the information that a reader's predictions carry about the images: certain of each image
    and all classes in use (the measure of `losses.information_maximization`). A reader that says
    the same of every image, or nothing definite, gets no share; two of equal merit get a half each.
    The sum itself is not what is measured: where its halves disagree it is uncertain, rightly, and
    so would always be found worse than the half that is surer of itself.

    Args:
        on_translated_source: reader (a).
        reads_translated_target: reader (c).
        images: unlabelled target images (n, H, W, C) in [-1, 1].

    Returns:
        w in [0, 1].
    """
    readers = on_translated_source, reads_translated_target
    one, other = (_information(probabilities(r.classify(images, "target"))) for r in readers)
    return float(one / (one + other)) if one + other > 0 else 0.5


def probabilities(logits):
    """Softmax of logits (n, K), numpy."""
    return ops.convert_to_numpy(ops.softmax(np.asarray(logits, "float32")))


def _information(p):
    def entropy(p):
        return -np.sum(p * np.log(p + 1e-12), axis=-1)

    # Never negative but for rounding.
    return max(entropy(p.mean(axis=0)) - entropy(p).mean(), 0.0)
