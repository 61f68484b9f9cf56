"""Layers: Flax Linen modules whose parameters are their only state."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.networks.convolution import convolution
from jax_meta.networks.dense import dense
from jax_meta.networks.waves import FourierFeatures, sine

__all__ = [
    "BatchNorm",
    "Context",
    "Convolution",
    "Dense",
    "FiLM",
    "FourierFeatures",
    "GroupNorm",
    "batch_statistics",
    "max_pool",
    "sine",
]


def __dir__() -> list[str]:
    return __all__


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
        standardise: whether each output's weights are used less their mean and divided by their standard deviation:
            Siyuan Qiao, Huiyu Wang, Chenxi Liu, Wei Shen, Alan Yuille, arXiv:1903.10520, equation 7. Default: False.

    Raises:
        ValueError: if the images are not `[examples, height, width, channels]`, or smaller than the kernel.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> layer, images = jax_meta.layers.Convolution(8, strides=2), jnp.ones((3, 28, 28, 1))
        >>> outputs, params = jax.eval_shape(layer.init_with_output, jax.random.key(0), images)
        >>> assert outputs.shape == (3, 14, 14, 8) and params["params"]["kernel"].shape == (3, 3, 1, 8)
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    param_dtype: Any = jnp.float32
    standardise: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """`[examples, height, width, channels]` to `[examples, height, width, features]`."""
        shape = (*self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        if self.standardise:
            kernel = standardised(kernel)
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

    Raises:
        ValueError: if the inputs are not `[examples, inputs]`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> layer, inputs = jax_meta.layers.Dense(5), jnp.ones((3, 4))
        >>> outputs, params = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)
        >>> assert outputs.shape == (3, 5) and params["params"]["kernel"].shape == (4, 5)
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
    classified whole is thus classified transductively: each prediction depends on the other queries. Statistics are
    taken in float32 at least; outputs have the dtype of inputs and parameters.

    Attributes:
        use_scale: whether to multiply by a learned scale, too. Default: False, as the MAML code does it.
        epsilon: added to the variance. Default: 1e-5.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> params = {"params": {"bias": jnp.zeros(1)}}
        >>> outputs = jax_meta.layers.BatchNorm().apply(params, jnp.array([[3.0], [7.0]]))
        >>> assert jnp.allclose(outputs, jnp.array([[-1.0], [1.0]]), atol=1e-4)
    """

    use_scale: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, inputs: jax.Array, statistics: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """`[examples, ..., features]` to the same; `statistics` are by default `batch_statistics(inputs)`."""
        mean, variance = batch_statistics(inputs) if statistics is None else statistics
        scale = self.param("scale", nn.initializers.ones, mean.shape, inputs.dtype) if self.use_scale else None
        bias = self.param("bias", nn.initializers.zeros, mean.shape, inputs.dtype)
        dtype = jnp.result_type(*(leaf for leaf in (inputs, scale, bias) if leaf is not None))
        wide = max(dtype, mean.dtype, key=lambda dtype: dtype.itemsize)
        inputs, mean, variance, scale, bias = nn.dtypes.promote_dtype(inputs, mean, variance, scale, bias, dtype=wide)
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if scale is not None:
            factor *= scale
        lead = (1,) * (inputs.ndim - 1)
        outputs = (inputs - mean.reshape(*lead, -1)) * factor.reshape(*lead, -1) + bias.reshape(*lead, -1)
        return outputs.astype(dtype)


