"""Convolution whose kernel differs from task to task, fast under `vmap`, `grad` and `grad` of `grad`.

It is the trilinear form Σ outputs · (images ∗ kernel), see `jax_meta.trilinear`. Each of its three faces is computed in
the way that was measured to be the fastest on the platform, see `jax_meta.convolution_cpu`.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from jax_meta.networks import convolution_cpu
from jax_meta.networks.convolution_cpu import Geometry
from jax_meta.networks.trilinear import make_form

ROLES = ("images", "kernel", "outputs")

UNROLL_TASKS = 8
"""On CPU, up to so many tasks are written out one after the other; more are a loop, which compiles sooner."""


def convolution(
    images: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | tuple[int, int] = 1,
    padding: Literal["SAME", "VALID"] = "SAME",
) -> jax.Array:
    """Convolves images with a kernel, as `flax.linen.Conv` does; `jax.vmap` gives each task its own kernel.

    Args:
        images: `[examples, height, width, channels]`.
        kernel: `[kernel_height, kernel_width, channels, features]`, of the same dtype.
        strides: the step between outputs, down and across. Default: 1.
        padding: "SAME" pads with zeros to ⌈size / stride⌉ outputs, "VALID" does not pad. Default: "SAME".

    Returns:
        `[examples, output_height, output_width, features]`, of the same dtype.

    Raises:
        ValueError: if the shapes or dtypes do not fit together.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> image, sum_of_nine = jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
        >>> assert jax_meta.convolution(image, sum_of_nine, padding="VALID").item() == 9
    """
    if images.ndim != 4 or kernel.ndim != 4 or images.shape[3] != kernel.shape[2] or images.dtype != kernel.dtype:
        raise ValueError(
            "convolution needs images [examples, height, width, channels] and a kernel [kernel_height, kernel_width, "
            f"channels, features] of one dtype, got {images.dtype}{list(images.shape)} and "
            f"{kernel.dtype}{list(kernel.shape)}: convert uint8 images to float, and add a last axis to grey ones."
        )
    down_across = (strides, strides) if isinstance(strides, int) else tuple(strides)
    image, window = images.shape[1:3], kernel.shape[:2]
    padded = tuple(jax.lax.padtype_to_pads(image, window, down_across, padding))
    geometry = Geometry((image[0], image[1]), (window[0], window[1]), (down_across[0], down_across[1]), padded)
    if min(geometry.outputs) < 1:
        raise ValueError(f"a kernel of {window} does not fit into images of {image}: pad them, or make them larger.")
    return form("outputs", {"images": images[None], "kernel": kernel[None]}, geometry)[0]


def on_any_platform(left: jax.Array, right: jax.Array, *, wanted: str, geometry: Geometry) -> jax.Array:
    """`jax.lax`'s own convolution, grouped by task."""
    return jax.vmap(partial(convolution_cpu.BY_XLA[wanted], geometry=geometry, row_step=1))(left, right)


def on_cpu(left: jax.Array, right: jax.Array, *, wanted: str, geometry: Geometry) -> jax.Array:
    """One task after the other, each on all cores."""
    one: Callable[..., jax.Array] = partial(convolution_cpu.choose(wanted, left, right, geometry), geometry=geometry)
    tasks = left.shape[0]
    if tasks > UNROLL_TASKS:
        return jax.lax.map(lambda pair: one(*pair), (left, right))
    return jnp.stack([one(left[task], right[task]) for task in range(tasks)])


form = make_form("convolution", ROLES, on_any_platform=on_any_platform, on_cpu=on_cpu)
