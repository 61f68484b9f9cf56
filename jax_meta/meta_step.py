"""One meta-step: the mean meta-gradient over a batch of tasks, fed to any optax optimizer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_meta.algorithms.reptile import check_carried
from jax_meta.arguments import check_key, check_learner, check_opt_state, check_optimizer, check_params, check_state
from jax_meta.base import LossGradient, MetaLearner, Metrics, Params, Sampler, Task, TrainState
from jax_meta.checks import check_count, check_tasks
from jax_meta.devices import mean_over_devices
from jax_meta.host.blocks import next_host_tasks
from jax_meta.host.sources import HostTasks
from jax_meta.label_checks import labels_of_tasks_before
from jax_meta.mean import Mean, mean_gradient, mean_loss, narrow
from jax_meta.programs.compiled import call


def meta_gradient(
    learner: MetaLearner,
    meta_params: Params,
    tasks: Task,
    key: jax.Array,
    *,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[Params, Metrics]:
    """The mean of `learner.gradient` over tasks; of a `jax_meta.LossGradient`, the gradient of the mean loss.

    Args:
        learner: the algorithm.
        meta_params: what it learns.
        tasks: leaves `[num_tasks, examples, ...]`.
        key: randomness, split over the tasks.
        task_batch_size: tasks at a time, a divisor of `num_tasks`: it bounds memory and changes nothing else.
            Default: all at once. Convolutional networks are fastest on CPU with 1.
        mesh: devices, along an axis named "tasks", each of which takes its share of the tasks; `task_batch_size` then
            divides that share. The result is the same to rounding. They may be those of several processes, which must
            then hold equal arrays. Default: one device.

    Returns:
        The mean gradient, with the structure and dtypes of `meta_params`, and the mean of each metric, a float whatever
        the metric is. Both are added up in float32 at least.

    Raises:
        ValueError: if support and query differ in structure or in the shape of an example, if the leaves disagree about
            `num_tasks`, if there are no tasks or no examples, if `task_batch_size` does not divide the tasks, if the
            mesh has no axis "tasks", if its processes differ in their arrays, if a metric is no scalar, or for labels
            out of range that JAX does not trace.
        TypeError: for arguments of another kind, such as a pair for a `Task`, and for metrics that are no numbers.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> inputs = jnp.ones((2, 5, 1))  # 2 tasks, 5 points
        >>> lines = (inputs, jnp.array([1.0, 3.0])[:, None, None] * inputs)
        >>> learner, tasks = jax_meta.transfer(loss_fn, optax.sgd(0.1), num_steps=1), jax_meta.Task(lines, lines)
        >>> gradient, metrics = jax_meta.meta_gradient(learner, jnp.zeros(()), tasks, jax.random.key(0))
        >>> assert jnp.allclose(gradient, -4) and jnp.allclose(metrics["loss"], 5)  # the mean of -2, -6, and of 1, 9
    """
    check_learner(learner)
    check_tasks(tasks)
    check_key(key)
    before = labels_of_tasks_before(learner, meta_params, tasks, key)
    options: dict[str, Any] = {"before": before, "task_batch_size": task_batch_size, "mesh": mesh}
    mean = call(mean_of_tasks, (learner,), (meta_params, tasks, key), **options)
    return mean.gradient, mean.metrics


def mean_of_tasks(
    learner: MetaLearner,
    meta_params: Params,
    tasks: Task,
    key: jax.Array,
    *,
    task_batch_size: int | None,
    mesh: Mesh | None,
) -> Mean:
    """`meta_gradient`, with the value of the loss that the gradient is of."""
    mean = partial(mean_gradient, learner, task_batch_size)
    found = on_devices(mean, mesh, meta_params, tasks, keys_of_tasks(key, tasks))
    return found._replace(gradient=jax.tree.map(narrow, meta_params, found.gradient))


def on_devices(mean: Callable[..., Any], mesh: Mesh | None, meta_params: Params, tasks: Task, keys: jax.Array) -> Any:
    """`mean(meta_params, tasks, keys)` on one device, or with the tasks spread over those of a mesh."""
    if mesh is None:
        return mean(meta_params, tasks, keys)
    return mean_over_devices(mean, mesh, meta_params, tasks, keys)


def keys_of_tasks(key: jax.Array, tasks: Task) -> jax.Array:
    """A key for each task, `[num_tasks]`."""
    check_key(key)
    return jax.random.split(key, check_tasks(tasks))


def init(learner: MetaLearner, optimizer: optax.GradientTransformation, params: Params, key: jax.Array) -> TrainState:
    """The state before the first meta-step.

    Args:
        learner: the algorithm.
        optimizer: the outer optimizer.
        params: the model's initial parameters, a pytree of arrays of floats, all of which are learned.
        key: the key of the run, which fixes its tasks. One of the kind "rbg" draws by the batch: `jax.vmap` over seeds
            and `task_batch_size` then change what a random loss draws, as JAX documents.

    Returns:
        A `TrainState` at step 0.

    Raises:
        ValueError: for parameters with collections of Flax besides `params`, such as running averages; for a
            `carried_reptile` without `carry_state`.
        TypeError: for parameters that are no real floats, such as counters and random states of NNX or functions of
            Equinox; for arguments of another kind, such as an integer for the key.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> learner = jax_meta.maml(jax_meta.regression(lambda a, x: a * x), optax.sgd(0.1), num_steps=1)
        >>> state = jax_meta.init(learner, optax.adam(1e-3), jnp.zeros(()), jax.random.key(0))
        >>> assert state.step == 0 and state.params == 0
    """
    check_learner(learner)
    check_optimizer(optimizer)
    check_params(params)
    check_key(key)
    meta_params = learner.init(params)
    state = TrainState(meta_params, optimizer.init(meta_params), key, jnp.zeros((), jnp.int32))
    check_carried(state.params, state.opt_state)
    return state


def train_step(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    tasks: Task,
    *,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """One meta-step: the mean meta-gradient over `tasks`, into `optimizer`.

    Args:
        learner: the algorithm.
        optimizer: the outer optimizer, any optax transformation. It also receives `grad`; `value`, the mean loss; and,
            of learners whose gradient is a `jax_meta.LossGradient`, `value_fn`, that loss as a function of the
            meta-parameters, for line searches.
        state: before the meta-step.
        tasks: leaves `[num_tasks, examples, ...]`.
        task_batch_size: as in `meta_gradient`.
        mesh: as in `meta_gradient`.

    Returns:
        The next state, and the mean of each metric over the tasks.

    Raises:
        ValueError: as in `meta_gradient`; for a state of another optimizer.
        TypeError: as in `meta_gradient`; for a state of another kind.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> lines = (jnp.ones((2, 5, 1)), 3 * jnp.ones((2, 5, 1)))  # 2 tasks, 5 points
        >>> learner = jax_meta.reptile(jax_meta.regression(lambda a, x: a * x), optax.sgd(0.1), num_steps=2)
        >>> state = jax_meta.init(learner, optax.sgd(0.5), jnp.zeros(()), jax.random.key(0))
        >>> state, metrics = jax_meta.train_step(learner, optax.sgd(0.5), state, jax_meta.Task(lines, lines))
        >>> assert state.step == 1 and 0 < state.params < 3
    """
    check_training(learner, optimizer, state)
    check_tasks(tasks)
    before = labels_of_tasks_before(learner, state.params, tasks, state.key)
    options: dict[str, Any] = {"before": before, "task_batch_size": task_batch_size, "mesh": mesh}
    return call(meta_step, (learner, optimizer), (state, tasks), **options)


def meta_step(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    tasks: Task,
    *,
    task_batch_size: int | None,
    mesh: Mesh | None,
) -> tuple[TrainState, Metrics]:
    """`train_step`, once the arguments are checked, but for the shapes of the optimizer's state."""
    check_opt_state(state, optimizer)
    check_carried(state.params, state.opt_state)
    _, key = step_keys(state.key, state.step)
    gradient, metrics, value = mean_of_tasks(
        learner, state.params, tasks, key, task_batch_size=task_batch_size, mesh=mesh
    )
    extra: dict[str, Any] = {} if value is None else {"value": value}
    if isinstance(learner.gradient, LossGradient):
        mean = partial(mean_loss, learner.gradient, task_batch_size)
        extra["value_fn"] = lambda params: on_devices(mean, mesh, params, tasks, keys_of_tasks(key, tasks))
    update = optax.with_extra_args_support(optimizer).update
    updates, opt_state = update(gradient, state.opt_state, state.params, grad=gradient, **extra)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.key, state.step + 1), metrics


