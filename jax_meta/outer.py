"""The outer loop: meta-steps on tasks that a sampler draws, or that are at hand, in one compiled scan."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_meta.base import MetaLearner, Metrics, Sampler, Task, TrainState
from jax_meta.checks import check_count, check_finite, check_num_steps, check_tasks
from jax_meta.devices import replicate, spread
from jax_meta.meta_step import check_training, next_tasks, train_step

SAMPLE_AHEAD_BYTES = 2**20
"""`fit` samples the tasks of as many meta-steps at once as fit in this: one large draw costs less than many small."""


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
        The state after the last step, and the metrics of every step, the mean over its tasks, each `[num_meta_steps]`
        and a float of at least 32 bits.

    Raises:
        ValueError: for steps or task counts out of range, another number of tasks than asked for, and as in
            `train_step`; before anything runs.
        TypeError: for arguments of another kind, and for metrics that are no scalars by name; before anything runs.
        FloatingPointError: if a metric is not finite, naming the first such step. Inside `jit` or `vmap` nothing can be
            raised: call `jax_meta.check_finite` on the history.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> from jax_meta.tasks import sinusoid
        >>> learner = jax_meta.maml(jax_meta.regression(lambda a, x: a * jnp.sin(x)), optax.sgd(0.1), num_steps=1)
        >>> state = jax_meta.init(learner, optax.sgd(0.1), jnp.zeros(()), jax.random.key(0))
        >>> options = {"num_meta_steps": 5, "num_tasks": 4}
        >>> state, history = jax_meta.fit(learner, optax.sgd(0.1), sinusoid.sample_tasks, state, **options)
        >>> assert state.step == 5 and history["loss"].shape == (5,)
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
    check_training(learner, optimizer, state)
    check_num_steps(num_meta_steps, "num_meta_steps")
    check_count(num_tasks, "num_tasks", least=1)
    if not isinstance(sample_tasks, jax.tree_util.Partial):
        sample_tasks = jax.tree_util.Partial(sample_tasks)
    sample_tasks, state = replicate((sample_tasks, state), mesh)
    return _fit(learner, optimizer, sample_tasks, state, num_meta_steps, num_tasks, task_batch_size, mesh)


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

    Returns:
        The state after the last step, and the metrics of every step, each `[num_meta_steps]`, as of `fit`.

    Raises:
        ValueError, TypeError, FloatingPointError: as in `fit`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> lines = (jnp.ones((3, 2, 5, 1)), 3 * jnp.ones((3, 2, 5, 1)))  # 3 meta-steps, 2 tasks, 5 points
        >>> learner = jax_meta.reptile(jax_meta.regression(lambda a, x: a * x), optax.sgd(0.1), num_steps=2)
        >>> state = jax_meta.init(learner, optax.sgd(0.5), jnp.zeros(()), jax.random.key(0))
        >>> state, history = jax_meta.fit_tasks(learner, optax.sgd(0.5), jax_meta.Task(lines, lines), state)
        >>> assert state.step == 3 and history["loss"][0] > history["loss"][2]
    """
    check_training(learner, optimizer, state)
    check_tasks(tasks, "num_meta_steps", "num_tasks", "examples")
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

    # of other keys than JAX's default a batch draws other numbers than each key alone
    draw = jax.vmap if str(jax.random.key_impl(state.key)) == "threefry2x32" else partial(partial, jax.lax.map)

    def block(state, steps):
        return _fit_tasks(learner, optimizer, draw(sample)(steps), state, task_batch_size, mesh)

    size = steps_sampled_ahead(jax.eval_shape(sample, state.step), num_meta_steps)
    steps = state.step + jnp.arange(num_meta_steps, dtype=state.step.dtype)
    state, history = jax.lax.scan(block, state, steps.reshape(num_meta_steps // size, size))
    return state, jax.tree.map(lambda leaf: leaf.reshape(num_meta_steps), history)


def steps_sampled_ahead(tasks: Task, num_meta_steps: int) -> int:
    """How many meta-steps' tasks to draw at once, given the shapes of one step's: a divisor of `num_meta_steps`."""
    step_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tasks))
    limit = max(1, min(num_meta_steps, SAMPLE_AHEAD_BYTES // max(step_bytes, 1)))
    return next(size for size in range(limit, 0, -1) if num_meta_steps % size == 0)
