"""Which data these are: a fingerprint to know them by, and images that two splits have in common.

Images in memory are compared by their pixels, stored ones by the bytes of their files: the same
photograph saved anew is another one here. Nothing is decoded, and of stored images no more is read
than it takes to tell them apart.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from keras_i2i.data.examples import Examples, Stored, StoredExamples, UnreadableError

# Files of a split that take no more than this together are read for its fingerprint.
_READ = 2**28

# What most files of one size differ in, and no dearer to read than a byte.
_START = 2**14


def fingerprint(examples: Examples | StoredExamples) -> dict[str, object]:
    """Text that another set of examples, or another order, does not have; on any machine the same.

    Returns:
        `images`, how many; `sha256`, the digest in hexadecimal digits, or None where nobody can
        tell; `of`, what went into it: "pixels" of images in memory, else "names and contents" of
        files, or "names and sizes" where they take more than 256 MiB; with " and labels" where
        there are any.
    """
    digest, of = hashlib.sha256(), "pixels"
    labels = examples.labels
    if isinstance(examples, Examples):
        digest.update(repr(examples.images.shape).encode())
        digest.update(np.ascontiguousarray(examples.images).data)
    elif examples.reader.stored is None:
        return {"images": len(examples), "sha256": None, "of": "nothing"}
    else:
        files = [file for p in examples.positions for file in _files(examples, p, with_masks=True)]
        read = sum(file.size for file in files) <= _READ
        of = "names and contents" if read else "names and sizes"
        for file in files:
            name = file.name.encode("utf-8", "surrogateescape")
            digest.update(b"%d %d " % (len(name), file.size) + name)
            if read:
                with contextlib.suppress(OSError, UnreadableError):
                    digest.update(_digest(file.content(file.size)))
    if labels is not None:
        of += " and labels"
        labels = labels if examples.has_masks else labels.astype("<i8")
        digest.update(np.ascontiguousarray(labels).data)
    return {"images": len(examples), "sha256": digest.hexdigest(), "of": of}


def name_of(examples: Examples | StoredExamples, position: int) -> str:
    """What to call an example in a message: its file, or its number where it has none."""
    files = ()
    if isinstance(examples, StoredExamples) and examples.reader.stored:
        files = _files(examples, examples.positions[position])
    return files[0].name if files else f"number {position}"


def repeated(
    examples: Examples | StoredExamples, others: Examples | StoredExamples
) -> list[tuple[int, int]]:
    """Finds the images of a split that another split has too.

    Returns:
        (position in `examples`, the first such position in `others`), ascending. Empty if one of
        them is in memory and the other is not.
    """
    if isinstance(examples, Examples) and isinstance(others, Examples):
        if examples.images.shape[1:] != others.images.shape[1:]:
            return []
        known: dict[bytes, int] = {}
        for position, image in enumerate(others.images):
            known.setdefault(_digest(image.tobytes()), position)
        digests = (_digest(image.tobytes()) for image in examples.images)
        return [(at, known[digest]) for at, digest in enumerate(digests) if digest in known]
    if isinstance(examples, Examples) or isinstance(others, Examples):
        return []
    if examples.reader.stored is None or others.reader.stored is None:
        return []
    return repeated_files(_images(examples), _images(others))


def repeated_files(
    files: Sequence[Stored | None], others: Sequence[Stored | None]
) -> list[tuple[int, int]]:
    """The same for files; None stands for one that is not there, which is like no other."""
    here, there = ({at: f for at, f in enumerate(side) if f} for side in (files, others))
    looks: tuple[Callable[[Stored], Hashable], ...] = (
        lambda file: file.size,
        lambda file: (file.size, _digest(file.content(_START))),
        lambda file: _digest(file.content(file.size)),
    )
    for look in looks:
        seen = [_seen(side, look) for side in (here, there)]
        common = set(seen[0].values()) & set(seen[1].values())
        here, there = (
            {at: side[at] for at, what in looked.items() if what in common}
            for side, looked in zip((here, there), seen, strict=True)
        )
    first: dict[Hashable, int] = {}
    for at, what in seen[1].items():
        first.setdefault(what, at)
    return [(at, first[seen[0][at]]) for at in here]


def _seen(files: dict[int, Stored], look) -> dict[int, Hashable]:
    seen = {}
    for at, file in files.items():
        try:
            seen[at] = look(file)
        except (OSError, UnreadableError):  # Who reads the image will say so.
            continue
    return seen


def _images(examples: StoredExamples) -> list[Stored | None]:
    files = (_files(examples, position) for position in examples.positions)
    return [found[0] if found else None for found in files]


def _files(examples: StoredExamples, position: int, with_masks: bool = False) -> tuple[Stored, ...]:
    """What an example is read from; nothing if that is gone."""
    try:
        files = examples.reader.stored(int(position))
    except (OSError, UnreadableError):
        return ()
    return files if with_masks and examples.has_masks else files[:1]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
