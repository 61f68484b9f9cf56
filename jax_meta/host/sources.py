"""Where tasks of the host come from: a function, a sequence or an iterable, all as draws by meta-step."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from jax_meta.base import Metrics, Sampler, Task, TrainState
from jax_meta.host.batches import copied

Seed = tuple[int, ...]
Draw = Callable[[Seed, int, int], Task]
"""`(seed, step, num_tasks) -> Task`: the tasks of a meta-step of the run with that seed, the words of its key."""


class HostSampler(Protocol):
    """`(rng, num_tasks) -> Task` of NumPy arrays `[num_tasks, examples, ...]`; a function of its arguments alone."""

    def __call__(self, rng: np.random.Generator, num_tasks: int, /) -> Task: ...


class TasksBySteps(Protocol):
    """A sequence whose entry at a meta-step is the batch of tasks of that step."""

    def __getitem__(self, step: int, /) -> Task:
        """The tasks of a meta-step; IndexError where there are no more."""


class OutOfTasksError(ValueError):
    """A source of tasks ended before the last meta-step; what was learned until then is not lost.

    Attributes:
        state: the `TrainState` after the last meta-step that had tasks.
        history: the metrics of the steps that this call has taken.
    """

    state: TrainState
    history: Metrics


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class HostTasks:
    """What `jax_meta.host_tasks` makes, for `jax_meta.fit` and `jax_meta.train` to take in the place of a sampler.

    Attributes:
        draw: `(seed, step, num_tasks) -> Task`, the tasks of a meta-step; StopIteration where there are no more.
        name: what messages call the source.
        seek: of an iterable, which has no tasks but the next: `(place) -> None`, makes those of that place the next, or
            raises ValueError. None for what can be drawn again.
        is_running: whether a thread makes them ready.
    """

    draw: Draw
    name: str
    seek: Callable[[int], None] | None = None
    is_running: bool = False


def host_tasks(source: HostSampler | TasksBySteps | Iterable[Task], *, skip: bool = False) -> HostTasks:
    """Tasks from the host, for `jax_meta.fit` and `jax_meta.train`: the next are made while the device computes.

    The source is one of three, and says how `train` goes on with a run that was stopped:

    - a function `(rng, num_tasks) -> Task`, whose `rng` is a `numpy.random.Generator` of the run's key and the
      meta-step: it draws the same again;
    - a sequence, a list or whatever has entries by number: `source[step]` are the tasks of a meta-step, also again;
    - an iterable, a generator or a PyTorch `DataLoader`, gives the next: such a run is refused, or, with `skip`, drops
      what it has used. One that is to last goes round: `while True: yield from loader`. Workers of a `DataLoader` need
      `multiprocessing_context="spawn"`, for JAX has threads, which a fork breaks.

    Each gives batches, a `Task` with leaves `[num_tasks, examples, ...]` that are arrays or CPU tensors, all of the
    same shapes. They are drawn in a thread, in order and no more than are used, copied, and handed to the device in
    blocks of about a mebibyte. The result is that of `jax_meta.fit_tasks` on them, to the bit. A function or a sequence
    is asked for its first batch twice, to see that it gives the same.

    Args:
        source: of the tasks.
        skip: of an iterable that begins anew: let `jax_meta.train` go on with a run, by drawing and dropping as many
            batches as the run has used. Default: such a run is refused.

    Returns:
        What takes the place of `sample_tasks`.

    Raises:
        TypeError: if it is none of these.
        ValueError: in `fit` and `train`, if a function or a sequence gives two batches for one step, if a batch has
            another shape than the first, or not `num_tasks` tasks, and inside `jit` and `vmap`.
        OutOfTasksError: in `fit` and `train`, if the source ends early; the error holds the state that was reached.
        Exception: in `fit` and `train`, what the source raises, as it is.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, optax, jax_meta
        >>> def draw(rng, num_tasks):  # to find the mean of five numbers
        ...     numbers = rng.normal(3.0, size=(2, num_tasks, 5))
        ...     return jax_meta.Task(*numbers)
        >>> def loss_fn(params, batch, key):
        ...     loss = ((batch - params) ** 2).mean()
        ...     return loss, {"loss": loss}
        >>> learner, outer = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1), optax.sgd(0.1)
        >>> state = jax_meta.init(learner, outer, jnp.zeros(()), jax.random.key(0))
        >>> state, _ = jax_meta.fit(learner, outer, jax_meta.host_tasks(draw), state, num_meta_steps=100, num_tasks=4)
        >>> assert abs(state.params - 3) < 0.5
    """
    name = getattr(source, "__qualname__", type(source).__name__)
    if callable(source):
        return HostTasks(again_alike(lambda seed, step, num: source(np.random.default_rng([*seed, step]), num)), name)
    is_batch = isinstance(source, Task | Mapping | str) or hasattr(source, "shape")
    if is_batch or not (isinstance(source, Iterable) or hasattr(source, "__getitem__")):
        raise TypeError(
            f"host_tasks takes a function (rng, num_tasks), a sequence or an iterable of batches of tasks, got {name}. "
            "One batch for all meta-steps is host_tasks(lambda rng, num_tasks: tasks), or goes to jax_meta.fit_tasks."
        )
    if hasattr(source, "__getitem__"):
        return HostTasks(again_alike(by_step(source)), name)
    return stream(source, name, skip=skip)


def as_argument(sample_tasks: Sampler | HostTasks) -> Sampler | HostTasks:
    """A sampler as compiled programs take it; raises TypeError for what is none."""
    if isinstance(sample_tasks, jax.tree_util.Partial | HostTasks):
        return sample_tasks
    if not callable(sample_tasks):
        raise TypeError(
            f"sample_tasks must be a function (key, num_tasks) -> Task, got a {type(sample_tasks).__name__}: give "
            "tasks at hand to jax_meta.fit_tasks, and a sequence or an iterable of them as "
            "jax_meta.host_tasks(sequence)."
        )
    return jax.tree_util.Partial(sample_tasks)


def by_step(source: Any) -> Draw:
    """A sequence as a draw: it ends where it has no entry."""

    def draw(seed: Seed, step: int, num_tasks: int) -> Task:
        try:
            return source[step]
        except IndexError as error:
            raise StopIteration from error

    return draw


def stream(source: Iterable[Task], name: str, *, skip: bool) -> HostTasks:
    """An iterable as tasks: its iterator is made when the first are drawn, and goes on from call to call."""
    iterator: Iterator[Task] | None = None
    drawn = 0

    def draw(seed: Seed, step: int, num_tasks: int) -> Task:
        nonlocal iterator, drawn
        iterator = iter(source) if iterator is None else iterator
        tasks = next(iterator)
        drawn += 1
        return tasks

    def seek(place: int) -> None:
        if place in (0, drawn):  # a run that begins takes an iterable as it stands
            return
        if not skip or place < drawn:
            raise ValueError(
                f"the run has used {place} batches of tasks, and {drawn} were drawn from the iterable {name} here. An "
                "iterable cannot be taken up anywhere: give jax_meta.host_tasks a function (rng, num_tasks) or a "
                "sequence, which can; or make the iterable anew, and let the run drop what it has used: skip=True."
            )
        while drawn < place:
            draw((), drawn, 0)

    return HostTasks(draw, name, seek)


def again_alike(draw: Draw) -> Draw:
    """A draw of which the first is made twice; raises ValueError if they differ, for it is not one of its arguments."""
    is_checked = False

    def checked(seed: Seed, step: int, num_tasks: int) -> Task:
        nonlocal is_checked
        tasks = draw(seed, step, num_tasks)
        if not is_checked:
            tasks, again = copied(tasks), copied(draw(seed, step, num_tasks))
            first, second = ([leaf.tobytes() for leaf in jax.tree.leaves(drawn)] for drawn in (tasks, again))
            if first != second:
                raise ValueError(
                    f"asked for the tasks of meta-step {step} twice, it gave two batches: the same run would not be "
                    "the same again. Draw from the rng that is given, and from nothing else; or give an iterable, "
                    "whose tasks are what comes next: jax_meta.host_tasks(generator())."
                )
            is_checked = True
        return tasks

    return checked


def seed_of(state: TrainState) -> Seed:
    """The words of a run's key."""
    return tuple(map(int, np.ravel(jax.random.key_data(state.key))))
