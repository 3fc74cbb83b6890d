"""A plain classifier: the baseline without adaptation, or the ceiling with target labels."""

import keras
from keras import ops

from keras_i2i import networks
from keras_i2i.losses.task import cross_entropy
from keras_i2i.models.adversarial import AdversarialModel


@keras.saving.register_keras_serializable("keras_i2i")
class Classifier(AdversarialModel):
    """Encoder and head of I2I-Adapt with nothing but equation 1, Q_c = CE(h(f(x)), c).

    Trained on the source it is the baseline "source only" of every table in the field; trained on
    the target's labels, the ceiling "target only". `fit` takes (images (batch, H, W, C) in [-1, 1],
    integer labels (batch,)). One encoder reads both domains.

    Args:
        image_shape: (H, W, C), H and W multiples of 16.
        num_classes: number of classes.
        encoder: "lenet", "densenet", or a functional `keras.Model`; as in `I2IAdapt`.
        encoder_width: factor on the encoder's numbers of filters.
        **kwargs: as in `keras.Model`.
    """

    def __init__(
        self, image_shape=(32, 32, 1), num_classes=10, encoder="lenet", encoder_width=1.0, **kwargs
    ):
        super().__init__(image_shape, **kwargs)
        self.num_classes = num_classes
        self.encoder_width = encoder_width
        self._encoder_spec = encoder
        self.loss_weights = {"task": 1.0}
        self.discriminators = {}
        self._translate = None
        with self.own_dtype_policy():
            self.encoder = networks.build_encoder(encoder, self.image_shape, encoder_width)
            self.head = networks.classification_head(self.encoder.output_shape[1:], num_classes)
        self.built = True

    def encoder_of(self, domain):
        """The one encoder, for either domain."""
        self.check_domain(domain)
        return self.encoder

    def train_on_translations(self, translate):
        """Makes `fit` translate each batch first, on the fly, and learn from the translations.

        The translator is neither trained nor saved along.

        Args:
            translate: function of a tensor of images such as `translator.mapping("source",
                "target")`; what it returns has this model's `image_shape`.
        """
        self._translate = translate

    def forward(self, batch):
        """h(f(x)), or h(f(G(x))) on translations."""
        images = batch["source"]
        if self._translate is not None:
            images = ops.stop_gradient(self._translate(images))
        return {"logits": self.head(self.encoder(images, training=True))}

    def generator_losses(self, batch, outputs):
        """Q_c."""
        return {"task": cross_entropy(batch["source_labels"], outputs["logits"])}

    def get_config(self):
        """Arguments of the constructor."""
        config = super().get_config()
        del config["target_shape"]  # one encoder reads both domains
        return {
            **config,
            "num_classes": self.num_classes,
            "encoder": networks.encoder_config(self._encoder_spec),
            "encoder_width": self.encoder_width,
        }
