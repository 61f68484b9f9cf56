"""The maximum of 2 by 2 windows, whose second derivative is fast."""

import jax
import jax.numpy as jnp
import numpy as np

WINDOW_POSITIONS = np.arange(4, dtype=np.int8).reshape(2, 1, 2, 1)


@jax.custom_jvp
def max_pool(images: jax.Array) -> jax.Array:
    """The maximum of each 2 by 2 window; an odd last row or column is dropped, as "VALID" padding does.

    Where values tie, the derivative is that of the first, as for `flax.linen.max_pool`, whose second derivative is far
    slower on CPU.

    Args:
        images: `[examples, height, width, channels]`.

    Returns:
        `[examples, height // 2, width // 2, channels]`.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> image = jnp.array([[1.0, 2.0], [4.0, 3.0]]).reshape(1, 2, 2, 1)
        >>> assert jax_meta.layers.max_pool(image).item() == 4
    """
    return windows(images).max((2, 4))


@max_pool.defjvp
def max_pool_jvp(primals, tangents):
    """The tangent of each window's first maximum."""
    ((images,), (tangent,)) = primals, tangents
    chosen = first_maximum(windows(images))[:, :, None, :, None] == WINDOW_POSITIONS[None, None]
    return max_pool(images), jnp.where(chosen, windows(tangent), 0).sum((2, 4))


def first_maximum(window: jax.Array) -> jax.Array:
    """Where in its window the first maximum is, int8 `[examples, height // 2, width // 2, channels]` from 0 to 3.

    The four are compared with each other and not with their maximum: XLA may compute them twice and round each time in
    another way, and then none of them equals it.
    """
    largest, position = window[:, :, 0, :, 0], jnp.zeros((), jnp.int8)
    for place, (row, column) in enumerate(((0, 1), (1, 0), (1, 1)), start=1):
        value = window[:, :, row, :, column]
        larger = value > largest
        largest, position = jnp.where(larger, value, largest), jnp.where(larger, jnp.int8(place), position)
    return position


def windows(images: jax.Array) -> jax.Array:
    """`[examples, height // 2, 2, width // 2, 2, channels]`: the images in 2 by 2 windows."""
    examples, height, width, channels = images.shape
    height, width = height // 2, width // 2
    return images[:, : 2 * height, : 2 * width].reshape(examples, height, 2, width, 2, channels)
