"""Batches of tasks as a source gives them: checked, and as arrays that nobody else writes to."""

from itertools import zip_longest
from typing import Any

import jax
import numpy as np

from jax_meta.base import PyTree, Task
from jax_meta.checks import check_tasks, describe

Shapes = list[tuple[str, str]]
"""The path and the shape of each leaf, as text."""


def copied(tasks: PyTree) -> PyTree:
    """Arrays or tensors as NumPy arrays of their own: a source may fill the same buffers again."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).copy(), tasks)


def checked(tasks: Any, num_tasks: int) -> Task:
    """A batch of tasks as NumPy arrays of their own; raises an error if it is none."""
    if not isinstance(tasks, Task):
        raise TypeError(
            "a source of tasks must give jax_meta.Task(support, query), each a batch such as (inputs, targets), got a "
            f"{type(tasks).__name__}."
        )
    tasks = copied(tasks)
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
    return tasks


def shapes_of(tasks: Task) -> Shapes:
    """The path and the shape of each leaf."""
    return [(jax.tree_util.keystr(path), describe(leaf)) for path, leaf in jax.tree.leaves_with_path(tasks)]


def check_shapes(shapes: Shapes, first: Shapes) -> None:
    """Raises ValueError if a batch has other shapes or dtypes than the first."""
    if shapes != first:
        was, now = next(
            pair for pair in zip_longest(first, shapes, fillvalue=("nowhere", "missing")) if len({*pair}) > 1
        )
        raise ValueError(
            f"the tasks are {now[1]} at {now[0]}, and those before were {was[1]} at {was[0]}: all batches must have "
            "the same shapes and dtypes. Pad or drop what differs, such as the last batch of a DataLoader with "
            "drop_last=True."
        )


def bytes_of(tasks: PyTree) -> int:
    """The room that arrays take."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tasks))
