"""The commands `keras-i2i-train`, `-evaluate`, `-export` and `-label`.

They answer `--help`, and find fault with a command line, before Keras is imported, which takes some
seconds. Whoever imports `keras_i2i` gets Keras with it: a model's file can be loaded only where the
classes that it names are imported. So this module lies beside the package, which looks whether it
was imported first, and then leaves Keras to those of its modules that need it.
"""

from keras_i2i.serving.main import export_main, label_main
from keras_i2i.training.main import evaluate_main, train_main

__all__ = ["evaluate_main", "export_main", "label_main", "train_main"]
