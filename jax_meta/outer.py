"""The outer loop: the mean meta-gradient over a batch of tasks, fed to any optax optimizer."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_meta.base import MetaLearner, Metrics, Params, Sampler, Task, TrainState
from jax_meta.checks import check_finite, check_num_steps, check_tasks
from jax_meta.devices import mean_over_devices, replicate, spread
from jax_meta.mean import mean_gradient

SAMPLE_AHEAD_BYTES = 2**20
"""`fit` samples the tasks of as many meta-steps at once as fit in this: one large draw costs less than many small."""


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
        The mean gradient, with the structure of `meta_params`, and the mean of each metric.

    Raises:
        ValueError: if support and query differ in structure or in the shape of an example, if the leaves disagree about
            `num_tasks`, if `task_batch_size` does not divide it, if the mesh has no axis "tasks", or if its processes
            differ in their arrays.
    """
    num_tasks = check_tasks(tasks)
    keys = jax.random.split(key, num_tasks)
    if mesh is None:
        return mean_gradient(learner, task_batch_size, meta_params, tasks, keys)
    return mean_over_devices(partial(mean_gradient, learner, task_batch_size), mesh, meta_params, tasks, keys)


def init(learner: MetaLearner, optimizer: optax.GradientTransformation, params: Params, key: jax.Array) -> TrainState:
    """The state before the first meta-step.

    Args:
        learner: the algorithm.
        optimizer: the outer optimizer.
        params: the model's initial parameters.
        key: the key of the run, which fixes its tasks.

    Returns:
        A `TrainState` at step 0.
    """
    meta_params = learner.init(params)
    return TrainState(meta_params, optimizer.init(meta_params), key, jnp.zeros((), jnp.int32))


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

    Args and errors are those of `meta_gradient`. Returns the next state and the mean of each metric over the tasks.
    """
    _, key = step_keys(state.key, state.step)
    gradient, metrics = meta_gradient(learner, state.params, tasks, key, task_batch_size=task_batch_size, mesh=mesh)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.key, state.step + 1), metrics


def next_tasks(sample_tasks: Sampler, state: TrainState, *, num_tasks: int = 1) -> Task:
    """The tasks of the meta-step that `state` is about to take: those that `fit` draws there.

    With `jax_meta.train_step` on them, a meta-step can be looked at by itself.

    Args:
        sample_tasks: as in `jax_meta.fit`.
        state: before the meta-step.
        num_tasks: tasks a meta-step, as in the run.

    Returns:
        The tasks, leaves `[num_tasks, examples, ...]`.
    """
    return sample_tasks(step_keys(state.key, state.step)[0], num_tasks)


def step_keys(key: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two keys of a meta-step, for its tasks and its gradient: a function of the run's key and the step alone."""
    sample_key, gradient_key = jax.random.split(jax.random.fold_in(key, step))
    return sample_key, gradient_key


