"""The mean gradient over the tasks that one device has: the one `vmap` over tasks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_meta.base import LossGradient, MetaLearner, Metrics, Params, Task
from jax_meta.checks import check_task_batch_size
from jax_meta.loss_checks import check_gradient, check_returned


class Mean(NamedTuple):
    """Means over tasks, each in a float of at least 32 bits.

    Attributes:
        gradient: of the meta-parameters, in their structure.
        metrics: scalars by name.
        value: of the loss that the gradient is of; of other gradients the metric `loss`, or None without one.
    """

    gradient: Params
    metrics: Metrics
    value: jax.Array | None


def mean_gradient(
    learner: MetaLearner,
    task_batch_size: int | None,
    meta_params: Params,
    tasks: Task,
    keys: jax.Array,
    counted: jax.Array | None = None,
) -> Mean:
    """`meta_gradient` on one device, given a key for each task, and perhaps which of them count, bool `[num_tasks]`.

    Those that do not are zeros in the mean.
    """
    if isinstance(learner.gradient, LossGradient) and holds_sums(meta_params):
        mean: Callable[..., Mean] = partial(gradient_of_batch, learner.gradient)
    else:
        mean = partial(mean_over_tasks, partial(gradient_of_task, learner))
    return in_batches(mean, task_batch_size, meta_params, tasks, keys, counted)


def mean_loss(
    gradient: LossGradient,
    task_batch_size: int | None,
    meta_params: Params,
    tasks: Task,
    keys: jax.Array,
    counted: jax.Array | None = None,
) -> jax.Array:
    """The loss whose derivative `mean_gradient` is."""
    mean = partial(mean_over_tasks, partial(loss_of_task, gradient))
    return in_batches(mean, task_batch_size, meta_params, tasks, keys, counted)[0]


def in_batches(
    mean: Callable[[Params, Task, jax.Array, jax.Array | None], Any],
    task_batch_size: int | None,
    meta_params: Params,
    tasks: Task,
    keys: jax.Array,
    counted: jax.Array | None,
) -> Any:
    """`mean(meta_params, tasks, keys, counted)`, of `task_batch_size` tasks after the other."""
    num_tasks = len(keys)
    check_task_batch_size(task_batch_size, num_tasks)
    if task_batch_size is None or task_batch_size == num_tasks:
        return mean(meta_params, tasks, keys, counted)

    mean = jax.jit(mean)  # so that it is traced once, for its shapes and for the scan
    num_batches = num_tasks // task_batch_size
    batches = jax.tree.map(
        lambda leaf: leaf.reshape(num_batches, task_batch_size, *leaf.shape[1:]), (tasks, keys, counted)
    )
    first = jax.tree.map(lambda leaf: leaf[0], batches)
    zeros = optax.tree.zeros_like(jax.eval_shape(mean, meta_params, *first))

    def add(total, batch):
        return optax.tree.add(total, mean(meta_params, *batch)), None

    total, _ = jax.lax.scan(add, zeros, batches)
    return jax.tree.map(lambda leaf: leaf / num_batches, total)


def gradient_of_batch(
    gradient: LossGradient, meta_params: Params, tasks: Task, keys: jax.Array, counted: jax.Array | None
) -> Mean:
    """The derivative of the mean loss, for which no task's own gradient is written."""
    loss = partial(mean_over_tasks, partial(loss_of_task, gradient))
    (value, metrics), slope = jax.value_and_grad(loss, has_aux=True)(meta_params, tasks, keys, counted)
    return Mean(slope, metrics, value)


def gradient_of_task(learner: MetaLearner, meta_params: Params, task: Task, key: jax.Array) -> Mean:
    """The gradient of one task."""
    if isinstance(learner.gradient, LossGradient):
        loss = partial(loss_of_task, learner.gradient)
        (value, metrics), slope = jax.value_and_grad(loss, has_aux=True)(meta_params, task, key)
        return Mean(slope, metrics, value)
    slope, metrics = check_gradient(learner.gradient(meta_params, task, key), meta_params)
    return Mean(slope, metrics, metrics.get("loss"))


def loss_of_task(gradient: LossGradient, meta_params: Params, task: Task, key: jax.Array) -> tuple[jax.Array, Metrics]:
    """The loss of one task, and its metrics."""
    return check_returned(gradient.loss(meta_params, task, key))


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
            return jax.tree.map(widen, values)
        values = jax.tree.map(lambda leaf: leaf[None], values)
    return jax.tree.map(partial(mean_of_counted, counted), values)


def mean_of_counted(counted: jax.Array | None, values: jax.Array) -> jax.Array:
    """The mean of `values` over the leading axis, with zeros for those that do not count."""
    values = widen(values)
    if counted is not None:
        values = jnp.where(counted.reshape(-1, *[1] * (values.ndim - 1)), values, 0)
    return values.mean(axis=0)


def widen(values: Any) -> Any:
    """In a dtype that a mean can be taken in: floats of at least 32 bits, and integers as floats."""
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        return values.astype(float)
    return values.astype(jnp.float32) if jnp.finfo(values.dtype).bits < 32 else values


def narrow(like: jax.Array, mean: jax.Array) -> jax.Array:
    """A mean in the dtype of what it is of; that of integers is rounded."""
    dtype = jnp.result_type(like)
    return (mean if jnp.issubdtype(dtype, jnp.inexact) else jnp.round(mean)).astype(dtype)


def holds_sums(params: Params) -> bool:
    """Whether the sum over tasks may be taken in the dtypes of the parameters.

    In bfloat16 it loses digits, and in float16 a task's share of a gradient falls below the smallest number.
    """
    return all(jnp.finfo(leaf.dtype).bits >= 32 for leaf in jax.tree.leaves(params))
