"""Images by class: the one form in which every image data set is held."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_meta.datasets.image_checks import check_counts, check_images, check_names

__all__ = ["ClassImages", "Splits", "select", "select_names"]


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class ClassImages:
    """Images by class, as a pytree: `jax.device_put` moves it to the device, and it may be an argument under `jit`.

    Attributes:
        images: uint8 from 0 to 255, `[classes, examples, height, width, channels]`. Where a class has fewer images than
            another, the rest of its row is not looked at.
        counts: whole numbers `[classes]`, the images of each class: 1 or more.
        names: the name of each class, a tuple of text.

    Raises:
        ValueError: if the three are not of that form, or do not fit together; the message says how to make them.

    Example:
        >>> import numpy as np
        >>> from jax_meta.datasets import ClassImages
        >>> pixels = np.random.default_rng(0).integers(0, 256, (30, 10, 28, 28, 1), np.uint8)
        >>> data = ClassImages(pixels, np.full(30, 10, np.int32), tuple(f"class {number}" for number in range(30)))
        >>> assert data.images.shape == (30, 10, 28, 28, 1)
    """

    images: jax.Array | np.ndarray
    counts: jax.Array | np.ndarray
    names: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Checks what is given; not what JAX puts in the place of the arrays, such as axes and shardings."""
        if isinstance(self.names, list):
            object.__setattr__(self, "names", tuple(self.names))
        check_images(self.images)
        check_names(self.names, len(self.images))
        check_counts(self.counts, self.names, self.images.shape[1])

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        """The arrays, and the names."""
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in ("images", "counts")], self.names

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], arrays: Sequence[Any]) -> "ClassImages":
        """The inverse of it."""
        made = object.__new__(cls)
        for name, value in zip(("images", "counts", "names"), (*arrays, names), strict=True):
            object.__setattr__(made, name, value)
        return made


class Splits(NamedTuple):
    """Disjoint classes to train on, to choose by, and to report.

    Example:
        >>> import numpy as np
        >>> from jax_meta.datasets import ClassImages, Splits, select
        >>> data = ClassImages(np.zeros((10, 5, 4, 4, 1), np.uint8), np.full(10, 5, np.int32), tuple("abcdefghij"))
        >>> splits = Splits(select(data, range(6)), select(data, range(6, 8)), select(data, range(8, 10)))
        >>> assert splits.test.names == ("i", "j")
    """

    train: ClassImages
    val: ClassImages
    test: ClassImages


def select(data: ClassImages, indices: Sequence[int] | np.ndarray) -> ClassImages:
    """Some of the classes, in the order asked for.

    Args:
        data: images by class.
        indices: one or more classes by number, from 0; from the end if negative, as in a list.

    Returns:
        Those classes; the images are copied unless the indices are one ascending run.

    Raises:
        ValueError: if `indices` is empty, or not a list of whole numbers, or there are no such classes.

    Example:
        >>> import numpy as np
        >>> from jax_meta.datasets import ClassImages, select
        >>> data = ClassImages(np.zeros((3, 5, 4, 4, 1), np.uint8), np.array([5, 2, 4]), ("a", "b", "c"))
        >>> enough = select(data, np.flatnonzero(data.counts >= 4))
        >>> assert enough.names == ("a", "c")
    """
    classes, indices = len(data.names), np.asarray(indices)
    if (
        indices.ndim != 1
        or not indices.size
        or indices.dtype.kind not in "iu"
        or not (-classes <= indices.min() <= indices.max() < classes)
    ):
        raise ValueError(
            f"indices must be one or more of the classes 0 to {classes - 1}, got {indices.dtype}{list(indices.shape)}"
            f"{f' from {indices.min()} to {indices.max()}' if indices.size else ''}. "
            "Of a mask: np.flatnonzero(mask)."
        )
    indices = indices.astype(np.int64) % classes
    run = np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices)))
    rows = slice(int(indices[0]), int(indices[0]) + len(indices)) if run else indices
    return ClassImages(data.images[rows], data.counts[rows], tuple(data.names[index] for index in indices))


def select_names(data: ClassImages, names: Sequence[str]) -> ClassImages:
    """The classes of some names, in the order asked for.

    Args:
        data: images by class.
        names: one or more names of classes.

    Returns:
        Those classes, as `select` does.

    Raises:
        ValueError: if `names` is empty, the data lacks a name, or two classes have it.

    Example:
        >>> import numpy as np
        >>> from jax_meta.datasets import ClassImages, select_names
        >>> data = ClassImages(np.zeros((3, 5, 4, 4, 1), np.uint8), np.array([5, 2, 4]), ("a", "b", "c"))
        >>> assert select_names(data, ["c", "b"]).counts.tolist() == [4, 2]
    """
    index = {name: position for position, name in enumerate(data.names)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} classes are not in the data, such as {missing[0]!r}: "
            "is this the whole data set, and is the split the one that belongs to it?"
        )
    times = Counter(data.names)
    shared = [name for name in names if times[name] > 1]
    if shared:
        raise ValueError(
            f"{shared[0]!r} is the name of {times[shared[0]]} classes: name them apart, or take classes by number with "
            "jax_meta.datasets.select."
        )
    return select(data, [index[name] for name in names])


def published_split(data: ClassImages, name: str) -> Splits:
    """The classes that the lists in `splits/<name>.json` put into each part."""
    lists = json.loads((Path(__file__).parent / "splits" / f"{name}.json").read_text(encoding="utf-8"))
    return Splits(*(select_names(data, lists[part]) for part in Splits._fields))
