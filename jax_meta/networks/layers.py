"""Layers: Flax Linen modules whose parameters are their only state."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.networks.convolution import convolution
from jax_meta.networks.dense import dense

WINDOW_POSITIONS = np.arange(4, dtype=np.int8).reshape(2, 1, 2, 1)


class Convolution(nn.Module):
    """`flax.linen.Conv` in two dimensions, with the same parameters, fast where the kernel differs from task to task.

    Attributes:
        features: the number of outputs at each place.
        kernel_size: height and width. Default: 3 by 3.
        strides: the step between outputs. Default: 1.
        padding: "SAME" or "VALID". Default: "SAME".
        use_bias: whether to add a bias, which starts at zero. Default: True.
        kernel_init: Flax's own default, truncated normal with variance 1 / fan_in.
        param_dtype: of the parameters. Default: float32; images of another dtype are promoted as in `flax.linen.Conv`.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """`[examples, height, width, channels]` to `[examples, height, width, features]`."""
        shape = (*self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        images, kernel = nn.dtypes.promote_dtype(images, kernel)
        outputs = convolution(images, kernel, strides=self.strides, padding=self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
            outputs = outputs + bias.reshape(1, 1, 1, -1)
        return outputs


class Dense(nn.Module):
    """`flax.linen.Dense`, with the same parameters, fast where the kernel differs from task to task.

    Attributes:
        features: the number of outputs.
        kernel_init: Flax's own default, truncated normal with variance 1 / fan_in.
        bias_init: zeros by default.
        param_dtype: of the parameters. Default: float32; inputs of another dtype are promoted as in `flax.linen.Dense`.
    """

    features: int
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`[examples, inputs]` to `[examples, features]`."""
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        inputs, kernel, bias = nn.dtypes.promote_dtype(inputs, kernel, bias)
        return dense(inputs, kernel) + bias[None]


class BatchNorm(nn.Module):
    """Normalises each feature by the mean and variance of the batch at hand, then adds a learned bias.

    It carries no running averages, in training or at test, so that parameters are the only state. A query set that is
    classified whole is thus classified transductively: each prediction depends on the other queries.

    Attributes:
        use_scale: whether to multiply by a learned scale, too. Default: False, as the MAML code does it.
        epsilon: added to the variance. Default: 1e-5.
    """

    use_scale: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, inputs: jax.Array, statistics: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """`[examples, ..., features]` to the same; `statistics` are by default `batch_statistics(inputs)`."""
        mean, variance = batch_statistics(inputs) if statistics is None else statistics
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if self.use_scale:
            factor *= self.param("scale", nn.initializers.ones, mean.shape, inputs.dtype)
        bias = self.param("bias", nn.initializers.zeros, mean.shape, inputs.dtype)
        lead = (1,) * (inputs.ndim - 1)
        return (inputs - mean.reshape(*lead, -1)) * factor.reshape(*lead, -1) + bias.reshape(*lead, -1)


def batch_statistics(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of each feature, `[features]`, over all other axes of `[examples, ..., features]`."""
    axes = tuple(range(inputs.ndim - 1))
    mean = inputs.mean(axes)
    return mean, jnp.maximum((inputs**2).mean(axes) - mean**2, 0)  # one pass over memory, as in flax.linen.BatchNorm


@jax.custom_jvp
def max_pool(images: jax.Array) -> jax.Array:
    """The maximum of each 2 by 2 window; an odd last row or column is dropped, as "VALID" padding does.

    `[examples, height, width, channels]` to `[examples, height // 2, width // 2, channels]`. Where values tie, the
    derivative is that of the first, as for `flax.linen.max_pool`, whose second derivative is far slower on CPU.
    """
    return windows(images).max((2, 4))


@max_pool.defjvp
def max_pool_jvp(primals, tangents):
    """The tangent of each window's first maximum."""
    ((images,), (tangent,)) = primals, tangents
    window, largest = windows(images), max_pool(images)
    is_first = [window[:, :, row, :, column] == largest for row in (0, 1) for column in (0, 1)]
    position = jnp.where(is_first[0], 0, jnp.where(is_first[1], 1, jnp.where(is_first[2], 2, 3))).astype(jnp.int8)
    chosen = position[:, :, None, :, None] == WINDOW_POSITIONS[None, None]
    return largest, jnp.where(chosen, windows(tangent), 0).sum((2, 4))


def windows(images: jax.Array) -> jax.Array:
    """`[examples, height // 2, 2, width // 2, 2, channels]`: the images in 2 by 2 windows."""
    examples, height, width, channels = images.shape
    height, width = height // 2, width // 2
    return images[:, : 2 * height, : 2 * width].reshape(examples, height, 2, width, 2, channels)
