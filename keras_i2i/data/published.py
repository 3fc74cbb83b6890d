"""Reads published data sets through tensorflow_datasets (tfds), preparing them when first used.

tfds keeps a prepared data set under DATA_DIR/NAME/VERSION. Where it is not there yet, its files
are taken from DATA_DIR/downloads/manual if they lie there, else downloaded and checked.

tfds stores a split mixed, in an order that follows from its keys alone: the order is the same for
everyone, and any run of it is a fair sample.

Small data sets are read into memory; large ones stay in tfds's records, their images encoded as
published, and an image is decoded when it is asked for.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_i2i.data import image_files
from keras_i2i.data.examples import (
    Examples,
    Reader,
    Stored,
    StoredExamples,
    Unreadable,
    UnreadableError,
)
from keras_i2i.errors import InputError

_SECONDS_TO_ANSWER = 10


def read(
    make_builder: Callable[..., tfds.core.DatasetBuilder],
    split: str,
    data_dir: str | os.PathLike | None,
) -> Examples:
    """Reads a published split into memory.

    Args:
        make_builder: takes `data_dir`, returns a builder with features "image" and "label".
        split: "train" or "test".
        data_dir: tfds's directory; None for its default, ~/tensorflow_datasets.

    Raises:
        InputError: the data cannot be obtained, prepared or read.
    """
    builder = _prepared(make_builder, data_dir)
    with _damage_told(builder, split):
        images, labels = tfds.as_numpy(
            builder.as_dataset(split=split, as_supervised=True, batch_size=-1)
        )
    return Examples(images, labels.astype(np.int64))


def read_stored(
    make_builder: Callable[..., tfds.core.DatasetBuilder],
    split: str,
    data_dir: str | os.PathLike | None,
) -> StoredExamples:
    """Opens a published split whose images are decoded when asked for.

    The labels are read at once, the images stay encoded in tfds's records.

    Args:
        make_builder: takes `data_dir`, returns a builder of file format "array_record", which
            allows to read any record by itself, with features "image", "label" and "file", the
            name of the image file.
        split: "train" or "test".
        data_dir: tfds's directory; None for its default, ~/tensorflow_datasets.

    Raises:
        InputError: the data cannot be obtained, prepared or read.
    """
    builder = _prepared(make_builder, data_dir)
    with _damage_told(builder, split):
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        labels = np.array([record["label"] for record in records], np.int64)

    # Written whenever the data set is prepared: its time tells one preparation from the next.
    info = pathlib.Path(builder.data_path) / "dataset_info.json"

    def read(position):
        try:
            return records[position]
        except RuntimeError as error:
            raise UnreadableError(f"{builder.data_path}, record {position}: {error}") from None

    def image(position):
        record = read(position)
        return image_files.read_image(NamedBytes(record["image"], record["file"].decode()), 3)

    def key(position):
        return f"{image_files.file_key(info)}\n{position}"

    def stored(position):
        record = read(position)
        content = record["image"]
        return (Stored(record["file"].decode(), len(content), lambda count: content[:count]),)

    # The limit is `Storage`'s default; a run sets its own.
    reader = Reader(image, 3, Unreadable(10, builder.name), labels, key=key, stored=stored)
    return StoredExamples(reader, np.arange(len(labels)))


class NamedBytes(io.BytesIO):
    """A file's content, which messages call by the file's name."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name

    def __str__(self):
        return self.name


def manual_folder(data_dir: str | os.PathLike | None) -> pathlib.Path:
    """Returns the folder under tfds's directory for files that the user has put there."""
    root = tfds.core.constants.DATA_DIR if data_dir is None else data_dir
    return pathlib.Path(root).expanduser() / "downloads" / "manual"


def manual_dir(builder: tfds.core.DatasetBuilder) -> pathlib.Path:
    """Returns the folder in which tfds looks for files that the user has put there."""
    return manual_folder(builder.data_dir_root)


def _prepared(make_builder, data_dir) -> tfds.core.DatasetBuilder:
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    builder = make_builder(data_dir=data_dir)
    if not pathlib.Path(builder.data_path).exists():
        _prepare(builder)
    return builder


@contextlib.contextmanager
def _damage_told(builder, split) -> Iterator[None]:
    try:
        yield
    # RuntimeError: array_record's.
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            f"The data in {builder.data_path} cannot be read ({_first_line(error)}). Expected the "
            f"{split} split of {builder.name} as tfds prepares it. Delete the folder; it is then "
            "prepared anew."
        ) from error


def _prepare(builder):
    folder = manual_dir(builder)
    urls = {info.filename: url for url, info in (builder.url_infos or {}).items()}
    to_download = {name: url for name, url in urls.items() if not (folder / name).exists()}
    by_hand = f" Or put {' and '.join(to_download)} into {folder} yourself." if to_download else ""
    # tfds retries for minutes before it gives up on a network that is not there.
    for url in to_download.values():
        _check_reachable(builder, url, by_hand)
    tfds.disable_progress_bar()
    try:
        builder.download_and_prepare(
            # The ready-made copies in tfds's own bucket would be a second way to the same files.
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    except tfds.download.download_manager.NonMatchingChecksumError as error:
        raise InputError(
            f"{builder.name}: a file is not the published one, perhaps cut short. "
            f"{_first_line(error)} Delete it and try again.{by_hand}"
        ) from error
    except (OSError, tfds.download.DownloadError, tf.errors.OpError) as error:
        raise InputError(
            f"{builder.name} could not be prepared under {builder.data_dir_root} "
            f"({_first_line(error)}). Expected a data directory that can be written to, with "
            f"enough space, and a working download.{by_hand}"
        ) from error


def _check_reachable(builder, url, by_hand):
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError as error:
        error.close()  # An answer, if not a good one: the download itself will tell.
    except OSError as error:
        raise InputError(
            f"{builder.name} is not prepared under data_dir {builder.data_dir_root} and cannot be "
            f"downloaded: {urllib.parse.urlsplit(url).netloc} does not answer "
            f"({_first_line(error)}). Give the data_dir that holds it, or connect to the "
            f"network.{by_hand}"
        ) from error


def _first_line(error) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
