"""How well a learner adapts: the query metrics after every inner step."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.arguments import check_key, check_learner
from jax_meta.base import LossFn, MetaLearner, Metrics, Params, Task
from jax_meta.checks import check_count, check_num_steps, check_tasks
from jax_meta.label_checks import check_labels, check_labels_of_curve, labels_before
from jax_meta.loss_checks import checked_loss
from jax_meta.losses import Apply, judge
from jax_meta.programs.compiled import call

Measure = Callable[[Params, Task, jax.Array], Metrics]
"""`(params, task, key) -> metrics`: what is measured of adapted parameters on their task."""


def evaluate(
    learner: MetaLearner,
    loss_fn: LossFn,
    meta_params: Params,
    tasks: Task,
    key: jax.Array,
    *,
    num_steps: int,
    task_batch_size: int | None = None,
) -> Metrics:
    """Adapts to each task's support set and measures its query set after EVERY inner step.

    Args:
        learner: the algorithm; its `adapt` is used, for `num_steps` steps whatever its own number.
        loss_fn: what is measured on the query set, `(params, batch, key) -> (loss, metrics)`.
        meta_params: what was learned.
        tasks: leaves `[num_tasks, examples, ...]`.
        key: randomness, split over the tasks.
        num_steps: the last inner step to measure, 0 or more.
        task_batch_size: tasks at a time, any number: it bounds memory. Default: all at once.

    Returns:
        Every metric of `loss_fn`, each `[num_tasks, num_steps + 1]`; column i is after i steps.

    Raises:
        ValueError, TypeError: as in `jax_meta.meta_gradient`, also for labels out of range that JAX does not trace.
        FloatingPointError: if a loss is NaN before the first step, which comes from NaN in the meta-parameters or the
            tasks, or from labels out of range.

    Warns:
        RuntimeWarning: if a loss is NaN or infinite, as where adaptation diverges, naming the step and the number of
            tasks. What was measured is returned as it is. Inside `jit` or `vmap` neither is raised.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> lines = (jnp.ones((2, 5, 1)), 3 * jnp.ones((2, 5, 1)))  # 2 tasks, 5 points
        >>> learner, tasks = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1), jax_meta.Task(lines, lines)
        >>> curves = jax_meta.evaluate(learner, loss_fn, jnp.zeros(()), tasks, jax.random.key(0), num_steps=3)
        >>> assert curves["loss"].shape == (2, 4) and (jnp.diff(curves["loss"]) < 0).all()
    """
    loss_fn = checked_loss(loss_fn)

    def measure(params, task, key):
        return loss_fn(params, task.query, key)

    losses, curves = measure_steps(
        learner, measure, meta_params, tasks, key, num_steps=num_steps, task_batch_size=task_batch_size
    )
    check_losses(losses)
    return curves


def learning_curves(
    learner: MetaLearner,
    measure: Measure,
    meta_params: Params,
    tasks: Task,
    key: jax.Array,
    *,
    num_steps: int,
    task_batch_size: int | None = None,
) -> Metrics:
    """`evaluate` for what a loss on the query set cannot say: `measure(params, task, key)` sees the support set, too.

    Args:
        learner: the algorithm, as in `evaluate`.
        measure: `(params, task, key) -> metrics`, arrays by name, for one task. See `transduction` for one.
        meta_params: what was learned.
        tasks: leaves `[num_tasks, examples, ...]`.
        key: randomness, split over the tasks.
        num_steps: the last inner step to measure, 0 or more.
        task_batch_size: tasks at a time, any number: it bounds memory. Default: all at once.

    Returns:
        What `measure` returned, leaves `[num_tasks, num_steps + 1, ...]`; column i is after i steps. NaN and infinities
        are returned as they are.

    Raises:
        ValueError, TypeError: as in `jax_meta.meta_gradient`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> lines = (jnp.ones((2, 5, 1)), 3 * jnp.ones((2, 5, 1)))  # 2 tasks, 5 points
        >>> learner, tasks = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1), jax_meta.Task(lines, lines)
        >>> measure = lambda slope, task, key: {"slope": slope}
        >>> curves = jax_meta.learning_curves(learner, measure, jnp.zeros(()), tasks, jax.random.key(0), num_steps=50)
        >>> assert curves["slope"].shape == (2, 51) and jnp.allclose(curves["slope"][:, -1], 3, atol=1e-3)
    """
    return measure_steps(
        learner, measure, meta_params, tasks, key, num_steps=num_steps, task_batch_size=task_batch_size
    )


def measure_steps(
    learner: MetaLearner,
    measure: Callable[[Params, Task, jax.Array], Any],
    meta_params: Params,
    tasks: Task,
    key: jax.Array,
    *,
    num_steps: int,
    task_batch_size: int | None,
) -> Any:
    """`learning_curves`, of a measure that returns any tree of arrays."""
    check_learner(learner)
    check_num_steps(num_steps)
    if task_batch_size is not None:
        check_count(task_batch_size, "task_batch_size", least=1)
    check_key(key)
    check_tasks(tasks)
    one_step = partial(curve_of_task, learner, measure, meta_params, num_steps=min(num_steps, 1))
    check = partial(check_labels_of_curve, one_step, tasks, key)
    return call(
        curves_of_tasks,
        (learner, measure),
        (meta_params, tasks, key),
        before=labels_before(check, tasks.support, tasks.query),
        num_steps=num_steps,
        task_batch_size=task_batch_size,
    )


def curves_of_tasks(
    learner: MetaLearner,
    measure: Callable[[Params, Task, jax.Array], Any],
    meta_params: Params,
    tasks: Task,
    key: jax.Array,
    *,
    num_steps: int,
    task_batch_size: int | None,
) -> Any:
    """`measure_steps`, when all is checked."""
    num_tasks = check_tasks(tasks)
    curve = partial(curve_of_task, learner, measure, meta_params, num_steps=num_steps)
    inputs = (tasks, jax.random.split(key, num_tasks))
    batch_size = None if task_batch_size == 1 else task_batch_size or num_tasks  # None: one by one, without a vmap
    return jax.lax.map(lambda pair: curve(*pair), inputs, batch_size=batch_size)


def curve_of_task(
    learner: MetaLearner,
    measure: Callable[[Params, Task, jax.Array], Any],
    meta_params: Params,
    task: Task,
    key: jax.Array,
    *,
    num_steps: int,
) -> Any:
    """What is measured of one task, leaves `[num_steps + 1, ...]`."""
    adapt_key, measure_key = jax.random.split(key)

    def observe(params):
        return measure(params, task, measure_key)

    return learner.adapt(meta_params, task.support, adapt_key, num_steps=num_steps, observe=observe)[1]


def check_losses(losses: jax.Array) -> None:
    """Raises FloatingPointError for NaN before the first step, and warns of later ones; not inside `jit` or `vmap`.

    Args:
        losses: `[num_tasks, num_steps + 1]`.
    """
    if isinstance(losses, jax.core.Tracer):
        return
    values = np.asarray(losses)
    at_once = np.isnan(values[:, 0])
    if at_once.any():
        raise FloatingPointError(
            f"the loss of {at_once.sum()} of {len(values)} tasks is NaN before the first inner step, of task "
            f"{at_once.argmax()} first: look for NaN in the meta-parameters and in the tasks, and for labels that are "
            "not from 0 to the number of classes less one."
        )
    bad = ~np.isfinite(values)
    if bad.any():
        warnings.warn(
            f"the loss of {bad.any(axis=1).sum()} of {len(values)} tasks is NaN or infinite from inner step "
            f"{bad.any(axis=0).argmax()} on, and other metrics mean nothing there: adaptation diverges, so "
            "lower the inner learning rate, or look for NaN and labels out of range in their support sets.",
            RuntimeWarning,
            stacklevel=3,
        )


def transduction(apply: Apply) -> Measure:
    """A measure of classification with and without transduction, for models that normalise by the batch at hand.

    Nichol, Achiam, Schulman, arXiv:1803.02999, section 6.1: with transduction the model sees all queries at once, and
    learns from their statistics; without, each query is classified in a batch with the whole support set alone.

    Args:
        apply: `(params, images) -> logits`, `[examples, ways]`.

    Returns:
        `(params, task, key) -> {"transductive": accuracy, "inductive": accuracy}`, each from 0 to 1, or NaN where a
        logit is or a label is out of range, for tasks whose support and query are `(images, labels)`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> measure = jax_meta.transduction(lambda params, images: (images - images.mean(0, keepdims=True)) @ params)
        >>> task = jax_meta.Task((jnp.eye(2), jnp.arange(2)), (jnp.eye(2), jnp.arange(2)))
        >>> assert measure(jnp.eye(2), task, jax.random.key(0))["inductive"] == 1
    """

    def measure(params, task, key):
        del key
        (known, _), (images, labels) = task

        def alone(image):
            return apply(params, jnp.concatenate([known, image[None]]))[-1]

        def accuracy(logits):
            check_labels(logits, labels)
            hits = judge(logits, labels)[1].astype(jnp.float32)
            return jnp.where(jnp.isnan(logits).any(axis=-1), jnp.nan, hits).mean()

        return {
            "transductive": accuracy(apply(params, images)),
            "inductive": accuracy(jax.vmap(alone)(images)),
        }

    return measure
