"""Batches of tasks as a source gives them: checked, and as arrays that nobody else writes to."""

from itertools import zip_longest
from typing import Any

import jax
import numpy as np

from jax_meta.base import PyTree, Task
from jax_meta.checks import check_tasks, describe


def copied(tasks: PyTree) -> PyTree:
    """Arrays or tensors as NumPy arrays of their own: a source may fill the same buffers again."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).copy(), tasks)


def checked(tasks: Any, num_tasks: int, like: Task | None = None) -> Task:
    """A batch of tasks as NumPy arrays of their own; raises an error if it is none, or of another shape than `like`."""
    if not isinstance(tasks, Task):
        raise TypeError(
            "a source of tasks must give jax_meta.Task(support, query), each a batch such as (inputs, targets), got a "
            f"{type(tasks).__name__}."
        )
    tasks = copied(tasks)
    shapes = shapes_of(tasks)
    if shapes != like:
        check_batch(tasks, num_tasks)
        if like is not None:
            raise ValueError(
                f"{difference(like, shapes)}: all batches must have the same shapes and dtypes. Pad or drop what "
                "differs, such as the last batch of a DataLoader with drop_last=True."
            )
    return tasks


def check_batch(tasks: Task, num_tasks: int) -> None:
    """Raises an error unless these are arrays of numbers, of `num_tasks` tasks that fit together."""
    for path, leaf in jax.tree.leaves_with_path(tasks):
        if leaf.dtype.kind in "OSUmM":
            raise TypeError(f"tasks are arrays of numbers, got {leaf.dtype} at {jax.tree_util.keystr(path)}.")
        if leaf.shape[:1] != (num_tasks,):
            raise ValueError(
                f"axis 0 of every leaf counts the tasks of a meta-step, num_tasks={num_tasks}, got {describe(leaf)} at "
                f"{jax.tree_util.keystr(path)}. Give fit and train the num_tasks of the source, and a DataLoader "
                "drop_last=True."
            )
    check_tasks(tasks)


def shapes_of(tasks: Task) -> Task:
    """The shape and dtype of each leaf, in the place of it."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tasks)


def difference(like: Task, shapes: Task) -> str:
    """Where two batches differ first."""
    was, now = (
        [(jax.tree_util.keystr(path), describe(leaf)) for path, leaf in jax.tree.leaves_with_path(tree)]
        for tree in (like, shapes)
    )
    pairs = zip_longest(was, now, fillvalue=("the end", "nothing"))
    (place, old), (path, new) = next((pair for pair in pairs if pair[0] != pair[1]), (was[0], now[0]))
    return f"the tasks are {new} at {path}, and those before were {old} at {place}"


def bytes_of(tasks: PyTree) -> int:
    """The room that arrays take."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tasks))
