"""ES-MAML: MAML by evolution strategies, from values of losses alone, inside and outside.

Xingyou Song, Wenbo Gao, Yuxiang Yang, Krzysztof Choromanski, Aldo Pacchiano, Yunhao Tang: ES-MAML: Simple Hessian-Free
Meta Learning, arXiv:1910.01215.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jax_meta.base import LossFn, LossGradient, MetaLearner, Params
from jax_meta.checks import check_count, check_positive
from jax_meta.inner import adapt
from jax_meta.loss_checks import check_inner, checked_loss


def es_maml(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    sigma: float | jax.Array = 0.1,
    inner_pairs: int = 10,
    outer_pairs: int = 150,
    batch_size: int | None = None,
) -> MetaLearner:
    """ES-MAML: the gradient of MAML's smoothed query loss, estimated from its values.

    `gradient = mean over g of g (F(θ + σg) - F(θ - σg)) / 2σ`, with `F(θ) = L_query(U(θ))` and g from a normal
    distribution, where the steps of `U` take the same estimate of the support loss. No derivative is taken: losses may
    be steps, simulations or returns, with a sign. What the estimates lack in precision shrinks with the pairs' root.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`; a loss, to be minimised.
        optimizer: the inner optimizer, any optax transformation.
        num_steps: inner steps, 0 or more; the paper takes 1.
        sigma: σ, the size of the perturbations, above 0. Default: 0.1.
        inner_pairs: pairs of values for an inner step. Default: 10, the paper's 20 queries.
        outer_pairs: pairs of values of F for the meta-gradient of a task. Default: 150.
        batch_size: examples in an inner step. Default: the whole support set.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for `num_steps`, `sigma` or pairs out of range.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: jnp.round(slope) * inputs)  # no derivative
        >>> line, slope = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1))), jnp.zeros(())
        >>> learner = jax_meta.es_maml(loss_fn, optax.sgd(0.1), num_steps=1, sigma=1.0)
        >>> gradient, metrics = learner.gradient(slope, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient < 0  # a larger slope is better
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
    check_positive(sigma, "sigma")
    check_count(inner_pairs, "inner_pairs", least=1)
    check_count(outer_pairs, "outer_pairs", least=1)
    estimated = smoothed(loss_fn, sigma, inner_pairs)
    inner = partial(adapt, estimated, optimizer, num_steps=num_steps, batch_size=batch_size)

    def query_loss(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        return loss_fn(inner(params, task.support, adapt_key), task.query, loss_key)  # F(θ)

    gradient = LossGradient(smoothed(query_loss, sigma, outer_pairs))
    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def smoothed(loss_fn: LossFn, sigma: float | jax.Array, pairs: int) -> LossFn:
    """The same loss, for `jax.grad` of which there is an estimate of its smoothed gradient, drawn from the key."""

    def estimated(params, batch, key):
        loss_key, noise_key = jax.random.split(key)
        here = jax.lax.stop_gradient(params)  # so that no derivative of the loss is ever asked for
        loss, metrics = loss_fn(here, batch, loss_key)
        keys = jax.random.split(noise_key, pairs)
        directions = jax.vmap(lambda key: optax.tree.random_like(key, here))(keys)
        slope = antithetic(lambda params: loss_fn(params, batch, loss_key)[0], here, directions, sigma)
        return loss + optax.tree.vdot(slope, optax.tree.sub(params, here)).astype(loss.dtype), metrics  # loss + 0

    return checked_loss(estimated)


def antithetic(
    function: Callable[[Params], jax.Array], params: Params, directions: Params, sigma: float | jax.Array
) -> Params:
    """The mean over directions g of `g (f(θ + σg) - f(θ - σg)) / 2σ`; leaves of `directions` are `[pairs, ...]`."""

    def of_pair(direction):
        moves = optax.tree.scale(sigma, direction)
        both = jax.tree.map(lambda leaf, move: jnp.stack([leaf + move, leaf - move]), params, moves)
        ahead, behind = jax.vmap(function)(both)  # one program of F, and not two
        return jax.tree.map(lambda leaf: ((ahead - behind) / (2 * sigma) * leaf).astype(leaf.dtype), direction)

    return jax.tree.map(lambda leaf: leaf.mean(axis=0), jax.vmap(of_pair)(directions))
