"""Networks in files of Keras, which may come from anybody.

The one place where this package loads such a file. A file cannot have Python of its own run:
Keras's safe mode refuses code in it, and knows only classes that are imported already. Nothing here
turns it off; whoever calls `keras.config.enable_unsafe_deserialization` does, for all files.
"""

import pathlib
import zipfile

import keras

from keras_i2i.errors import InputError
from keras_i2i.files import unpacked

# Keras stores weights as they are. Zipped once more they lose a tenth; zeros shrink a thousandfold.
_MOST_TIMES = 50
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
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_size(path, sum(member.file_size for member in members))
            # Keras believes what the archive says.
            for member in members:
                for _ in unpacked(archive, member):
                    pass
        model = keras.saving.load_model(path, compile=compile, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise ValueError(f"It holds a {type(model).__name__}")
        return model
    except Exception as error:  # What strangers put into files may raise anything.
        raise InputError(f"{path} is no model that Keras can read: {_reason(error)}") from error


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
    if isinstance(error, KeyError) and "config.json" in text:
        text = "It is a zip archive, but not of a model"
    # Keras goes on about all that it was to build.
    text = text.partition(" Full object config:")[0].strip()
    text = text if len(text) < _SHOWN else f"{text[:_SHOWN]}..."
    return f"{(text or type(error).__name__).rstrip('.')}."
