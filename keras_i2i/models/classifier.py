"""A plain classifier: the baseline without adaptation, or the ceiling with target labels."""

import keras
from keras import ops

from keras_i2i import networks
from keras_i2i.models.adversarial import AdversarialModel


@keras.saving.register_keras_serializable("keras_i2i")
class Classifier(AdversarialModel):
    """Encoder and head of I2I-Adapt with nothing but equation 1, Q_c = CE(h(f(x)), c).

    Trained on the source it is the baseline "source only" of every table in the field; trained on
    the target's labels, the ceiling "target only". `fit` takes (images (batch, H, W, C) in [-1, 1],
    integer labels (batch,)), or masks (batch, H, W) where it segments. One encoder reads both
    domains.

    Args:
        image_shape: (H, W, C), H and W multiples of 16.
        num_classes: number of classes.
        encoder: "lenet", "densenet", a backbone's name, or a functional `keras.Model`; as in
            `I2IAdapt`.
        encoder_width: factor on the encoder's numbers of filters.
        segmentation, pooling, encoder_rate: as in `I2IAdapt`.
        **kwargs: as in `keras.Model`.
    """

    def __init__(
        self,
        image_shape=(32, 32, 1),
        num_classes=10,
        encoder="lenet",
        encoder_width=1.0,
        segmentation=False,
        pooling="flatten",
        encoder_rate=1.0,
        **kwargs,
    ):
        super().__init__(image_shape, **kwargs)
        self.num_classes = num_classes
        self.encoder_width = encoder_width
        self.has_masks = segmentation
        self.pooling = pooling
        self.encoder_rate = encoder_rate
        self._encoder_spec = encoder
        self.loss_weights = {"task": 1.0}
        self.discriminators = {}
        self._translate = None
        with self.own_dtype_policy():
            self.encoder = networks.build_encoder(encoder, self.network_shape, encoder_width)
            self.head = self.build_head(self.encoder, pooling)
        self.slow_down(encoder_rate, self.encoder)
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
                "target")`; what it returns has this model's `image_shape`. None: no more.
        """
        self._translate = translate
        self.train_function = None  # which Keras has traced without it, if the model was fit before

    def forward(self, batch):
        """h(f(x)), or h(f(G(x))) on translations."""
        images = batch["source"]
        if self._translate is not None:
            images = ops.stop_gradient(self._translate(images))
        return {"logits": self.head(self.encoder(images, training=True))}

    def generator_losses(self, batch, outputs):
        """Q_c."""
        return {"task": self.task_loss(batch["source_labels"], outputs["logits"])}

    def get_config(self):
        """Arguments of the constructor."""
        config = super().get_config()
        del config["target_shape"]  # one encoder reads both domains
        return {
            **config,
            "num_classes": self.num_classes,
            "encoder": networks.encoder_config(self._encoder_spec),
            "encoder_width": self.encoder_width,
            "segmentation": self.has_masks,
            "pooling": self.pooling,
            "encoder_rate": self.encoder_rate,
        }
