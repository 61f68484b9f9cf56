"""CIFAR-100, split by class: CIFAR-FS and FC100.

The images are of Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The splits are CIFAR-FS, of
Bertinetto, Henriques, Torr and Vedaldi, arXiv:1805.08136, and FC100, of Oreshkin, Rodríguez López and Lacoste,
arXiv:1805.10123.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from jax_meta.checks import check_choice
from jax_meta.datasets.archives import read_tar
from jax_meta.datasets.cache import cached
from jax_meta.datasets.download import download as fetch
from jax_meta.datasets.images import ClassImages, Splits, published_split
from jax_meta.datasets.pickled_arrays import as_array
from jax_meta.datasets.pickles import load_arrays

Split = Literal["cifar_fs", "fc100"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
CHECKSUM = "md5:eb9058c3a382ffc7106e4002c42a8d85"
MEMBERS = {f"cifar-100-python/{name}": name for name in ("train", "test", "meta")}
CLASSES, SIDE = 100, 32
EXAMPLES = {"train": 500, "test": 100}
"""The images of each class in each of the two batches, which here are put one after the other."""

LARGEST = 1 << 30
"""The bytes to which an archive may unpack; the official one has 186 MB."""


def load_cifar100(
    folder: str | os.PathLike,
    *,
    split: Split = "cifar_fs",
    download: bool = False,
    cache_folder: str | os.PathLike | None = None,
) -> Splits:
    """Reads all 60,000 images of cifar-100-python.tar.gz, without unpacking it, and splits the classes.

    Args:
        folder: where cifar-100-python.tar.gz is. An archive packed anew is welcome: the checksum is only of downloads.
        split: "cifar_fs", 64 classes to train on, 16 to validate on and 20 to test on, drawn at random; or "fc100", 60,
            20 and 20, in which no superclass is in two parts. Default: "cifar_fs".
        download: fetch the archive if it is not there, 169 MB. Default: False.
        cache_folder: where the decoded images are kept, 184 MB for both splits. Default: `folder`, or
            `~/.cache/jax_meta` if that is read-only.

    Returns:
        The classes, named by their fine labels: images uint8 `[classes, 600, 32, 32, 3]`. In each class the 500 images
        to train on come first, then the 100 to test on, both in the order of their file names.

    Raises:
        FileNotFoundError: if the archive is not there, and `download` is False.
        ValueError: if the archive is damaged or is not CIFAR-100's, or `split` is neither.
        OSError: if the download fails; what has arrived is kept.

    Example:
        >>> import tempfile
        >>> from jax_meta.datasets import load_cifar100
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     try:
        ...         splits = load_cifar100(folder, split="fc100")
        ...     except FileNotFoundError as error:
        ...         assert "cifar-100-python.tar.gz" in str(error) and "download=True" in str(error)
    """
    check_choice("split", split, get_args(Split))
    path = Path(folder) / "cifar-100-python.tar.gz"
    if download:
        fetch(URL, path, checksum=CHECKSUM)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}. Give the folder that has it, or download=True to fetch it from {URL}."
        )
    data = cached("cifar100", [path], lambda: read_archive(path), options={}, cache_folder=cache_folder)
    return published_split(data, split)


def read_archive(path: Path) -> ClassImages:
    """All 100 classes, in the order of their labels; raises ValueError if the archive is not CIFAR-100's."""
    contents = read_members(path)
    try:
        names = tuple(name.decode() for name in contents["meta"][b"fine_label_names"])
        if len(set(names)) != CLASSES:
            raise ValueError(f"{len(set(names))} names of classes, not {CLASSES}")
        return group_records(contents, names, examples=EXAMPLES, side=SIDE)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise damaged(path, reason) from error


def read_members(path: Path) -> dict[str, Any]:
    """The unpickled members "train", "test" and "meta"; raises ValueError if one cannot be read."""
    try:
        packed = read_tar(path, MEMBERS, most=LARGEST)
    except Exception as error:  # of tarfile, gzip, zlib, bz2 and lzma
        raise damaged(path, str(error) or type(error).__name__) from error
    contents = {
        MEMBERS[member]: load_arrays(io.BytesIO(packed.pop(member)), name=f"{path} (its member {member})")
        for member in list(packed)
    }
    missing = [member for member, name in MEMBERS.items() if name not in contents]
    if missing:
        raise damaged(path, f"it lacks {', '.join(missing)}")
    return contents


def group_records(
    batches: dict[str, dict[bytes, Any]], names: Sequence[str], *, examples: dict[str, int], side: int
) -> ClassImages:
    """Sorts the records of CIFAR's batches by class and file name, so that their order in the batch has no effect.

    Args:
        batches: by name, `{b"data": uint8 [records, 3 side²], channel by channel and row by row, b"fine_labels":
            int [records], b"filenames": bytes [records]}`.
        names: the names of the classes, in the order of the labels.
        examples: which batches, in order, and how many images each has of every class.
        side: the side of the images.

    Returns:
        The images, uint8 `[classes, sum of examples, side, side, 3]`.

    Raises:
        ValueError: if a batch has another shape, or another number of images of a class.
        KeyError: if a batch lacks one of the three.
    """
    images = np.empty((len(names), sum(examples.values()), side, side, 3), np.uint8)
    start = 0
    for batch, count in examples.items():
        records, labels, files = (as_array(batches[batch][key]) for key in (b"data", b"fine_labels", b"filenames"))
        check_records(batch, records, labels, files, names=names, count=count, side=side)
        order = np.lexsort((files, labels)).reshape(len(names), count)
        for row, places in zip(images, order, strict=True):
            row[start : start + count] = records[places].reshape(count, 3, side, side).transpose(0, 2, 3, 1)
        start += count
    return ClassImages(images, np.full(len(names), start, np.int32), tuple(names))


def check_records(
    batch: str,
    records: np.ndarray,
    labels: np.ndarray,
    files: np.ndarray,
    *,
    names: Sequence[str],
    count: int,
    side: int,
) -> None:
    """Raises ValueError unless a batch has `count` images of every class, each with a label and a name."""
    shape = (len(names) * count, 3 * side**2)
    if records.dtype != np.uint8 or records.shape != shape:
        raise ValueError(f"the images of {batch!r} are {records.dtype} {list(records.shape)}, not uint8 {list(shape)}")
    if labels.shape != shape[:1] or files.shape != shape[:1]:
        raise ValueError(f"{batch!r} has {labels.size} labels and {files.size} file names for {len(records)} images")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(f"the labels of {batch!r} are not all whole numbers from 0 to {len(names) - 1}")
    found = np.bincount(labels, minlength=len(names))
    if (found != count).any():
        wrong = int(np.argmax(found != count))
        raise ValueError(f"{batch!r} has {found[wrong]} images of {names[wrong]!r}, not {count}")


def damaged(path: Path, reason: str) -> ValueError:
    """The error for an archive that is not what it should be."""
    return ValueError(
        f"{path} is damaged, or is not CIFAR-100's {path.name} for Python ({reason:.300}). Delete it and download it "
        f"again, with download=True or from {URL}."
    )
