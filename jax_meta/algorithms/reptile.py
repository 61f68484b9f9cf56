"""Reptile: move the initialization towards the parameters that each task's training ends in.

Alex Nichol, Joshua Achiam, John Schulman: On First-Order Meta-Learning Algorithms, arXiv:1803.02999.
"""

from functools import partial

import jax
import optax

from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.checks import check_num_steps
from jax_meta.inner import adapt


def reptile(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
) -> MetaLearner:
    """Reptile: `gradient = θ - U(θ)`, the way back from the adapted parameters (algorithms 1 and 2).

    With `optax.sgd(step_size)` outside, a meta-step is the paper's interpolation, see `interpolate`. The gradient uses
    the support set alone; the query set serves only the metrics, and may be the support set again.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation.
        num_steps: inner steps, 0 or more. With one, Reptile is joint training on all tasks; it learns to learn from two
            on (section 5).
        batch_size: examples in an inner step. Default: the whole support set.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
    """
    check_num_steps(num_steps)
    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size)

    def gradient(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # φ = U(θ)
        _, metrics = loss_fn(adapted, task.query, loss_key)
        return optax.tree.sub(params, adapted), metrics  # θ - φ

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def interpolate(params: Params, adapted: Params, step_size: float | jax.Array) -> Params:
    """Reptile's outer step as the paper writes it: θ ← θ + ε (φ - θ) (algorithm 1).

    Args:
        params: θ, the initialization.
        adapted: φ, the adapted parameters, of the same structure; for several tasks, their mean.
        step_size: ε, from 0 (stay) to 1 (jump to φ).

    Returns:
        The new initialization.
    """
    return optax.incremental_update(adapted, params, step_size)
