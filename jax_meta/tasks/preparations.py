"""From images as they are stored to what a model takes, and what a training set is made larger by.

All run on the device, inside `jit`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jax_meta.checks import check_count, describe
from jax_meta.datasets.image_checks import check_bytes

__all__ = ["affine", "flip", "in_turn", "inverted", "shift", "standardised", "unit_interval"]

Prepare = Callable[[jax.Array], jax.Array]
Augment = Callable[[jax.Array, jax.Array], jax.Array]


def unit_interval(images: jax.Array) -> jax.Array:
    """Images as floats from 0 to 1, the default of `sample_episodes`.

    Args:
        images: uint8 from 0 to 255, of any shape.

    Returns:
        float32 of the same shape.

    Raises:
        ValueError: for images of another dtype, which may have been divided already.

    Example:
        >>> import numpy as np
        >>> from jax_meta.tasks import unit_interval
        >>> assert unit_interval(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    """
    check_bytes(images)
    return images.astype(jnp.float32) / 255


def inverted(images: jax.Array) -> jax.Array:
    """Images from 0 for white to 1 for black: Omniglot's ink is 1 and its paper 0, as in the MAML paper.

    Args:
        images: uint8 from 0 to 255, of any shape.

    Returns:
        float32 of the same shape.

    Raises:
        ValueError: for images of another dtype.

    Example:
        >>> import numpy as np
        >>> from jax_meta.tasks import inverted
        >>> assert inverted(np.array([0, 255], np.uint8)).tolist() == [1, 0]
    """
    return 1 - unit_interval(images)


def standardised(mean: Sequence[float], deviation: Sequence[float]) -> Prepare:
    """Makes a function that takes a mean away from images and divides by a standard deviation, for each channel.

    Args:
        mean: one for each channel, of images from 0 to 1.
        deviation: one for each channel, above 0.

    Returns:
        A function from uint8 images, channels last, to float32 of the same shape. It raises ValueError for images of
        another dtype or number of channels.

    Raises:
        ValueError: if the two differ in length, or a deviation is not above 0.

    Example:
        >>> import numpy as np
        >>> from jax_meta.tasks import standardised
        >>> grey = np.full((8, 8, 3), 51, np.uint8)  # a fifth of white
        >>> prepared = standardised((0.2, 0.1, 0.0), (1.0, 0.5, 0.1))(grey)
        >>> assert np.allclose(prepared[0, 0], [0, 0.2, 2])
    """
    if len(mean) != len(deviation) or not all(value > 0 for value in deviation):
        raise ValueError(f"a mean and a deviation above 0 are needed for each channel, got {mean} and {deviation}.")
    return lambda images: (unit_interval(images) - expand(mean, images)) / expand(deviation, images)


def expand(values: Sequence[float], images: jax.Array) -> jax.Array:
    """One number a channel, with the rank of `images`."""
    if images.shape[-1:] != (len(values),):
        raise ValueError(
            f"{len(values)} means and deviations for images {describe(images)}: give one for each channel."
        )
    return jnp.asarray(values, jnp.float32).reshape(*[1] * (images.ndim - 1), -1)


def flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """An augmentation: mirrors an image left to right, with probability one half.

    Args:
        key: randomness.
        image: `[height, width, channels]`.

    Returns:
        The image, of the same shape and dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jax_meta.tasks import flip
        >>> image = jnp.arange(6.0).reshape(2, 3, 1)
        >>> flipped = flip(jax.random.key(0), image)
        >>> assert (flipped == image).all() or (flipped == image[:, ::-1]).all()
    """
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def shift(key: jax.Array, image: jax.Array, *, pixels: int = 4) -> jax.Array:
    """An augmentation: moves an image by up to `pixels` each way, and fills with zeros; a crop of the padded image.

    Args:
        key: randomness.
        image: `[height, width, channels]`.
        pixels: the farthest, 0 or more. Default: 4.

    Returns:
        The image, of the same shape and dtype.

    Raises:
        ValueError: if `pixels` is not an integer of 0 or more.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jax_meta.tasks import shift
        >>> moved = shift(jax.random.key(0), jnp.ones((8, 8, 1)), pixels=2)
        >>> assert moved.shape == (8, 8, 1) and moved.sum() >= 36
    """
    check_count(pixels, "pixels", least=0)
    padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def affine(
    key: jax.Array,
    image: jax.Array,
    *,
    degrees: float = 360.0,
    shift: float = 0.2,
    scales: tuple[float, float] = (0.8, 1.2),
) -> jax.Array:
    """An augmentation: turns an image about its middle, makes it larger or smaller, and moves it, each at random.

    Every pixel of the result is the nearest one of the image, or 0 outside it, as in torchvision's `RandomAffine`. The
    defaults are those of the multi-shot tasks of Omniglot's alphabets, Sebastian Flennerhag et al., arXiv:1812.01054.

    Args:
        key: randomness.
        image: `[height, width, channels]`.
        degrees: the angle is uniform from 0 to so many, counter-clockwise. Default: 360.
        shift: the farthest move, as a part of the height and of the width; it is by whole pixels. Default: 0.2.
        scales: the smallest and the largest factor, above 0, uniform between them. Default: 0.8 and 1.2.

    Returns:
        The image, of the same shape and dtype.

    Raises:
        ValueError: if a number is negative, or `scales` are not two in ascending order, above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jax_meta.tasks import affine
        >>> image = jnp.arange(16.0).reshape(4, 4, 1)
        >>> still = affine(jax.random.key(0), image, degrees=0, shift=0, scales=(1, 1))
        >>> assert (still == image).all()
    """
    if degrees < 0 or shift < 0 or not 0 < scales[0] <= scales[1]:
        raise ValueError(
            f"degrees and shift must be 0 or more, and scales two factors above 0 in ascending order, got {degrees}, "
            f"{shift} and {scales}."
        )
    angle_key, scale_key, move_key = jax.random.split(key, 3)
    angle = jnp.deg2rad(jax.random.uniform(angle_key, maxval=float(degrees)))
    scale = jax.random.uniform(scale_key, minval=float(scales[0]), maxval=float(scales[1]))
    size = jnp.array(image.shape[:2], float)
    move = jnp.round(shift * size * jax.random.uniform(move_key, (2,), minval=-1.0)).reshape(2, 1, 1)
    middle = ((size - 1) / 2).reshape(2, 1, 1)
    row, column = jnp.indices(image.shape[:2]) - middle - move
    cosine, sine = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    source = jnp.stack([cosine * row + sine * column, cosine * column - sine * row]) + middle
    places = jnp.round(source).astype(int)
    limits = jnp.array(image.shape[:2]).reshape(2, 1, 1)
    inside = ((places >= 0) & (places < limits)).all(0)
    rows, columns = jnp.clip(places, 0, limits - 1)
    return jnp.where(inside[..., None], image[rows, columns], 0)


def in_turn(*augmentations: Augment) -> Augment:
    """One augmentation after the other, each with a key of its own.

    Args:
        augmentations: functions `(key, image) -> image`.

    Returns:
        A function `(key, image) -> image`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jax_meta.tasks import flip, in_turn, shift
        >>> augmented = in_turn(flip, shift)(jax.random.key(0), jnp.ones((8, 8, 1)))
        >>> assert augmented.shape == (8, 8, 1)
    """

    def augment(key, image):
        for step, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(key, step), image)
        return image

    return augment
