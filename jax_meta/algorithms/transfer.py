"""Transfer learning: the baseline that trains one network on all tasks and fine-tunes it on a new one."""

from functools import partial

import optax

from jax_meta.base import LossFn, LossGradient, MetaLearner
from jax_meta.inner import adapt
from jax_meta.loss_checks import check_inner


def transfer(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
) -> MetaLearner:
    """Joint training: `gradient = ∇θ L_query(θ)`, with no adaptation; MAML with no inner steps.

    Where tasks contradict each other, as sines of random phase do, one network for all of them returns their average.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the optimizer that fine-tunes, in `adapt` only.
        num_steps: fine-tuning steps, 0 or more, in `adapt` only.
        batch_size: examples in a fine-tuning step. Default: the whole support set.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, before adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> learner = jax_meta.transfer(loss_fn, optax.sgd(0.1), num_steps=5)
        >>> gradient, metrics = learner.gradient(jnp.zeros(()), jax_meta.Task(line, line), jax.random.key(0))
        >>> assert jnp.allclose(gradient, -6) and jnp.allclose(metrics["loss"], 9)
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)

    def query_loss(params, task, key):
        return loss_fn(params, task.query, key)  # L_query(θ)

    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size)
    return MetaLearner(init=lambda params: params, adapt=inner, gradient=LossGradient(query_loss))  # ∇θ L_query(θ)
