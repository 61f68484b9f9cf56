"""`fit` on tasks of the host: in blocks, one of which is made ready while the one before it computes."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Metrics, PyTree, Task, TrainState
from jax_meta.host.ahead import running
from jax_meta.host.batches import bytes_of, checked
from jax_meta.host.sources import HostTasks, OutOfTasksError, seed_of
from jax_meta.sampling import SAMPLE_AHEAD_BYTES, in_blocks

Take = Callable[[Task, np.ndarray | None, TrainState], tuple[TrainState, Metrics]]
"""`(tasks, taken, state) -> (state, metrics)`: a meta-step on each entry of `tasks`, or on those that `taken` marks."""


def fit_blocks(
    take: Take, tasks: HostTasks, state: TrainState, num_meta_steps: int, num_tasks: int
) -> tuple[TrainState, Metrics]:
    """`jax_meta.fit` on tasks of the host: `take` on one block after the other, while the next are made ready.

    Raises ValueError inside `jit` and `vmap`, and OutOfTasksError where the source ends early.
    """
    check_concrete(state)
    if jnp.ndim(state.step):
        raise ValueError(
            f"tasks of the host train one network, and the state has the keys of {len(state.step)}: stack the tasks of "
            "all meta-steps and map jax_meta.fit_tasks over the states."
        )
    histories: list[Metrics] = []
    first, seed = int(state.step), seed_of(state)
    with running(tasks, state, end=first + num_meta_steps) as ready:
        draws = (ready.draw(seed, step, num_tasks) for step in range(first, first + num_meta_steps))
        for block in blocks(draws, num_meta_steps):
            if block.tasks:
                state, history = take(block.tasks, block.taken, state)
                check_concrete(history)
                # Those of the block before, which is thereby waited for: one block computes, and one is handed over.
                histories[-1:] = map(jax.device_get, histories[-1:])
                histories.append(history)
            if block.ended:
                block.ended.state, block.ended.history = state, joined(histories, num_meta_steps)
                raise block.ended
    return state, joined(histories, num_meta_steps)


class Block(NamedTuple):
    """Tasks of `number` meta-steps, leaves `[size, num_tasks, examples, ...]`.

    Attributes:
        tasks: where `number` is less than `size`, the last entries are copies.
        taken: bool `[size]`, the entries that are not; None if all are steps.
        number: how many steps.
        ended: the error, if the source has no more.
    """

    tasks: Task | None
    taken: np.ndarray | None
    number: int
    ended: OutOfTasksError | None


def blocks(draws: Iterator[Task], num_meta_steps: int) -> Iterator[Block]:
    """All tasks in blocks of one size, so that one program takes them."""
    batches, ended = upto(draws, min(1, num_meta_steps))
    size = in_blocks(num_meta_steps, SAMPLE_AHEAD_BYTES // max(1, bytes_of(batches))).size
    for start in range(0, num_meta_steps, size):
        if not ended:
            more, ended = upto(draws, min(size, num_meta_steps - start) - len(batches))
            batches += more
        count, taken = len(batches), None
        if num_meta_steps % size and not ended:
            taken = np.arange(size) < count
            batches += batches[-1:] * (size - count)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches) if batches else None
        yield Block(stacked, taken, count, ended)
        batches = []
        if ended:
            return


def upto(draws: Iterator[Task], count: int) -> tuple[list[Task], OutOfTasksError | None]:
    """The next `count` batches; or those that there are, and the error."""
    batches: list[Task] = []
    try:
        for tasks in islice(draws, count):
            batches.append(tasks)
    except OutOfTasksError as error:
        return batches, error
    return batches, None


def joined(histories: list[Metrics], num_meta_steps: int) -> Metrics:
    """The metrics of all blocks, `[num_meta_steps]`, or of fewer steps; none if there was no step."""
    if not histories:
        return {}
    return jax.tree.map(
        lambda *leaves: jnp.asarray(np.concatenate(leaves)[:num_meta_steps]), *jax.device_get(histories)
    )


def check_concrete(tree: PyTree) -> None:
    """Raises ValueError inside `jit` and `vmap`, where tasks could be drawn but once."""
    leaves = [*jax.tree.leaves(tree), jnp.zeros(())]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        raise ValueError(
            "tasks that are made on the host cannot be drawn inside jit or vmap: call fit outside. To train many "
            "networks at once, stack the tasks of all meta-steps and map jax_meta.fit_tasks over the states."
        )


def next_host_tasks(tasks: HostTasks, state: TrainState, num_tasks: int) -> Task:
    """Those of the meta-step that `state` is about to take, on the device; ValueError for an iterable's."""
    if tasks.seek is not None:
        raise ValueError(
            f"the tasks of the iterable {tasks.name} come once, and cannot be drawn for a look: give "
            "jax_meta.host_tasks a function (rng, num_tasks), or a sequence."
        )
    check_concrete(state)
    return jax.tree.map(jnp.asarray, checked(tasks.draw(seed_of(state), int(state.step), num_tasks), num_tasks))
