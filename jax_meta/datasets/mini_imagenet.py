"""mini-ImageNet: 100 classes of ImageNet with 600 images each, in the three forms in which people have it.

The data set is of Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, arXiv:1606.04080. The split, of 64, 16 and 20
classes, is of Ravi and Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017.
"""

import csv
import os
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from jax_meta.datasets.archives import ALWAYS_ALLOWED, MOST_EXPANSION, read_arrays
from jax_meta.datasets.cache import cached
from jax_meta.datasets.image_folder import decode
from jax_meta.datasets.images import ClassImages, Splits
from jax_meta.datasets.pickled_arrays import as_array
from jax_meta.datasets.pickles import load_arrays

FORMS = ("{}.csv", "mini-imagenet-cache-{}.pkl", "mini-imagenet-{}.npz", "{}.npz")
"""How the three files of each form are called, in the order in which they are looked for."""

Table = dict[str, list[Path]]
Places = dict[str, np.ndarray]
"""For each label, its images, as files or as places in an array."""


def load_mini_imagenet(
    folder: str | os.PathLike, *, size: int = 84, cache_folder: str | os.PathLike | None = None
) -> Splits:
    """Reads mini-ImageNet from the first of these forms that `folder` has whole.

    - train.csv, val.csv and test.csv of Ravi and Larochelle, with columns `filename` and `label`, beside a folder
      `images` that has all those files, of any size: they are cropped at the centre to a square and resized (Lanczos).
    - mini-imagenet-cache-train.pkl, -val.pkl and -test.pkl, each a pickled dict of "image_data", uint8
      `[N, size, size, 3]`, and "class_dict", from each label to the places of its images. No code in it is run.
    - mini-imagenet-train.npz, -val.npz and -test.npz, or else train.npz, val.npz and test.npz, each with the arrays
      `images`, uint8 `[N, size, size, 3]`, and `labels`, `[N]` strings or whole numbers.

    Args:
        folder: where they are. There is no official download, for the images are ImageNet's.
        size: the side of the images in pixels. Default: 84.
        cache_folder: where the decoded images are kept, 1.3 GB at 84 pixels. Default: `folder`, or
            `~/.cache/jax_meta` if that is read-only.

    Returns:
        The classes, in ascending order of their labels (as text) in each part: images uint8
        `[classes, 600, size, size, 3]`, those of a class in the order in which the file has them. Other numbers of
        classes and images are accepted; where a class has fewer images than another, the rest of its row is zero.

    Raises:
        FileNotFoundError: if `folder` has none of the forms whole, or lacks an image that a csv file lists.
        ValueError: if a file is damaged or has another content, if it stores images of another size, if two parts
            share a label, or if `size` is not a positive int.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from jax_meta.datasets import load_mini_imagenet
        >>> images = np.zeros((2, 6, 6, 3), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part, label in (("train", "n01"), ("val", "n02"), ("test", "n03")):
        ...         np.savez(pathlib.Path(folder) / part, images=images, labels=np.array([label] * 2))
        ...     splits = load_mini_imagenet(folder, size=6)
        >>> assert splits.val.names == ("n02",) and splits.val.images.shape == (1, 2, 6, 6, 3)
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be an int of 1 or more, got {size!r}.")
    paths = find_form(Path(folder))
    # The labels of csv files are compared before any image is decoded, the others' when all is there.
    tables = {part: read_table(path) for part, path in paths.items() if path.suffix == ".csv"}
    check_disjoint(Path(folder), tables)
    parts = {
        part: load_part(f"mini-imagenet-{part}", path, tables.get(part, {}), size=size, cache_folder=cache_folder)
        for part, path in paths.items()
    }
    check_disjoint(Path(folder), {part: data.names for part, data in parts.items()})
    return Splits(**parts)


def find_form(folder: Path) -> dict[str, Path]:
    """The files of train, val and test in the first form that is there whole; FileNotFoundError if none is."""
    for form in FORMS:
        paths = {part: folder / form.format(part) for part in Splits._fields}
        if all(path.is_file() for path in paths.values()) and (form != "{}.csv" or (folder / "images").is_dir()):
            return paths
    raise FileNotFoundError(
        f"there is no mini-ImageNet in {folder}. It needs train.csv, val.csv and test.csv with a folder images; or "
        "mini-imagenet-cache-{train,val,test}.pkl; or mini-imagenet-{train,val,test}.npz; or {train,val,test}.npz. "
        "There is no official download: take the csv files from Ravi and Larochelle's repository "
        "(github.com/twitter-research/meta-learning-lstm) and the images that they list from ImageNet (image-net.org)."
    )


def load_part(name: str, path: Path, table: Table, *, size: int, cache_folder: str | os.PathLike | None) -> ClassImages:
    """One part, cached under that name: of the images in `table`, if `path` is a csv file, or of those in `path`."""

    def build() -> ClassImages:
        if path.suffix == ".csv":
            return decode(table, size=(size, size), channels=3)
        images, places = (read_pickle if path.suffix == ".pkl" else read_npz)(path)
        check_images(path, images, places, size=size)
        return group_images(images, places)

    sources = [path, *(image for images in table.values() for image in images)]
    return cached(name, sources, build, options={"size": size}, cache_folder=cache_folder)


def read_table(path: Path) -> Table:
    """The images of a csv file by label, in ascending order; raises an error if it is bad or an image is missing."""
    folder = path.parent / "images"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row["label"], row["filename"]) for row in csv.DictReader(file, strict=True)]
    except (KeyError, csv.Error, UnicodeDecodeError) as error:
        raise damaged(path, f"no csv file with columns filename and label: {error}") from error
    names = {name for _, name in rows}
    if not rows or not all(label and name for label, name in rows):
        raise damaged(path, "a row without a filename or label" if rows else "no images in it")
    if len(names) != len(rows):
        raise damaged(path, "an image is listed twice")
    with os.scandir(folder) as entries:  # to read from a pipe or a device would take forever
        files = {entry.name for entry in entries if entry.is_file()}
    if missing := sorted(names - files):
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} images in {path} are not in {folder}, such as {missing[0]}. "
            "Put all images of the three csv files into that one folder, under the names in the csv files."
        )
    table: Table = {label: [] for label in sorted({label for label, _ in rows})}
    for label, name in rows:
        table[label].append(folder / name)
    return table


def read_pickle(path: Path) -> tuple[np.ndarray, Places]:
    """The images of a pickle, and their places by label; raises ValueError if it has none."""
    with path.open("rb") as file:
        content = load_arrays(file, name=str(path))
    try:
        entries = {text(key): value for key, value in content.items()}
        images, lists = as_array(entries["image_data"]), entries["class_dict"]
        if sum(map(len, lists.values())) > len(images):  # as may be where many labels share one list
            raise ValueError("more places of images than images")
        places = {text(label): as_array(where) for label, where in lists.items()}
        if len(places) != len(lists):
            raise ValueError("two labels of the same name")
        return images, places
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise damaged(path, f"no dict of image_data and class_dict: {error}") from error


def read_npz(path: Path) -> tuple[np.ndarray, Places]:
    """The images of an npz file, and their places by label; raises ValueError if it has none."""
    try:
        images, labels = read_arrays(path, ("images", "labels"))
        if labels.dtype.kind not in "iuSU" or labels.shape != images.shape[:1]:
            raise ValueError(f"labels {labels.dtype} {list(labels.shape)} for images {list(images.shape)}")
        names, starts = np.unique(np.sort(labels), return_index=True)
        places = np.split(np.argsort(labels, kind="stable"), starts)[1:]
        return images, {text(name): where for name, where in zip(names, places, strict=True)}
    except Exception as error:  # of NumPy, zipfile, zlib and struct
        raise damaged(path, f"no npz file of images and labels: {str(error) or type(error).__name__}") from error


def text(label: Any) -> str:
    """A label as text; Python 2 and some NumPy arrays have it in bytes."""
    return label.decode() if isinstance(label, bytes) else str(label)


def check_images(path: Path, images: np.ndarray, places: Places, *, size: int) -> None:
    """Raises ValueError unless the images are of that size, every label has some, and no two labels share one."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise damaged(path, f"images {images.dtype} {list(images.shape)}, not uint8 [N, size, size, 3]")
    if images.shape[1:3] != (size, size):
        height, width = images.shape[1:3]
        raise ValueError(
            f"{path} stores images of {height} x {width} pixels, not {size} x {size}: give their size, or use the csv "
            "files with the original images, which are resized."
        )
    lists = list(places.values())
    if not lists or any(where.ndim != 1 or not where.size or where.dtype.kind not in "iu" for where in lists):
        raise damaged(path, "no labels, or one whose images are not a list of whole numbers")
    where = np.concatenate(lists)
    if where.min() < 0 or where.max() >= len(images) or len(np.unique(where)) != len(where):
        raise damaged(path, f"places of images that are not all different, from 0 to {len(images) - 1}")
    filled = max(map(len, lists)) * len(lists) * images[0].nbytes
    if filled > max(ALWAYS_ALLOWED, MOST_EXPANSION * images.nbytes):
        raise ValueError(
            f"{path} has one class of {max(map(len, lists))} images: with the rows of all {len(lists)} classes of that "
            f"length, they would take {filled >> 30} GiB. Leave images of that class out."
        )


