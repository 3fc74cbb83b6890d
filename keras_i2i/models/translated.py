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
from keras_i2i.models.image_model import DOMAINS, OnImages


class ReadsThroughTranslation(OnImages):
    """A classifier of one domain that reads the other domain's images translated to its own.

    Args:
        translator: a model that translates.
        classifier: a model that classifies.
        domain: the one that the classifier knows. "source": (c), target images are translated.
            "target": (a), target images are read as they are, and source images are translated.

    Raises:
        InputError: no such domain, no translation to it, or the translator's images of that domain
            have another shape than the classifier's.
    """

    can_classify = True

    def __init__(self, translator, classifier, domain="source"):
        translator.check_domain(domain)
        self.translator, self.classifier, self.domain = translator, classifier, domain
        self.image_shape = translator.image_shape_of("source")
        (other,) = set(DOMAINS) - {domain}
        if f"{other}_to_{domain}" not in self.directions:
            raise InputError(
                f"Expected a translator from {other} to {domain}. "
                f"Received one for: {', '.join(self.directions) or 'neither direction'}"
            )
        given, expected = translator.image_shape_of(domain), classifier.image_shape_of(domain)
        if given != expected:
            raise InputError(
                f"Expected a translator of {domain} images {expected}, which the classifier reads. "
                f"Received one of {domain} images {given}"
            )

    @property
    def num_classes(self):
        """The classifier's number of classes."""
        return self.classifier.num_classes

    @property
    def can_embed(self):
        """Whether the classifier has an encoder."""
        return self.classifier.can_embed

    def image_shape_of(self, domain):
        """(H, W, C) of a domain's images: the translator's."""
        return self.translator.image_shape_of(domain)

    def reader(self, domain="target"):
        """The classifier's, after the translator's mapping where it needs one."""
        return self._after_translation(self.classifier.reader(self.domain), domain)

    def features(self, domain="target"):
        """Likewise."""
        return self._after_translation(self.classifier.features(self.domain), domain)

    def mapping(self, origin, destination):
        """The translator's."""
        return self.translator.mapping(origin, destination)

    def _after_translation(self, function, domain):
        self.check_domain(domain)
        if domain == self.domain:
            return function
        translate = self.translator.mapping(domain, self.domain)
        return lambda images: function(translate(images))


class WeightedSum(ReadsThroughTranslation):
    """(d), the weighted sum of the two readers' probabilities.

    Its features, for `embed`, are those of the heavier reader.

    Args:
        on_translated_source: (a).
        reads_translated_target: (c), with the same translator.
        weight: w in [0, 1], the share of (a); see `choose_weight`.

    Raises:
        InputError: the weight is no share, or the readers are not (a) and (c), in this order.
    """

    def __init__(self, on_translated_source, reads_translated_target, weight):
        self.readers = (on_translated_source, reads_translated_target)
        self.weight = weight
        if not 0 <= weight <= 1:
            raise InputError(f"weight must be in [0, 1]. Received: {weight}")
        domains = [reader.domain for reader in self.readers]
        if domains != ["target", "source"]:
            raise InputError(
                "Expected a reader with a classifier of the target, then one with a classifier of "
                f"the source. Received: {' and '.join(domains)}"
            )
        heavier = self.readers[0 if weight >= 0.5 else 1]
        super().__init__(heavier.translator, heavier.classifier, heavier.domain)

    def reader(self, domain="target"):
        """Images to the logarithms of the summed probabilities (batch, num_classes)."""
        read_one, read_other = (reader.reader(domain) for reader in self.readers)

        def read(images):
            one, other = (
                ops.softmax(ops.cast(logits, "float32"))
                for logits in (read_one(images), read_other(images))
            )
            return ops.log(self.weight * one + (1 - self.weight) * other + 1e-12)

        return read


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
