"""Reads published data sets through tensorflow_datasets (tfds), preparing them when first used.

tfds keeps a prepared data set under DATA_DIR/NAME/VERSION. Where it is not there yet, its files
are taken from DATA_DIR/downloads/manual if they lie there, else downloaded and checked.

tfds stores a split mixed, in an order that follows from its keys alone: the order is the same for
everyone, and any run of it is a fair sample.
"""

from __future__ import annotations

import os
import pathlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_i2i.data.domain import Examples
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
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    builder = make_builder(data_dir=data_dir)
    prepared = pathlib.Path(builder.data_path)
    if not prepared.exists():
        _prepare(builder)
    try:
        images, labels = tfds.as_numpy(
            builder.as_dataset(split=split, as_supervised=True, batch_size=-1)
        )
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"The data in {prepared} cannot be read ({_first_line(error)}). Expected the {split} "
            f"split of {builder.name} as tfds prepares it. Delete the folder; it is then prepared "
            "anew."
        ) from error
    return Examples(images, labels.astype(np.int64))


def manual_dir(builder: tfds.core.DatasetBuilder) -> pathlib.Path:
    """Returns the folder in which tfds looks for files that the user has put there."""
    return pathlib.Path(builder.data_dir_root) / "downloads" / "manual"


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
