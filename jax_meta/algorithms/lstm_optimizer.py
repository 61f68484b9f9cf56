"""Learning to learn by gradient descent by gradient descent: the inner optimizer is an LSTM, one for all coordinates.

Marcin Andrychowicz, Misha Denil, Sergio Gomez, Matthew W. Hoffman, David Pfau, Tom Schaul, Brendan Shillingford,
Nando de Freitas, arXiv:1606.04474.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jax_meta.algorithms.meta_optimizer import learner_of_optimizer
from jax_meta.base import LossFn, MetaLearner, Params, PyTree
from jax_meta.checks import check_count
from jax_meta.memory import Remat


class LSTMOptimizerParams(NamedTuple):
    """What `lstm_optimizer` learns.

    Attributes:
        params: θ, the initialization, which stays where adaptation starts from what is drawn.
        lstm: ω, the parameters of `CoordinateLSTM`.
    """

    params: Params
    lstm: PyTree


class CoordinateLSTM(nn.Module):
    """Two layers of LSTM and a linear one, from `[coordinates, 2]` numbers to a step each; see `lstm_optimizer`."""

    units: int
    dtype: Any

    @nn.compact
    def __call__(self, state: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """`state` is two pairs of `[coordinates, units]`."""
        layers = []
        for carry in state:
            carry, inputs = nn.OptimizedLSTMCell(self.units, dtype=self.dtype, param_dtype=self.dtype)(carry, inputs)
            layers.append(carry)
        return tuple(layers), nn.Dense(1, dtype=self.dtype, param_dtype=self.dtype)(inputs)[:, 0]


def lstm_optimizer(
    loss_fn: LossFn,
    *,
    num_steps: int,
    units: int = 20,
    scale: float = 0.1,
    seed: int = 0,
    truncate: int | None = None,
    draw: Callable[[jax.Array], Params] | None = None,
    batch_size: int | None = None,
    remat: Remat = "none",
) -> MetaLearner:
    """A learned optimizer: the gradient of the sum of losses along its way (equation 3, all weights 1).

    `gradient = ∇(θ, ω) Σₜ L_query(θₜ)`, where `θₜ₊₁ = θₜ + gₜ` and `[gₜ, hₜ₊₁] = m(∇L_support(θₜ), hₜ, ω)`, for t from
    1 to `num_steps`. Each coordinate has its own state h of the same LSTM m, which reads its gradient's logarithm and
    sign (appendix A). Inner gradients are constants for the meta-gradient.

    The paper's tasks are single functions: support and query are the same set. Its θ₀ is drawn for each task; its five
    meta-steps for each 100 inner steps, one after each 20, are here one, of `truncate=20`, with the same gradients.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        num_steps: inner steps, 1 or more.
        units: of each of the two layers. Default: 20.
        scale: what the LSTM's output is multiplied by. Default: 0.1.
        seed: the LSTM's first weights are those of `jax.random.key(seed)`. Default: 0.
        truncate: inner steps after which the way so far is a constant. Default: it never is.
        draw: `(key) -> params`, where adaptation starts anew each time. Default: at θ, which is learned beside ω.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".

    Returns:
        A `MetaLearner` that learns `LSTMOptimizerParams`. Its metrics are the query's, after the last step.

    Raises:
        ValueError: for numbers below 1.
        TypeError: for a loss that is none; from `adapt` and `gradient`, for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> learner = jax_meta.lstm_optimizer(loss_fn, num_steps=3, units=4)
        >>> meta_params, line = learner.init(jnp.zeros(())), (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> gradient, metrics = learner.gradient(meta_params, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert jnp.abs(gradient.lstm["params"]["Dense_0"]["bias"]).item() > 0
    """
    for name, count in (
        ("num_steps", num_steps),
        ("units", units),
        ("truncate", num_steps if truncate is None else truncate),
    ):
        check_count(count, name, least=1)

    def network(vector):
        zeros = jnp.zeros((vector.size, units), vector.dtype)
        return CoordinateLSTM(units, vector.dtype), ((zeros, zeros), (zeros, zeros))

    def initial(params):
        vector, _ = ravel_pytree(params)
        lstm, state = network(vector[:1])
        return lstm.init(jax.random.key(seed), state, preprocess(vector[:1]))

    def make_optimizer(weights):
        def update(gradient, carry, params):
            step, state = carry
            seam = jnp.array(False) if truncate is None else (step > 0) & (step % truncate == 0)
            state = jax.tree.map(partial(cut, seam), state)
            forget = jax.tree.map(lambda leaf: cut(seam, leaf) - leaf, params)  # 0, whose derivative undoes the way
            vector, unravel = ravel_pytree(gradient)
            lstm, _ = network(vector)
            state, steps = lstm.apply(weights, state, preprocess(vector))
            return optax.tree.add(unravel(scale * steps), forget), (step + 1, state)

        def init(params):
            return jnp.zeros((), jnp.int32), network(ravel_pytree(params)[0])[1]

        return optax.GradientTransformation(init, update)

    return learner_of_optimizer(
        loss_fn,
        LSTMOptimizerParams,
        initial,
        make_optimizer,
        name="lstm_optimizer",
        num_steps=num_steps,
        weights=np.ones(num_steps),
        first_order=True,
        draw=draw,
        batch_size=batch_size,
        remat=remat,
    )


def cut(seam: jax.Array, leaf: jax.Array) -> jax.Array:
    """The same number; a constant where there is a seam."""
    return jnp.where(seam, jax.lax.stop_gradient(leaf), leaf)


def preprocess(gradient: jax.Array, p: float = 10.0) -> jax.Array:
    """Numbers of any size as two of about 1 (appendix A): log|∇| / p and its sign, or -1 and e^p ∇ where |∇| < e^-p.

    Args:
        gradient: `[coordinates]`.
        p: how small a gradient may be before its logarithm says nothing. Default: 10, the paper's.

    Returns:
        `[coordinates, 2]`.
    """
    size = jnp.abs(gradient)
    small = size < math.exp(-p)
    logarithm = jnp.log(jnp.where(small, 1, size)) / p
    return jnp.stack([jnp.where(small, -1, logarithm), jnp.where(small, math.exp(p) * gradient, jnp.sign(gradient))], 1)
