"""Normalisation by the batch, by groups of features and of weights, without running averages."""

import flax.linen as nn
import jax
import jax.numpy as jnp


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