def group_images(images: np.ndarray, places: Places) -> ClassImages:
    """Groups images `[N, height, width, 3]` by label, in ascending order, without a copy if that is their order."""
    names, lists = zip(*sorted(places.items()), strict=True)
    counts = np.array([len(where) for where in lists], np.int32)
    shape = (len(names), int(counts.max()), *images.shape[1:])
    total = shape[0] * shape[1]
    if np.array_equal(np.concatenate(lists), np.arange(total)):
        return ClassImages(images[:total].reshape(shape), counts, names)
    grouped = np.zeros(shape, np.uint8)
    for row, where in zip(grouped, lists, strict=True):
        row[: len(where)] = images[where]
    return ClassImages(grouped, counts, names)


def check_disjoint(folder: Path, labels: Mapping[str, Collection[str]]) -> None:
    """Raises ValueError if two of the parts share a label."""
    for (part, names), (other, other_names) in combinations(labels.items(), 2):
        shared = sorted(set(names) & set(other_names))
        if shared:
            raise ValueError(
                f"{part} and {other} in {folder} share {len(shared)} labels, such as {shared[0]!r}: a class must be in "
                "one part only. If the labels count from 0 in each part, replace them by the names of the classes."
            )


def damaged(path: Path, reason: str) -> ValueError:
    """The error for a file that is not what it should be."""
    return ValueError(f"{path} is damaged, or is not mini-ImageNet's ({reason:.300}). Get it again, or make it anew.")