class GroupNorm(nn.Module):
    """Normalises each example by itself, over space and groups of features, then scales and shifts each feature.

    Yuxin Wu, Kaiming He: Group Normalization, arXiv:1803.08494. It is `flax.linen.GroupNorm`, with the same parameters,
    faster on CPU. No prediction depends on the other examples: nothing is transductive, and no running average is
    needed. Statistics are taken in float32 at least; outputs have the dtype of inputs and parameters.

    Attributes:
        groups: into how many groups the features are divided, a divisor of their number. Default: 8.
        epsilon: added to the variance. Default: 1e-5.

    Raises:
        ValueError: if `groups` does not divide the features.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> layer, inputs = jax_meta.layers.GroupNorm(groups=1), jnp.array([[3.0, 7.0], [1.0, 1.5]])
        >>> outputs, params = layer.init_with_output(jax.random.key(0), inputs)
        >>> assert jnp.allclose(outputs, jnp.array([[-1.0, 1.0], [-1.0, 1.0]]), atol=1e-3)
    """

    groups: int = 8
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`[examples, ..., features]` to the same."""
        features = inputs.shape[-1]
        if self.groups < 1 or features % self.groups:
            raise ValueError(f"groups must divide the {features} features, got {self.groups}: choose a divisor.")
        scale = self.param("scale", nn.initializers.ones, (features,), inputs.dtype)
        bias = self.param("bias", nn.initializers.zeros, (features,), inputs.dtype)
        mean, variance = group_statistics(inputs, self.groups)
        dtype = jnp.result_type(inputs, scale, bias)
        wide = max(dtype, mean.dtype, key=lambda dtype: dtype.itemsize)
        inputs, mean, variance, scale, bias = nn.dtypes.promote_dtype(inputs, mean, variance, scale, bias, dtype=wide)
        factor = scale[None] * jax.lax.rsqrt(variance + self.epsilon)
        place = (len(inputs), *(1,) * (inputs.ndim - 2), features)
        centred = inputs - mean.reshape(place)
        outputs = centred * factor.reshape(place) + bias.reshape(*(1,) * (inputs.ndim - 1), features)
        return outputs.astype(dtype)


class Context(nn.Module):
    """Concatenates a context to every example's features: what `jax_meta.cavia` adapts, 0 before it does.

    For the layer after it, it is another bias, seen through some rows of the kernel.

    Attributes:
        size: how many numbers it has, 1 or more.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> outputs, params = jax_meta.layers.Context(3).init_with_output(jax.random.key(0), jnp.ones((5, 2)))
        >>> assert outputs.shape == (5, 5) and params["params"]["context"].shape == (3,)
    """

    size: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`[examples, features]` to `[examples, features + size]`."""
        context = self.param("context", nn.initializers.zeros, (self.size,))
        inputs, context = nn.dtypes.promote_dtype(inputs, context)
        return jnp.concatenate([inputs, jnp.broadcast_to(context[None], (len(inputs), self.size))], axis=1)


class FiLM(nn.Module):
    """Scales and shifts each feature by what a dense layer makes of a context: γ ∘ h + β, where (γ, β) = W c + b.

    Ethan Perez, Florian Strub, Harm de Vries, Vincent Dumoulin, Aaron Courville: FiLM: Visual Reasoning with a General
    Conditioning Layer, arXiv:1709.07871. `jax_meta.cavia` adapts the context, which starts at 0; b starts
    so that γ = 1 and β = 0 then, where CAVIA's code has a random b.

    Attributes:
        size: how many numbers the context has, 1 or more.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> images = jnp.arange(12.0).reshape(1, 2, 2, 3)
        >>> outputs, params = jax_meta.layers.FiLM(4).init_with_output(jax.random.key(0), images)
        >>> assert (outputs == images).all() and params["params"]["context"].shape == (4,)
    """

    size: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`[examples, ..., features]` to the same."""
        features = inputs.shape[-1]
        context = self.param("context", nn.initializers.zeros, (self.size,))

        def identity(key, shape, dtype):
            return jnp.where(jnp.arange(shape[0]) < features, 1, 0).astype(dtype)

        modulation = Dense(2 * features, bias_init=identity)(context[None])
        inputs, modulation = nn.dtypes.promote_dtype(inputs, modulation)
        lead = (1,) * (inputs.ndim - 1)
        scale, shift = modulation.reshape(2, *lead, features)
        return scale * inputs + shift


def batch_statistics(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of each feature over all other axes.

    Args:
        inputs: `[examples, ..., features]`.

    Returns:
        The two, each `[features]`, in the dtype of the inputs, or in float32 where that is narrower.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> mean, variance = jax_meta.layers.batch_statistics(jnp.array([[1.0], [3.0]]))
        >>> assert mean == 2 and variance == 1
    """
    axes = tuple(range(inputs.ndim - 1))
    wide = inputs.astype(jnp.float32) if inputs.dtype.itemsize < 4 else inputs
    mean = wide.mean(axes)
    return mean, jnp.maximum((wide**2).mean(axes) - mean**2, 0)  # one pass over memory, as in flax.linen.BatchNorm


def group_statistics(inputs: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of each feature's group in each example, `[examples, features]`, in float32 at least."""
    wide = inputs.astype(jnp.float32) if inputs.dtype.itemsize < 4 else inputs
    space = tuple(range(1, inputs.ndim - 1))

    def over_group(values):
        means = values.reshape(len(values), groups, -1).mean(-1)
        return jnp.repeat(means, values.shape[-1] // groups, axis=-1)

    mean = over_group(wide.mean(space))
    return mean, jnp.maximum(over_group((wide**2).mean(space)) - mean**2, 0)  # one pass, as in `batch_statistics`


def standardised(kernel: jax.Array, epsilon: float = 1e-10) -> jax.Array:
    """The kernel with mean 0 and variance 1 over the inputs of each output."""
    axes = tuple(range(kernel.ndim - 1))
    deviation = jnp.sqrt(kernel.var(axes, keepdims=True) + epsilon)
    return (kernel - kernel.mean(axes, keepdims=True)) / deviation


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