def fit(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler,
    state: TrainState,
    *,
    num_meta_steps: int,
    num_tasks: int = 1,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """Meta-trains for `num_meta_steps` meta-steps, compiled as one `lax.scan`.

    It is pure: `jax.vmap` over the state (or over a learning rate, closed over by the learner) trains many networks at
    once, and two calls of n steps equal one of 2n.

    Args:
        learner: the algorithm.
        optimizer: the outer optimizer, any optax transformation.
        sample_tasks: `(key, num_tasks) -> Task`, pure, run on the device inside the scan. One that draws from arrays is
            best a `jax.tree_util.Partial` of them, as `jax_meta.tasks.episodes` makes: they are then arguments of the
            compiled program, and not constants in it.
        state: from `jax_meta.init`, or from an earlier `fit`.
        num_meta_steps: meta-steps to take, 0 or more.
        num_tasks: tasks a meta-step, the meta-batch. Default: 1.
        task_batch_size: as in `meta_gradient`.
        mesh: as in `meta_gradient`. The tasks of a seed are the same on any number of devices, and each draws its own.

    Returns:
        The state after the last step, and the metrics of every step, each `[num_meta_steps]`.

    Raises:
        ValueError: for steps or task counts out of range, and as in `meta_gradient`; before anything runs.
        FloatingPointError: if a metric is not finite, naming the first such step. Inside `jit` or `vmap` nothing can be
            raised: call `jax_meta.check_finite` on the history.
    """
    state, history = fit_unchecked(
        learner,
        optimizer,
        sample_tasks,
        state,
        num_meta_steps=num_meta_steps,
        num_tasks=num_tasks,
        task_batch_size=task_batch_size,
        mesh=mesh,
    )
    check_finite(history, first_step=state.step - num_meta_steps)
    return state, history


def fit_unchecked(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler,
    state: TrainState,
    *,
    num_meta_steps: int,
    num_tasks: int = 1,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """`fit`, without a look at the metrics it returns: they may be NaN or infinite."""
    check_num_steps(num_meta_steps, "num_meta_steps")
    sample_tasks, state = replicate((as_partial(sample_tasks), state), mesh)
    return _fit(learner, optimizer, sample_tasks, state, num_meta_steps, num_tasks, task_batch_size, mesh)


def as_partial(sample_tasks: Sampler) -> jax.tree_util.Partial:
    """The sampler as a pytree, whose arrays are arguments of what is compiled; a Partial stays as it is."""
    return sample_tasks if isinstance(sample_tasks, jax.tree_util.Partial) else jax.tree_util.Partial(sample_tasks)


def fit_tasks(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    tasks: Task,
    state: TrainState,
    *,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """Takes one meta-step on each entry of `tasks`, in order: `fit` for tasks that are at hand.

    Args:
        learner: the algorithm.
        optimizer: the outer optimizer.
        tasks: leaves `[num_meta_steps, num_tasks, examples, ...]`.
        state: from `jax_meta.init`, or from an earlier call.
        task_batch_size: as in `meta_gradient`.
        mesh: as in `meta_gradient`.

    Returns and raises as `fit` does.
    """
    num_meta_steps = jax.tree.leaves(tasks)[0].shape[0]
    tasks, state = spread(tasks, mesh), replicate(state, mesh)
    state, history = _fit_tasks(learner, optimizer, tasks, state, task_batch_size, mesh)
    check_finite(history, first_step=state.step - num_meta_steps)
    return state, history


@partial(jax.jit, static_argnums=(0, 1, 4, 5))
def _fit_tasks(learner, optimizer, tasks, state, task_batch_size, mesh):
    step = partial(train_step, learner, optimizer, task_batch_size=task_batch_size, mesh=mesh)
    return jax.lax.scan(step, state, tasks)


@partial(jax.jit, static_argnums=(0, 1, 4, 5, 6, 7))
def _fit(learner, optimizer, sample_tasks, state, num_meta_steps, num_tasks, task_batch_size, mesh):
    def sample(step):
        return next_tasks(sample_tasks, state._replace(step=step), num_tasks=num_tasks)

    def block(state, steps):
        return _fit_tasks(learner, optimizer, jax.vmap(sample)(steps), state, task_batch_size, mesh)

    size = steps_sampled_ahead(jax.eval_shape(sample, state.step), num_meta_steps)
    steps = state.step + jnp.arange(num_meta_steps, dtype=state.step.dtype)
    state, history = jax.lax.scan(block, state, steps.reshape(num_meta_steps // size, size))
    return state, jax.tree.map(lambda leaf: leaf.reshape(num_meta_steps), history)


def steps_sampled_ahead(tasks: Task, num_meta_steps: int) -> int:
    """How many meta-steps' tasks to draw at once, given the shapes of one step's: a divisor of `num_meta_steps`."""
    step_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tasks))
    limit = max(1, min(num_meta_steps, SAMPLE_AHEAD_BYTES // max(step_bytes, 1)))
    return next(size for size in range(limit, 0, -1) if num_meta_steps % size == 0)
