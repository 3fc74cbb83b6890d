"""The domains of tiny runs, read once, when this is imported."""

from keras_i2i import data

from .conftest import TINY

EXAMPLES = {
    name: {split: data.get_domain(name).read(split, None) for split in ("train", "test")}
    for name in (TINY["source"], TINY["target"])
}