def check_training(learner: MetaLearner, optimizer: optax.GradientTransformation, state: TrainState) -> None:
    """Raises TypeError unless all that trains is of its kind."""
    check_learner(learner)
    check_optimizer(optimizer)
    check_state(state)


def next_tasks(sample_tasks: Sampler | HostTasks, state: TrainState, *, num_tasks: int = 1) -> Task:
    """The tasks of the meta-step that `state` is about to take: those that `fit` draws there.

    With `jax_meta.train_step` on them, a meta-step can be looked at by itself.

    Args:
        sample_tasks: as in `jax_meta.fit`.
        state: before the meta-step.
        num_tasks: tasks a meta-step, as in the run.

    Returns:
        The tasks, leaves `[num_tasks, examples, ...]`.

    Raises:
        ValueError: if the sampler gives another number of tasks, or sets that do not fit together; for the tasks of an
            iterable, which come once.
        TypeError: if it gives no `Task`; for a state of another kind.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> from jax_meta.tasks import sinusoid
        >>> learner = jax_meta.maml(jax_meta.regression(lambda a, x: a * x), optax.sgd(0.1), num_steps=1)
        >>> state = jax_meta.init(learner, optax.adam(1e-3), jnp.zeros(()), jax.random.key(0))
        >>> tasks = jax_meta.next_tasks(sinusoid.sample_tasks, state, num_tasks=4)
        >>> assert tasks.support[0].shape == (4, 10, 1)
    """
    check_count(num_tasks, "num_tasks", least=1)
    check_state(state)
    if isinstance(sample_tasks, HostTasks):
        return next_host_tasks(sample_tasks, state, num_tasks)
    tasks = sample_tasks(step_keys(state.key, state.step)[0], num_tasks)
    given = check_tasks(tasks)
    if given != num_tasks:
        raise ValueError(
            f"sample_tasks was asked for {num_tasks} tasks and gave {given}: every leaf needs the leading axis "
            "num_tasks, as [num_tasks, examples, ...]. A function of one task becomes a sampler with jax.vmap, "
            "as in lambda key, num_tasks: jax.vmap(sample_task)(jax.random.split(key, num_tasks))."
        )
    return tasks


def step_keys(key: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two keys of a meta-step, for its tasks and its gradient: a function of the run's key and the step alone."""
    sample_key, gradient_key = jax.random.split(jax.random.fold_in(key, step))
    return sample_key, gradient_key
