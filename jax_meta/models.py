"""Flax Linen modules whose parameters are their only state."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from jax_meta.base import PyTree


def uniform_fan_in(fan_in: int) -> Callable[..., jax.Array]:
    """An initializer uniform in ±1/√fan_in: PyTorch's default for the weights and biases of a linear layer."""

    def initializer(key, shape, dtype=float):
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return initializer


class MLP(nn.Module):
    """A multilayer perceptron; the default is the sine network of the MAML paper, 1-40-40-1 with ReLU.

    Weights and biases start uniform in ±1/√fan_in, as the post's PyTorch layers do.

    Attributes:
        hidden: the widths of the hidden layers.
        outputs: the number of outputs.
        activation: applied after each hidden layer.
    """

    hidden: Sequence[int] = (40, 40)
    outputs: int = 1
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, inputs: jax.Array) -> PyTree:
        """`[examples, features]` to `[examples, outputs]`."""
        for width in self.hidden:
            inputs = self.activation(linear(inputs, width))
        return linear(inputs, self.outputs)


def linear(inputs: jax.Array, width: int) -> jax.Array:
    """A dense layer with PyTorch's default initialization; call it inside a compact Linen method."""
    initializer = uniform_fan_in(inputs.shape[-1])
    return nn.Dense(width, kernel_init=initializer, bias_init=initializer)(inputs)
