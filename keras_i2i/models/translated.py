"""Adaptation by translation: a source classifier that reads translated target images."""

from keras_i2i.models.image_model import DOMAINS


class ReadsThroughTranslation:
    """Reads target images by translating them to the source first, source images as they are.

    For a translator without a classifier of its own, such as the CycleGAN preset of `I2IAdapt`.

    Args:
        translator: a model with `translate`.
        classifier: a model with `classify` and `embed`, trained on the source.
    """

    can_classify = True
    can_translate = True

    def __init__(self, translator, classifier):
        self.translator, self.classifier = translator, classifier
        self.image_shape = classifier.image_shape

    def classify(self, images, domain="target"):
        """Logits (n, num_classes) of images (n, H, W, C) in [-1, 1] of that domain."""
        return self.classifier.classify(self._as_source(images, domain), "source")

    def embed(self, images, domain="target"):
        """The classifier's features (n, d) of the same."""
        return self.classifier.embed(self._as_source(images, domain), "source")

    def translate(self, images, direction):
        """As the translator does."""
        return self.translator.translate(images, direction)

    def reconstruct(self, images, domain):
        """As the translator does."""
        return self.translator.reconstruct(images, domain)

    def _as_source(self, images, domain):
        self.classifier.check_domain(domain)
        if domain == DOMAINS[0]:
            return images
        return self.translator.translate(images, "target_to_source")
