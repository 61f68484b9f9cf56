"""The mean gradient over the tasks that one device has: the one `vmap` over tasks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_meta.base import LossGradient, MetaLearner, Metrics, Params, Task
from jax_meta.checks import check_task_batch_size


def mean_gradient(
    learner: MetaLearner,
    task_batch_size: int | None,
    meta_params: Params,
    tasks: Task,
    keys: jax.Array,
    counted: jax.Array | None = None,
) -> tuple[Params, Metrics]:
    """`meta_gradient` on one device, given a key for each task, and perhaps which of them count, bool `[num_tasks]`.

    Those that do not are zeros in the mean; the mean of integers is then left in floats.
    """
    num_tasks = len(keys)
    check_task_batch_size(task_batch_size, num_tasks)
    batch_mean = partial(mean_of_batch, learner, meta_params)
    if task_batch_size is None or task_batch_size == num_tasks:
        return batch_mean(tasks, keys, counted)

    num_batches = num_tasks // task_batch_size
    batches = jax.tree.map(
        lambda leaf: leaf.reshape(num_batches, task_batch_size, *leaf.shape[1:]), (tasks, keys, counted)
    )
    zeros = optax.tree.zeros_like(jax.eval_shape(batch_mean, *jax.tree.map(lambda leaf: leaf[0], batches)))
    total, _ = jax.lax.scan(lambda total, batch: (optax.tree.add(total, batch_mean(*batch)), None), zeros, batches)
    return jax.tree.map(lambda leaf: (leaf / num_batches).astype(leaf.dtype), total)


def mean_of_batch(
    learner: MetaLearner, meta_params: Params, tasks: Task, keys: jax.Array, counted: jax.Array | None
) -> tuple[Params, Metrics]:
    """`mean_gradient` of all tasks at once."""
    if isinstance(learner.gradient, LossGradient):
        mean_loss = partial(mean_over_tasks, learner.gradient.loss)
        return jax.grad(mean_loss, has_aux=True)(meta_params, tasks, keys, counted)
    return mean_over_tasks(learner.gradient, meta_params, tasks, keys, counted)


def mean_over_tasks(
    function: Callable[[Params, Task, jax.Array], Any],
    meta_params: Params,
    tasks: Task,
    keys: jax.Array,
    counted: jax.Array | None,
) -> Any:
    """The mean of `function(meta_params, task, key)` over the tasks that count."""
    if len(keys) > 1:
        values = jax.vmap(function, in_axes=(None, 0, 0))(meta_params, tasks, keys)
    else:  # a vmap over one task would cost a quarter of the speed when `fit` is mapped over seeds
        values = function(meta_params, jax.tree.map(lambda leaf: leaf[0], tasks), keys[0])
        if counted is None:
            return values
        values = jax.tree.map(lambda leaf: leaf[None], values)
    return jax.tree.map(partial(mean_of_counted, counted), values)


def mean_of_counted(counted: jax.Array | None, values: jax.Array) -> jax.Array:
    """The mean of `values` over the leading axis, in their own dtype; with zeros for those that do not count."""
    if counted is None:
        return values.mean(axis=0).astype(values.dtype)
    return jnp.where(counted.reshape(-1, *[1] * (values.ndim - 1)), values, 0).mean(axis=0)
