"""Intersection over union, the measure of segmentation, as a Keras metric."""

import keras
from keras import ops

from keras_i2i.losses.task import IGNORED


@keras.saving.register_keras_serializable("keras_i2i")
class IntersectionOverUnion(keras.metrics.MeanIoU):
    """Mean intersection over union, `mean_iou`, of logits against masks, over all pixels seen.

        IoU_k = TP_k / (TP_k + FP_k + FN_k)

    The mean is over the classes that occur in masks or predictions (M. Everingham et al., The
    PASCAL visual object classes challenge, IJCV 2010; M. Cordts et al., Cityscapes, CVPR 2016).
    `update_state` takes masks, integers (batch, H, W), and logits (batch, H, W, num_classes).

    Args:
        num_classes: number of classes.
        ignore_class: what a mask says of pixels that do not count.
        **kwargs: `name`, `dtype`, as in `keras.metrics.Metric`.
    """

    def __init__(self, num_classes, ignore_class=IGNORED, name="mean_iou", **kwargs):
        kwargs["sparse_y_pred"] = False
        super().__init__(num_classes, name=name, ignore_class=ignore_class, **kwargs)

    def per_class(self):
        """(num_classes,): each IoU; NaN for a class that does not occur."""
        matrix = ops.cast(self.total_cm, "float32")
        both = ops.diagonal(matrix)
        return both / (ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - both)
