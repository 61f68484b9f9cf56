"""A network of sines, from coordinates to what is there: a neural field."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from jax_meta.base import PyTree
from jax_meta.checks import check_positive
from jax_meta.networks.layers import Dense
from jax_meta.networks.waves import sine


class SIREN(nn.Module):
    """A multilayer perceptron whose activation is sin(ω₀ ·): it fits an image, pixel by pixel, from coordinates.

    Vincent Sitzmann, Julien N. P. Martel, Alexander W. Bergman, David B. Lindell, Gordon Wetzstein: Implicit Neural
    Representations with Periodic Activation Functions, arXiv:2006.09661. Weights start uniform in ±1/fan_in in the
    first layer and in ±√(6/fan_in)/ω₀ in the others, so that every layer's inputs to its sines are of one size whatever
    the depth; biases start uniform in ±1/√fan_in, as in the authors' code.

    Attributes:
        hidden: the widths of the hidden layers. Default: three of 64.
        outputs: the number of outputs, as 3 for colours; None leaves the head out.
        frequency: ω₀, above 0: the larger, the finer the detail that is learned first. Default: 30.

    Raises:
        ValueError: for another `frequency`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model = jax_meta.models.SIREN(hidden=(16, 16), outputs=3)
        >>> outputs, params = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones((5, 2)))
        >>> assert outputs.shape == (5, 3) and len(params["params"]) == 3
    """

    hidden: Sequence[int] = (64, 64, 64)
    outputs: int | None = 3
    frequency: float = 30.0

    @nn.compact
    def __call__(self, coordinates: jax.Array) -> PyTree:
        """`[examples, coordinates]` to `[examples, outputs]`."""
        check_positive(self.frequency, "frequency")
        inputs = coordinates
        for layer, width in enumerate(self.hidden):
            inputs = sine(self.frequency * self.dense(inputs, width, first=layer == 0))
        return inputs if self.outputs is None else self.dense(inputs, self.outputs, first=not self.hidden)

    def dense(self, inputs: jax.Array, width: int, *, first: bool) -> jax.Array:
        """A layer with the weights of the paper."""
        fan_in = inputs.shape[-1]
        bound = 1 / fan_in if first else (6 / fan_in) ** 0.5 / self.frequency
        return Dense(width, kernel_init=uniform(bound), bias_init=uniform(fan_in**-0.5))(inputs)


def uniform(bound: float) -> Callable[..., jax.Array]:
    """An initializer uniform in ± `bound`."""

    def initializer(key, shape, dtype=float):
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return initializer
