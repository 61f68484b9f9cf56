"""Reptile: move the initialization towards the parameters that each task's training ends in.

Alex Nichol, Joshua Achiam, John Schulman: On First-Order Meta-Learning Algorithms, arXiv:1803.02999.
"""

from functools import partial
from typing import NamedTuple

import jax
import optax

from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.checks import check_num_steps
from jax_meta.inner import Order, adapt, inner_loop, shuffled


class ReptileParams(NamedTuple):
    """What Reptile learns where its inner optimizer's state is carried from task to task.

    Attributes:
        params: θ, the initialization.
        opt_state: of the inner optimizer, where every task's adaptation starts from.
    """

    params: Params
    opt_state: optax.OptState


def reptile(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
    order: Order = shuffled,
) -> MetaLearner:
    """Reptile: `gradient = θ - U(θ)`, the way back from the adapted parameters (algorithms 1 and 2).

    With `optax.sgd(step_size)` outside, a meta-step is the paper's interpolation, see `interpolate`. The gradient uses
    the support set alone; the query set serves only the metrics, and may be the support set again.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation.
        num_steps: inner steps, 0 or more. With one, Reptile is joint training on all tasks; it learns to learn from two
            on (section 5).
        batch_size: examples in an inner step. Default: the whole support set. Reptile learns to generalise from one
            minibatch to the next, so that the support set should have enough for several (section 5.1).
        order: `(key, batch) -> indices`, the order of a pass. Default: `jax_meta.shuffled`, as in the paper;
            `jax_meta.balanced` has equally many of each class in every minibatch.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
    """
    check_num_steps(num_steps)
    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size, order=order)

    def gradient(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # φ = U(θ)
        _, metrics = loss_fn(adapted, task.query, loss_key)
        return optax.tree.sub(params, adapted), metrics  # θ - φ

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def carried_reptile(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
    order: Order = shuffled,
) -> MetaLearner:
    """Reptile as its authors ran it: the inner optimizer's state is carried from task to task.

    Their Adam keeps its second moment when the parameters return to θ, which the paper does not say, and which matters:
    a state that starts afresh makes every first step of Adam ±α in each parameter, whatever its gradient.
    `gradient = (θ - U(θ), s - s')` for the state s, which the tasks of a meta-step start from, and s', which they end
    in; the authors take the tasks of a meta-step one after the other.

    The state should follow all the way, whatever the outer step ε: the outer optimizer is `carry_state(optax.sgd(ε))`.

    Args and errors are those of `reptile`.

    Returns:
        A `MetaLearner` that learns `ReptileParams` and adapts from both. Its metrics are the query's, after adaptation.
    """
    check_num_steps(num_steps)

    def inner(meta_params, batch, key, *, num_steps=num_steps, observe=None):
        options = {"num_steps": num_steps, "batch_size": batch_size, "order": order, "observe": observe}
        end, observations = inner_loop(loss_fn, optimizer, tuple(meta_params), batch, key, **options)
        return ReptileParams(*end), observations

    def adapt(meta_params, batch, key, *, num_steps=num_steps, observe=None):
        adapted, observations = inner(meta_params, batch, key, num_steps=num_steps, observe=observe)
        return adapted.params if observe is None else (adapted.params, observations)

    def gradient(meta_params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted, _ = inner(meta_params, task.support, adapt_key)  # φ, s' = U(θ, s)
        _, metrics = loss_fn(adapted.params, task.query, loss_key)
        return optax.tree.sub(meta_params, adapted), metrics  # θ - φ, s - s'

    return MetaLearner(lambda params: ReptileParams(params, optimizer.init(params)), adapt, gradient)


def carry_state(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """For `carried_reptile`: `optimizer` for the initialization, and all the way to its mean for the inner state."""
    labels = ReptileParams("params", "opt_state")
    return optax.partition({"params": optimizer, "opt_state": optax.sgd(1.0)}, labels)


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
