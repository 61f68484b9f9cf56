"""What images by class are: their dtype, their axes, and what belongs to each class."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.checks import describe

FORM = "[classes, examples, height, width, channels]"
REMEDIES = {
    "f": "Where they are from 0 to 1, give (images * 255).round().astype(np.uint8)",
    "b": "Give images.astype(np.uint8) * 255",
}
"""How to make images of another kind of dtype bytes."""


def check_bytes(images: Any) -> None:
    """Raises ValueError unless images are uint8."""
    if images.dtype != np.uint8:
        remedy = REMEDIES.get(np.dtype(images.dtype).kind, "Where they are from 0 to 255, give images.astype(np.uint8)")
        raise ValueError(f"images must be uint8 from 0 to 255, got {describe(images)}. {remedy}.")


def check_images(images: Any) -> None:
    """Raises ValueError unless images are uint8, by class, with their channels last."""
    if not hasattr(images, "dtype") or not hasattr(images, "shape"):
        raise ValueError(f"images must be an array of images, got a {type(images).__name__}: stack them with np.stack.")
    check_bytes(images)
    shape, found = images.shape, describe(images)
    if len(shape) != 5:
        raise ValueError(f"images must be {FORM}, got {found}. Grey images without channels: images[..., None].")
    if 0 in shape:
        raise ValueError(f"images must be {FORM}, with no axis of size 0, got {found}.")
    if shape[2] in (1, 3) and shape[4] > 4:
        raise ValueError(f"images must be {FORM}, channels last, got {found}: give np.moveaxis(images, 2, -1).")


def check_names(names: Any, classes: int) -> None:
    """Raises ValueError unless there is a name for each class."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names must be a tuple of text, got a {type(names).__name__}: give tuple(map(str, names)).")
    if len(names) != classes:
        raise ValueError(f"names must have a name for each of the {classes} classes, got {len(names)}.")


def check_counts(counts: Any, names: tuple[str, ...], examples: int) -> None:
    """Raises ValueError unless there is a count for each class, of images that there are; traced ones pass."""
    if not hasattr(counts, "dtype") or not hasattr(counts, "shape"):
        raise ValueError(f"counts must be an array of counts, got a {type(counts).__name__}: give np.array(counts).")
    if counts.shape != (len(names),) or not jnp.issubdtype(counts.dtype, jnp.integer):
        raise ValueError(
            f"counts must be whole numbers, a count for each of the {len(names)} classes, got {describe(counts)}. "
            f"Where all classes have all {examples} images: np.full({len(names)}, {examples}, np.int32)."
        )
    if isinstance(counts, jax.core.Tracer):
        return
    wrong = np.flatnonzero((np.asarray(counts) < 1) | (np.asarray(counts) > examples))
    if len(wrong):
        raise ValueError(
            f"counts must be from 1 to the {examples} images that there are, and that of {names[wrong[0]]!r} is "
            f"{counts[wrong[0]]}: count again, or leave such a class out."
        )
