"""Networks, and weights, in files of Keras, which may come from anybody.

The one place where this package loads such files. A file cannot have Python of its own run:
Keras's safe mode refuses code in it, and knows only classes that are imported already. Nothing here
turns it off; whoever calls `keras.config.enable_unsafe_deserialization` does, for all files.
"""

import io
import pathlib
import warnings
import zipfile

import h5py
import keras

from keras_i2i.errors import InputError
from keras_i2i.files import unpacked

# Keras writes weights as they are. Zipped once more they lose a tenth; zeros shrink a thousandfold.
_MOST_TIMES = 50
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"  # in a .keras file
_SHOWN = 300


def load_model(path, compile=True):
    """A model from a `.keras` file, in Keras's safe mode.

    Args:
        path: of the file.
        compile: whether also optimizers and losses are wanted.

    Raises:
        InputError: it is no such file, damaged, has code of its own or classes that are not
            imported, or unpacks to many times its size. The message is a line that ends with a
            full stop.
    """
    path = pathlib.Path(path).expanduser()
    try:
        # Of another ending, or none, Keras would look for formats that know no safe mode.
        if path.suffix != ".keras" or not zipfile.is_zipfile(path):
            raise ValueError("It is no .keras file, or cut short")
        _check_archive(path)
        model = keras.saving.load_model(path, compile=compile, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise ValueError(f"It holds a {type(model).__name__}")
        return model
    except Exception as error:  # What strangers put into files may raise anything.
        raise InputError(f"{path} is no model that Keras can read: {_reason(error)}") from error


def load_weights(network, path):
    """Gives a network the weights of a `.weights.h5` file.

    Args:
        network: is changed; after an error, as far as the file was read.
        path: of the file.

    Raises:
        InputError: it is no such file, damaged, of another network, or unpacks to many times its
            size. The message is a line that ends with a full stop.
    """
    path = pathlib.Path(path).expanduser()
    try:
        if not path.name.endswith(".weights.h5"):
            raise ValueError("It is no .weights.h5 file")
        _check_arrays(path, path)
        with warnings.catch_warnings():
            # Keras warns of parts that a file lacks: then it is another network's.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except Exception as error:  # What strangers put into files may raise anything.
        raise InputError(f"{path} has no weights that Keras can read: {_reason(error)}") from error


def _check_archive(path):
    """Checks all that Keras would believe a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_size(path, sum(member.file_size for member in members))
        # Without the second, Keras would look for weights in another format, zipped once more.
        if not {_CONFIG, _WEIGHTS} <= set(archive.namelist()):
            raise ValueError("It is a zip archive, but not of a model")
        for member in members:
            content = io.BytesIO()
            content.writelines(unpacked(archive, member))
            if member.filename == _WEIGHTS:
                _check_arrays(path, content)


def _check_arrays(path, weights):
    """Checks the arrays of an HDF5 file, which is `path` or lies in it, before one is read."""
    sizes = []

    def check(_, item):
        if isinstance(item, h5py.Dataset):
            # What is packed lies in chunks, and HDF5 unpacks a chunk without a limit, whatever the
            # array's size. An array of objects may name a large one again and again.
            if item.chunks or item.dtype.hasobject:
                raise ValueError("It has weights that are packed, or no numbers; save it anew")
            sizes.append(item.nbytes)

    with h5py.File(weights, "r") as file:
        file.visititems(check)
    _check_size(path, sum(sizes))


def _check_size(path, size):
    if size > _MOST_TIMES * path.stat().st_size:
        raise ValueError(f"It unpacks to {size:,} bytes, perhaps to fill the memory")


def _reason(error):
    text = " ".join(str(error).split())
    if "safe_mode" in text:
        return (
            "It has Python code in it, as of a Lambda layer, and code of others is not run here. "
            "Write the layer as a class, registered and imported."
        )
    # Keras goes on about all that it was to build.
    text = text.partition(" Full object config:")[0].strip()
    text = text if len(text) < _SHOWN else f"{text[:_SHOWN]}..."
    return f"{(text or type(error).__name__).rstrip('.')}."
