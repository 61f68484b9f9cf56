"""The three faces of a convolution for one task, each in more than one formulation, and the choice among them on CPU.

XLA's CPU compiler hands an ordinary convolution to a library that ran at half the speed of its own Eigen kernels, and
has no fast kernel at all where the operands' axes are in another order. So every convolution here is written with its
axes in the one order that Eigen takes, and its rows are spread by 2: images and kernel dilated, strides and padding
doubled. That is the same sum, term by term, and only Eigen accepts it. `benchmarks.convolution` measures both.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")
ROW_STEP = 2
SMALL_WINDOW = 32
"""A kernel of so few weights a feature (one or three channels) is faster as patches times a matrix."""

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """The sizes of a convolution, each down and across: image, kernel, strides, and zeros before and after."""

    image: Pair
    kernel: Pair
    strides: Pair
    padding: tuple[Pair, ...]

    @property
    def outputs(self) -> Pair:
        """The size of the outputs."""
        down, across = (
            (size + sum(pad) - window) // stride + 1
            for size, pad, window, stride in zip(self.image, self.padding, self.kernel, self.strides, strict=True)
        )
        return down, across

    @property
    def covered(self) -> Pair:
        """How much of the padded image the windows reach, from the first row to the last of the last window."""
        down, across = (
            (output - 1) * stride + window
            for output, stride, window in zip(self.outputs, self.strides, self.kernel, strict=True)
        )
        return down, across


def correlate(
    images: jax.Array,
    kernel: jax.Array,
    padding: list[Pair],
    *,
    strides: Pair = (1, 1),
    image_dilation: Pair = (1, 1),
    kernel_dilation: Pair = (1, 1),
    row_step: int,
) -> jax.Array:
    """`jax.lax`'s convolution with its rows `row_step` apart, whatever that is: the sum is the same."""
    (down, across), (image_down, image_across), (kernel_down, kernel_across) = strides, image_dilation, kernel_dilation
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (row_step * down, across),
        [(row_step * padding[0][0], row_step * padding[0][1]), padding[1]],
        lhs_dilation=(row_step * image_down, image_across),
        rhs_dilation=(row_step * kernel_down, kernel_across),
        dimension_numbers=CHANNELS_LAST,
    )


def outputs_by_xla(images: jax.Array, kernel: jax.Array, *, geometry: Geometry, row_step: int = ROW_STEP) -> jax.Array:
    """outputs = images ∗ kernel."""
    return correlate(images, kernel, list(geometry.padding), strides=geometry.strides, row_step=row_step)


def images_by_xla(kernel: jax.Array, outputs: jax.Array, *, geometry: Geometry, row_step: int = ROW_STEP) -> jax.Array:
    """The gradient of the images: the outputs, as far apart as the strides, with the kernel turned by 180 degrees."""
    padding = []
    for size, pad, window, covered in zip(
        geometry.image, geometry.padding, geometry.kernel, geometry.covered, strict=True
    ):
        padding.append((window - 1 - pad[0], size + window - 1 - covered + pad[0]))
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return correlate(outputs, turned, padding, image_dilation=geometry.strides, row_step=row_step)


def kernel_by_xla(images: jax.Array, outputs: jax.Array, *, geometry: Geometry, row_step: int = ROW_STEP) -> jax.Array:
    """The gradient of the kernel: images convolved with outputs, channels for examples and examples for channels."""
    images, outputs = images.transpose(3, 1, 2, 0), outputs.transpose(1, 2, 0, 3)
    gradient = correlate(images, outputs, reach(geometry), kernel_dilation=geometry.strides, row_step=row_step)
    return gradient.transpose(1, 2, 0, 3)


def patches(images: jax.Array, geometry: Geometry) -> jax.Array:
    """What each window sees, `[examples, outputs, outputs, kernel_height * kernel_width * channels]`."""
    rows, columns = ((*pad, 0) for pad in reach(geometry))
    padded = jax.lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), rows, columns, (0, 0, 0)])
    (kernel_height, kernel_width), (down, across) = geometry.kernel, geometry.strides
    height, width = geometry.outputs
    shifted = [
        padded[:, row : row + down * height : down, column : column + across * width : across]
        for row in range(kernel_height)
        for column in range(kernel_width)
    ]
    return jnp.concatenate(shifted, -1)


def reach(geometry: Geometry) -> list[Pair]:
    """The zeros before and after the image, down and across, that just fill the windows; fewer than none crop it."""
    return [
        (pad[0], covered - size - pad[0])
        for size, pad, covered in zip(geometry.image, geometry.padding, geometry.covered, strict=True)
    ]


def outputs_by_patches(images: jax.Array, kernel: jax.Array, *, geometry: Geometry) -> jax.Array:
    """outputs = patches · kernel."""
    return jnp.einsum("nhwk,ko->nhwo", patches(images, geometry), kernel.reshape(-1, kernel.shape[-1]))


def kernel_by_patches(images: jax.Array, outputs: jax.Array, *, geometry: Geometry) -> jax.Array:
    """The gradient of the kernel: patchesᵀ · outputs."""
    gradient = jnp.einsum("nhwk,nhwo->ko", patches(images, geometry), outputs)
    return gradient.reshape(*geometry.kernel, images.shape[-1], outputs.shape[-1])


def images_by_patches(kernel: jax.Array, outputs: jax.Array, *, geometry: Geometry) -> jax.Array:
    """The gradient of the images: what outputs · kernelᵀ gives to each window, summed where windows overlap."""
    windows = jnp.einsum("nhwo,rsco->nhwrsc", outputs, kernel)
    # not a shape alone: inside `jax.shard_map` its type also says over which axes it varies
    images = jnp.broadcast_to(windows.ravel()[0], (outputs.shape[0], *geometry.image, kernel.shape[2]))
    (gradient,) = jax.linear_transpose(lambda images: patches(images, geometry), images)(
        windows.reshape(*outputs.shape[:3], -1)
    )
    return gradient


BY_XLA: dict[str, Callable[..., jax.Array]] = {
    "outputs": outputs_by_xla,
    "images": images_by_xla,
    "kernel": kernel_by_xla,
}
BY_PATCHES: dict[str, Callable[..., jax.Array]] = {
    "outputs": outputs_by_patches,
    "images": images_by_patches,
    "kernel": kernel_by_patches,
}


def choose(wanted: str, left: jax.Array, right: jax.Array, geometry: Geometry) -> Callable[..., jax.Array]:
    """The formulation that was fastest, by the shapes alone."""
    channels = {"outputs": left.shape[-1], "kernel": left.shape[-1], "images": left.shape[-2]}[wanted]
    few_weights = geometry.kernel[0] * geometry.kernel[1] * channels <= SMALL_WINDOW
    spread = wanted == "images" and geometry.strides != (1, 1)
    return BY_PATCHES[wanted] if few_weights or spread else BY_XLA[wanted]
