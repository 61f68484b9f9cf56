"""The outer loop: the mean meta-gradient over a batch of tasks, fed to any optax optimizer."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_meta.algorithms.reptile import check_carried
from jax_meta.arguments import check_key, check_learner, check_opt_state, check_optimizer, check_params, check_state
from jax_meta.base import LossGradient, MetaLearner, Metrics, Params, Sampler, Task, TrainState
from jax_meta.checks import check_count, check_finite, check_num_steps, check_tasks
from jax_meta.devices import mean_over_devices, replicate, spread
from jax_meta.mean import Mean, mean_gradient, mean_loss, narrow

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
        The mean gradient, with the structure and dtypes of `meta_params`, and the mean of each metric, a float whatever
        the metric is. Both are added up in float32 at least.

    Raises:
        ValueError: if support and query differ in structure or in the shape of an example, if the leaves disagree about
            `num_tasks`, if there are no tasks or no examples, if `task_batch_size` does not divide the tasks, if the mesh
            has no axis "tasks", if its processes differ in their arrays, or if a metric is no scalar.
        TypeError: for arguments of another kind, such as a pair for a `Task`, and for metrics that are no numbers.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> lines = (jnp.ones((2, 5, 1)), jnp.array([1.0, 3.0])[:, None, None] * jnp.ones((2, 5, 1)))  # 2 tasks, 5 points
        >>> learner, tasks = jax_meta.transfer(loss_fn, optax.sgd(0.1), num_steps=1), jax_meta.Task(lines, lines)
        >>> gradient, metrics = jax_meta.meta_gradient(learner, jnp.zeros(()), tasks, jax.random.key(0))
        >>> assert jnp.allclose(gradient, -4) and jnp.allclose(metrics["loss"], 5)  # the mean of -2, -6, and of 1, 9
    """
    check_learner(learner)
    mean = mean_of_tasks(learner, meta_params, tasks, key, task_batch_size=task_batch_size, mesh=mesh)
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
    keys = keys_of_tasks(key, tasks)
    mean = partial(mean_gradient, learner, task_batch_size)
    found = mean(meta_params, tasks, keys) if mesh is None else mean_over_devices(mean, mesh, meta_params, tasks, keys)
    return found._replace(gradient=jax.tree.map(narrow, meta_params, found.gradient))


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
        >>> learner = jax_meta.maml(jax_meta.regression(lambda slope, inputs: slope * inputs), optax.sgd(0.1), num_steps=1)
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
        optimizer: the outer optimizer, any optax transformation. It also receives `grad`; `value`, the mean loss; and, of
            learners whose gradient is a `jax_meta.LossGradient`, `value_fn`, that loss as a function of the
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
    check_opt_state(state, optimizer)
    check_carried(state.params, state.opt_state)
    _, key = step_keys(state.key, state.step)
    options = {"task_batch_size": task_batch_size, "mesh": mesh}
    gradient, metrics, value = mean_of_tasks(learner, state.params, tasks, key, **options)
    extra = {} if value is None else {"value": value}
    if isinstance(learner.gradient, LossGradient):
        extra["value_fn"] = partial(loss_of_tasks, learner, tasks=tasks, key=key, **options)
    update = optax.with_extra_args_support(optimizer).update
    updates, opt_state = update(gradient, state.opt_state, state.params, grad=gradient, **extra)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.key, state.step + 1), metrics


def loss_of_tasks(
    learner: MetaLearner,
    meta_params: Params,
    *,
    tasks: Task,
    key: jax.Array,
    task_batch_size: int | None,
    mesh: Mesh | None,
) -> jax.Array:
    """The mean loss whose gradient `meta_gradient` is."""
    keys = keys_of_tasks(key, tasks)
    mean = partial(mean_loss, learner.gradient, task_batch_size)
    return mean(meta_params, tasks, keys) if mesh is None else mean_over_devices(mean, mesh, meta_params, tasks, keys)


def check_training(learner: MetaLearner, optimizer: optax.GradientTransformation, state: TrainState) -> None:
    """Raises TypeError unless all that trains is of its kind."""
    check_learner(learner)
    check_optimizer(optimizer)
    check_state(state)


def next_tasks(sample_tasks: Sampler, state: TrainState, *, num_tasks: int = 1) -> Task:
    """The tasks of the meta-step that `state` is about to take: those that `fit` draws there.

    With `jax_meta.train_step` on them, a meta-step can be looked at by itself.

    Args:
        sample_tasks: as in `jax_meta.fit`.
        state: before the meta-step.
        num_tasks: tasks a meta-step, as in the run.

    Returns:
        The tasks, leaves `[num_tasks, examples, ...]`.

    Raises:
        ValueError: if the sampler gives another number of tasks, or sets that do not fit together.
        TypeError: if it gives no `Task`; for a state of another kind.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> from jax_meta.tasks import sinusoid
        >>> learner = jax_meta.maml(jax_meta.regression(lambda slope, inputs: slope * inputs), optax.sgd(0.1), num_steps=1)
        >>> state = jax_meta.init(learner, optax.adam(1e-3), jnp.zeros(()), jax.random.key(0))
        >>> tasks = jax_meta.next_tasks(sinusoid.sample_tasks, state, num_tasks=4)
        >>> assert tasks.support[0].shape == (4, 10, 1)
    """
    check_count(num_tasks, "num_tasks", least=1)
    check_state(state)
    tasks = sample_tasks(step_keys(state.key, state.step)[0], num_tasks)
    given = check_tasks(tasks)
    if given != num_tasks:
        raise ValueError(
            f"sample_tasks was asked for {num_tasks} tasks and gave {given}: its leaves must be [num_tasks, examples, ...], "
            "the same leading axis for every one. A function of one task becomes a sampler with jax.vmap, as in lambda key, "
            "num_tasks: jax.vmap(sample_task)(jax.random.split(key, num_tasks))."
        )
    return tasks


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
        The state after the last step, and the metrics of every step, the mean over its tasks, each `[num_meta_steps]` and
        a float of at least 32 bits.

    Raises:
        ValueError: for steps or task counts out of range, another number of tasks than asked for, and as in `train_step`;
            before anything runs.
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
