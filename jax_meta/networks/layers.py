"""Layers: Flax Linen modules whose parameters are their only state."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_meta.networks.convolution import convolution
from jax_meta.networks.dense import dense
from jax_meta.networks.normalisation import BatchNorm, GroupNorm, batch_statistics, standardised
from jax_meta.networks.pooling import max_pool
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
