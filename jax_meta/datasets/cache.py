"""Decoded images in one memory-mapped file, so that the second start takes a second."""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_meta.datasets.images import ClassImages
from jax_meta.whole_files import whole_file

MAGIC = b"jax_meta images 1\n"
ALIGNMENT = 4096
"""The images start at a multiple of this, after the magic, the header's length in 8 bytes, and the header in JSON."""


def cached(
    name: str,
    sources: Sequence[Path],
    build: Callable[[], ClassImages],
    *,
    options: dict[str, Any],
    cache_folder: str | os.PathLike | None = None,
) -> ClassImages:
    """Returns the cached images if they are whole and of these sources and options; otherwise builds and keeps them.

    Args:
        name: the start of the cache file's name.
        sources: the files or folders that the images come from: a changed size or time makes the cache stale.
        build: decodes the sources.
        options: whatever else the images depend on, as JSON can hold it.
        cache_folder: where to keep the file. Default: beside the first source, or, where that cannot be written, in
            `$XDG_CACHE_HOME/jax_meta` (`~/.cache/jax_meta`).

    Returns:
        The images, memory-mapped read-only. Where no folder can be written they are in memory, with a warning.
    """
    origin = {"sources": [fingerprint(path) for path in sources], "options": options}
    digest = hashlib.sha256(json.dumps([str(sources[0].resolve()), options]).encode()).hexdigest()[:8]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jax_meta"
    folders = [sources[0].parent, home] if cache_folder is None else [Path(cache_folder)]
    paths = [folder / f"{name}-{digest}.images" for folder in folders]
    for path in paths:
        data = read(path, origin)
        if data is not None:
            return data
    data = build()
    for path in paths:
        try:
            write(path, data, origin)
        except OSError:
            continue
        return read(path, origin) or data
    warnings.warn(f"no cache of {name}: cannot write to {' or '.join(map(str, folders))}.", stacklevel=3)
    return data


def fingerprint(path: Path) -> list:
    """What identifies one version of a file or folder: its name, size and time of change."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def write(path: Path, data: ClassImages, origin: dict[str, Any]) -> None:
    """Writes the cache beside its place and moves it there whole: an interrupted write leaves no cache behind."""
    header = {"shape": data.images.shape, "counts": data.counts.tolist(), "names": data.names, "origin": origin}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.stat().st_mode & 0o222:
        raise PermissionError(f"{path.parent} is read-only")  # which would not stop the superuser
    with whole_file(path) as file:
        file.write(MAGIC + len(text).to_bytes(8, "little") + text)
        file.seek(images_offset(len(text)))
        file.write(np.ascontiguousarray(data.images).data)


def read(path: Path, origin: dict[str, Any]) -> ClassImages | None:
    """Memory-maps a cache; returns None unless it is there, whole, and of that origin."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return None
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= path.stat().st_size else b""
        header = json.loads(text)
        shape, counts, names = header["shape"], header["counts"], header["names"]
        check_header(shape, counts, names)
        whole = path.stat().st_size == images_offset(len(text)) + math.prod(shape)
        if not whole or header["origin"] != json.loads(json.dumps(origin)):
            return None
        images = np.memmap(path, np.uint8, "r", images_offset(len(text)), tuple(shape))
        return ClassImages(images, np.array(counts, np.int32), tuple(names))
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, RecursionError):
        return None


def check_header(shape: Any, counts: Any, names: Any) -> None:
    """Raises ValueError unless these can be of `ClassImages`: what reads them indexes images by the counts."""
    if not all(type(part) is list for part in (shape, counts, names)):
        raise ValueError("no lists of sides, counts and names")
    if len(shape) != 5 or not all(type(side) is int and side > 0 for side in shape):
        raise ValueError("no shape of images")
    if not len(counts) == len(names) == shape[0] or not all(type(name) is str for name in names):
        raise ValueError("no counts and names of the classes")
    if not all(type(count) is int and 0 < count <= shape[1] for count in counts):
        raise ValueError("a count of other images than there are")


def images_offset(header_bytes: int) -> int:
    """Where the images start, in bytes, after a header of that length."""
    return -(-(len(MAGIC) + 8 + header_bytes) // ALIGNMENT) * ALIGNMENT
