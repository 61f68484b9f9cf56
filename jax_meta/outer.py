"""The outer loop: meta-steps on tasks that a sampler draws, or that are at hand, in one compiled scan."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_meta.base import MetaLearner, Metrics, Sampler, Task, TrainState
from jax_meta.checks import check_count, check_finite, check_num_steps, check_tasks
from jax_meta.devices import replicate, spread
from jax_meta.host.blocks import fit_blocks
from jax_meta.host.sources import HostTasks, as_argument
from jax_meta.label_checks import labels_of_tasks_before
from jax_meta.meta_step import check_training, meta_step, next_tasks
from jax_meta.programs.compiled import call
from jax_meta.sampling import in_blocks, steps_ahead, without_jit


def fit(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler | HostTasks,
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
            compiled program, and not constants in it. Tasks that NumPy, PyTorch or a file gives are made by
            `jax_meta.host_tasks`.
        state: from `jax_meta.init`, or from an earlier `fit`.
        num_meta_steps: meta-steps to take, 0 or more.
        num_tasks: tasks a meta-step, the meta-batch. Default: 1.
        task_batch_size: as in `meta_gradient`.
        mesh: as in `meta_gradient`. The tasks of a seed are the same on any number of devices, and each draws its own.

    Returns:
        The state after the last step, and the metrics of every step, the mean over its tasks, each `[num_meta_steps]`
        and a float of at least 32 bits.

    Raises:
        ValueError: for steps or task counts out of range, if what `sample_tasks` draws does not depend on its key,
            depends on more, or is another number of tasks than asked for, and as in `train_step`; before anything runs.
        TypeError: for arguments of another kind, and for metrics that are no scalars by name; before anything runs.
        OutOfTasksError: if tasks of the host end early; it holds the state and the metrics until then.
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
    sample_tasks: Sampler | HostTasks,
    state: TrainState,
    *,
    num_meta_steps: int,
    num_tasks: int = 1,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
    look: Callable[[Metrics], None] | None = None,
) -> tuple[TrainState, Metrics]:
    """`fit`, without a look at the metrics it returns: they may be NaN or infinite.

    `look` is shown the shapes of those that tasks of the host will give, by name, before the first step on them.
    """
    if not isinstance(sample_tasks, HostTasks):  # which says itself that it trains one network
        check_training(learner, optimizer, state)
    check_num_steps(num_meta_steps, "num_meta_steps")
    check_count(num_tasks, "num_tasks", least=1)
    sample_tasks, state = replicate((as_argument(sample_tasks), state), mesh)
    if isinstance(sample_tasks, HostTasks):

        def take(tasks, taken, state):
            check = labels_of_tasks_before(learner, state.params, tasks, state.key, lead=2)
            data, options = (spread(tasks, mesh), state, taken), {"task_batch_size": task_batch_size, "mesh": mesh}

            def before(shapes, outputs):
                if check is not None:
                    check(shapes, outputs)
                if look is not None:
                    compiled = COMPILED[steps_on_tasks]
                    look((shapes or compiled.eval_shape(learner, optimizer, *data, **options))[1])

            return call_compiled(steps_on_tasks, (learner, optimizer), data, before=before, **options)

        return fit_blocks(take, sample_tasks, state, num_meta_steps, num_tasks)
    return call_compiled(
        steps_on_samples,
        (learner, optimizer, sample_tasks),
        (state,),
        num_meta_steps=num_meta_steps,
        num_tasks=num_tasks,
        task_batch_size=task_batch_size,
        mesh=mesh,
    )


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
    before = labels_of_tasks_before(learner, state.params, tasks, state.key, lead=2)
    num_meta_steps = jax.tree.leaves(tasks)[0].shape[0]
    tasks, state = spread(tasks, mesh), replicate(state, mesh)
    options: dict[str, Any] = {"before": before, "task_batch_size": task_batch_size, "mesh": mesh}
    state, history = call_compiled(steps_on_tasks, (learner, optimizer), (tasks, state), **options)
    check_finite(history, first_step=state.step - num_meta_steps)
    return state, history


def call_compiled(function: Callable, behaviour: tuple, data: tuple, **options: Any) -> tuple[TrainState, Metrics]:
    """`jax_meta.programs.compiled.call`, and compiled there, too, where it calls a function as it is."""
    return call(function, behaviour, data, otherwise=COMPILED[function], **options)


def steps_on_tasks(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    tasks: Task,
    state: TrainState,
    taken: jax.Array | None = None,
    *,
    task_batch_size: int | None,
    mesh: Mesh | None,
) -> tuple[TrainState, Metrics]:
    """`fit_tasks`, but for entries that are not to be `taken`, bool `[num_meta_steps]`."""
    step: Callable = partial(meta_step, learner, optimizer, task_batch_size=task_batch_size, mesh=mesh)
    if taken is None:
        return jax.lax.scan(step, state, tasks)

    step = jax.jit(step)  # so that it is traced once

    def skip(state, tasks):
        return state, optax.tree.zeros_like(jax.eval_shape(step, state, tasks)[1])

    return jax.lax.scan(lambda state, entry: jax.lax.cond(entry[0], step, skip, state, entry[1]), state, (taken, tasks))


def steps_on_samples(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler,
    state: TrainState,
    *,
    num_meta_steps: int,
    num_tasks: int,
    task_batch_size: int | None,
    mesh: Mesh | None,
) -> tuple[TrainState, Metrics]:
    """`fit`, when all is checked."""
    options = {"task_batch_size": task_batch_size, "mesh": mesh}

    def sample(step):
        return next_tasks(sample_tasks, state._replace(step=step), num_tasks=num_tasks)

    # of other keys than JAX's default a batch draws other numbers than each key alone
    over_steps = jax.vmap if str(jax.random.key_impl(state.key)) == "threefry2x32" else partial(partial, jax.lax.map)

    def block(state, entry):
        steps, taken = entry
        tasks = over_steps(sample)(steps)
        with jax.named_scope("meta_steps"):  # apart from the drawing of tasks, in profiles
            return steps_on_tasks(learner, optimizer, tasks, state, taken, **options)

    def draw(key):
        return next_tasks(without_jit(sample_tasks), state._replace(key=key), num_tasks=num_tasks)

    number, size = in_blocks(num_meta_steps, steps_ahead(draw, state.key))
    places = jnp.arange(number * size, dtype=state.step.dtype).reshape(number, size)
    taken = None if number * size == num_meta_steps else places < num_meta_steps
    steps = state.step + jnp.minimum(places, max(num_meta_steps - 1, 0))
    state, history = jax.lax.scan(block, state, (steps, taken))
    return state, jax.tree.map(lambda leaf: leaf.reshape(number * size)[:num_meta_steps], history)


OPTIONS = ("task_batch_size", "mesh")
COMPILED = {
    steps_on_tasks: jax.jit(steps_on_tasks, static_argnums=(0, 1), static_argnames=OPTIONS),
    steps_on_samples: jax.jit(
        steps_on_samples, static_argnums=(0, 1), static_argnames=("num_meta_steps", "num_tasks", *OPTIONS)
    ),
}
"""Compiled for each learner and optimizer by its identity, where their parts do not tell."""
