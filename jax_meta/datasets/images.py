"""Images by class: the one form in which every image data set is held."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np


@partial(jax.tree_util.register_dataclass, data_fields=["images", "counts"], meta_fields=["names"])
@dataclass(frozen=True, eq=False)
class ClassImages:
    """Images by class, as a pytree: `jax.device_put` moves it to the device, and it may be an argument under `jit`.

    Attributes:
        images: uint8 `[classes, examples, height, width, channels]`. Where a class has fewer images than another, the
            rest of its row is zero.
        counts: int32 `[classes]`, the images of each class.
        names: the name of each class.
    """

    images: jax.Array | np.ndarray
    counts: jax.Array | np.ndarray
    names: tuple[str, ...] = field(repr=False)


class Splits(NamedTuple):
    """Disjoint classes to train on, to choose by, and to report."""

    train: ClassImages
    val: ClassImages
    test: ClassImages


def select(data: ClassImages, indices: Sequence[int] | np.ndarray) -> ClassImages:
    """The classes `indices`, in that order; images are copied unless the indices are one ascending run."""
    indices = np.asarray(indices, np.int64)
    run = len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices)))
    rows = slice(int(indices[0]), int(indices[0]) + len(indices)) if run else indices
    return ClassImages(data.images[rows], data.counts[rows], tuple(data.names[index] for index in indices))


def select_names(data: ClassImages, names: Sequence[str]) -> ClassImages:
    """The classes called `names`, in that order; raises ValueError for a name that the data lacks."""
    index = {name: position for position, name in enumerate(data.names)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} classes are not in the data, such as {missing[0]!r}: "
            "is this the whole data set, and is the split the one that belongs to it?"
        )
    return select(data, [index[name] for name in names])


def published_split(data: ClassImages, name: str) -> Splits:
    """The classes that the lists in `splits/<name>.json` put into each part."""
    lists = json.loads((Path(__file__).parent / "splits" / f"{name}.json").read_text(encoding="utf-8"))
    return Splits(*(select_names(data, lists[part]) for part in Splits._fields))
