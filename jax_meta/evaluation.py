"""How well a learner adapts: the query metrics after every inner step, and their interval."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit

from jax_meta.base import LossFn, MetaLearner, Metrics, Params, Task
from jax_meta.checks import check_num_steps, check_tasks
from jax_meta.losses import Apply

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
        ValueError: as in `jax_meta.meta_gradient`.
    """

    def measure(params, task, key):
        return loss_fn(params, task.query, key)[1]

    return learning_curves(
        learner, measure, meta_params, tasks, key, num_steps=num_steps, task_batch_size=task_batch_size
    )


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

    Args, returns and errors are otherwise those of `evaluate`. See `transduction` for a measure.
    """
    check_num_steps(num_steps)
    num_tasks = check_tasks(tasks)

    def learning_curve(task, key):
        adapt_key, measure_key = jax.random.split(key)

        def observe(params):
            return measure(params, task, measure_key)

        return learner.adapt(meta_params, task.support, adapt_key, num_steps=num_steps, observe=observe)[1]

    inputs = (tasks, jax.random.split(key, num_tasks))
    batch_size = None if task_batch_size == 1 else task_batch_size or num_tasks  # None: one by one, without a vmap
    return jax.lax.map(lambda pair: learning_curve(*pair), inputs, batch_size=batch_size)


def transduction(apply: Apply) -> Measure:
    """A measure of classification with and without transduction, for models that normalise by the batch at hand.

    Nichol, Achiam, Schulman, arXiv:1803.02999, section 6.1: with transduction the model sees all queries at once, and
    learns from their statistics; without, each query is classified in a batch with the whole support set alone.

    Args:
        apply: `(params, images) -> logits`, `[examples, ways]`.

    Returns:
        `(params, task, key) -> {"transductive": accuracy, "inductive": accuracy}`, each from 0 to 1, for tasks whose
        support and query are `(images, labels)`.
    """

    def measure(params, task, key):
        del key
        (known, _), (images, labels) = task

        def alone(image):
            return apply(params, jnp.concatenate([known, image[None]]))[-1]

        def accuracy(logits):
            return (logits.argmax(axis=-1) == labels).mean()

        return {
            "transductive": accuracy(apply(params, images)),
            "inductive": accuracy(jax.vmap(alone)(images)),
        }

    return measure


class Estimate(NamedTuple):
    """A mean and the half-width of its 95% interval: `mean ± half_width`."""

    mean: jax.Array | np.ndarray
    half_width: jax.Array | np.ndarray


def estimate(values: jax.Array | np.ndarray, *, axis: int = 0) -> Estimate:
    """The mean along an axis of independent values, with its 95% interval by Student's t, t(n - 1) s / √n.

    For 1,000 tasks t is 1.962, as good as the papers' 1.96; for five seeds it is 2.78.

    Args:
        values: one value a task, or a seed, along `axis`; at least two.
        axis: the axis to average over. Default: the first.

    Returns:
        An `Estimate`, each field without `axis`. s is the sample standard deviation.

    Raises:
        ValueError: for fewer than two values.
    """
    count = values.shape[axis]
    if count < 2:
        raise ValueError(f"an interval needs at least 2 values along axis {axis}, got {count}: evaluate on more tasks.")
    half_width = float(stdtrit(count - 1, 0.975)) / count**0.5 * values.std(axis=axis, ddof=1)
    return Estimate(values.mean(axis=axis), half_width)
