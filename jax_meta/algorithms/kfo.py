"""Kronecker-factored optimizer: Meta-Curvature with matrices that keep learning while they are used.

Sébastien M. R. Arnold, Shariq Iqbal, Fei Sha: When MAML Can Adapt Fast and How to Assist When It Cannot,
arXiv:1910.13603.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_meta.algorithms.meta_optimizer import learner_of_optimizer
from jax_meta.base import LossFn, MetaLearner, Params, PyTree
from jax_meta.memory import Remat


class KFOParams(NamedTuple):
    """What KFO learns.

    Attributes:
        params: θ, the initialization.
        factors: ω, for each tensor in `params` of `[..., outputs]`, m numbers a output, the pair of L `[m, m]` and R
            `[outputs, outputs]`; a vector is a matrix of one column.
    """

    params: Params
    factors: PyTree


def kfo(
    loss_fn: LossFn,
    *,
    step_size: float | jax.Array,
    num_steps: int,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """KFO: MAML's gradient with respect to θ and to an update ω that adapts beside it.

    `gradient = ∇(θ, ω) L_query(U(θ, ω))`, where `U` takes `num_steps` steps `θ ← θ - α LᵀL G RᵀR`, with G the support
    gradient of a tensor; and before each but the first, `ω ← ω - α ∇ω L_support(θ)`, through the step that led to θ.
    From identities, of one step, it is MAML at first.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        step_size: α, for both, which stays.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns `KFOParams`. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss that is none; from `adapt` and `gradient`, for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> learner = jax_meta.kfo(loss_fn, step_size=0.1, num_steps=2)
        >>> plain = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=2)
        >>> adapted = learner.adapt(learner.init(jnp.zeros(())), line, jax.random.key(0))
        >>> assert adapted > plain.adapt(jnp.zeros(()), line, jax.random.key(0))  # its second step is longer
    """

    def steps(factors, gradient):
        return jax.tree.map(lambda leaf, pair: -step_size * kronecker(leaf, *pair), gradient, factors)

    def make_optimizer(factors):
        def update(gradient, state, params=None):
            factors, previous = state
            _, pull = jax.vjp(lambda factors: steps(factors, previous), factors)  # of no gradient, 0: the first step
            (slope,) = pull(gradient)  # ∇ω L(θ - α LᵀL G RᵀR)
            factors = optax.tree.add_scale(factors, -step_size, slope)
            return steps(factors, gradient), (factors, gradient)

        return optax.GradientTransformation(lambda params: (factors, optax.tree.zeros_like(params)), update)

    return learner_of_optimizer(
        loss_fn,
        KFOParams,
        lambda params: jax.tree.map(identities, params),
        make_optimizer,
        name="kfo",
        num_steps=num_steps,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a tensor as a matrix."""
    return (math.prod(shape[:-1]), shape[-1]) if len(shape) > 1 else (math.prod(shape), 1)


def identities(leaf: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The factors that change nothing."""
    rows, columns = as_matrix(leaf.shape)
    return jnp.eye(rows, dtype=leaf.dtype), jnp.eye(columns, dtype=leaf.dtype)


def kronecker(gradient: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
    """LᵀL G RᵀR, positive semidefinite in G."""
    matrix = gradient.reshape(as_matrix(gradient.shape))
    return (left.T @ (left @ matrix) @ right.T @ right).reshape(gradient.shape)
