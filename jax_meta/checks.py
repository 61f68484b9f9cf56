"""Wrong input fails early, with the remedy. Shapes are known while JAX traces, so these cost nothing at run time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Batch, Metrics, Params, PyTree, Task


def check_count(count: int, name: str, *, least: int) -> None:
    """Raises ValueError unless a number of the given name is an integer of `least` or more."""
    if not is_integer(count) or count < least:
        raise ValueError(f"{name} must be an integer of {least} or more, got {count!r}.")


def check_positive(value: Any, name: str) -> None:
    """Raises ValueError unless a number of the given name is above 0; a traced number cannot be checked."""
    if not isinstance(value, jax.core.Tracer) and not value > 0:
        raise ValueError(f"{name} must be above 0, got {value!r}.")


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_num_steps(num_steps: int, name: str = "num_steps") -> None:
    """Raises ValueError unless a number of steps, of the given name, is an integer of 0 or more."""
    check_count(num_steps, name, least=0)


def check_first_order(first_order: bool, num_steps: int) -> None:
    """Raises ValueError for a first-order approximation of no inner steps: there is no derivative to leave out."""
    if first_order and num_steps == 0:
        raise ValueError(
            "first_order has no meaning without inner steps: leave it out, or take num_steps of 1 or more."
        )


def check_weights(weights: Any, num_steps: int) -> None:
    """Raises ValueError unless weights are None or one for each of 1 inner step or more."""
    if weights is not None and (num_steps == 0 or np.shape(weights) != (num_steps,)):
        raise ValueError(
            f"weights must be one for the query loss after each of the {num_steps} inner steps, [num_steps], got shape "
            f"{np.shape(weights)}: give that many, and take at least one step."
        )


def check_batch_size(batch_size: int | None, examples: int) -> None:
    """Raises ValueError unless `batch_size` is None or from 1 to the number of examples."""
    if batch_size is not None and not (is_integer(batch_size) and 1 <= batch_size <= examples):
        raise ValueError(f"batch_size must be from 1 to the {examples} examples of the batch, got {batch_size!r}.")


def check_task_batch_size(task_batch_size: int | None, num_tasks: int) -> None:
    """Raises ValueError unless `task_batch_size` is None or divides `num_tasks`."""
    if task_batch_size is None:
        return
    if not is_integer(task_batch_size) or task_batch_size < 1 or num_tasks % task_batch_size:
        raise ValueError(f"task_batch_size must divide the {num_tasks} tasks of a meta-step, got {task_batch_size!r}.")


def check_batch(batch: Batch) -> int:
    """Returns the number of examples of one batch; raises ValueError unless all leaves have that many, at least one.

    Every batch that is adapted to passes here, and every batch of tasks passes `check_tasks`.
    """
    return leading_sizes(batch, "batch", "examples")[0]


def check_tasks(tasks: Task, *axes: str) -> int:
    """Returns the number of tasks in a batch of tasks; raises an error if its two sets do not fit together.

    Args:
        tasks: the tasks.
        axes: the names of what the leading axes count. Default: "num_tasks" and "examples".
    """
    axes = axes or ("num_tasks", "examples")
    if not (hasattr(tasks, "support") and hasattr(tasks, "query")):
        raise TypeError(f"tasks must be a jax_meta.Task, got {type(tasks).__name__}: jax_meta.Task(support, query).")
    support, query = tasks.support, tasks.query
    structures: list[PyTree] = [jax.tree.structure(support), jax.tree.structure(query)]
    if structures[0] != structures[1]:
        raise ValueError(
            f"support and query must have the same tree structure, got {structures[0]} and {structures[1]}: "
            "build both with the same function."
        )
    leading_sizes((support, query), "tasks", *axes[:-1])
    sizes = leading_sizes(support, "support", *axes)
    leading_sizes(query, "query", *axes)
    for (path, left), right in zip(jax.tree.leaves_with_path(support), jax.tree.leaves(query), strict=True):
        if left.shape[len(axes) :] != right.shape[len(axes) :] or left.dtype != right.dtype:
            raise ValueError(
                f"support and query must hold examples of the same shape and dtype, got {describe(left)} and "
                f"{describe(right)} at {jax.tree_util.keystr(path) or 'the leaf'}, where the leading axes are "
                f"[{', '.join(axes)}]."
            )
    return sizes[-2]


def leading_sizes(tree: PyTree, name: str, *axes: str) -> tuple[int, ...]:
    """Returns the sizes of the leading axes that all leaves share, none of them 0; raises ValueError otherwise."""
    leaves = jax.tree.leaves(tree)
    sizes = {jnp.shape(leaf)[: len(axes)] for leaf in leaves}
    if len(sizes) != 1 or len(min(sizes)) < len(axes):
        counted = " and ".join(f"axis {i}, which counts {noun(axis)}" for i, axis in enumerate(axes))
        raise ValueError(
            f"every leaf of {name} needs the same leading {counted}, as [{', '.join(axes)}, ...], got "
            f"{', '.join(map(describe, leaves)) or 'no leaves'}: add the axis with leaf[None], or stack with jnp.stack."
        )
    shared = sizes.pop()
    for axis, size in zip(axes, shared, strict=True):
        if size == 0:
            raise ValueError(f"{name} has no {noun(axis)}, and an empty mean is no number: give at least one.")
    return shared


def noun(axis: str) -> str:
    """What an axis counts, from its name: tasks from num_tasks."""
    return axis.removeprefix("num_").replace("_", "-")


def check_same_shape(predictions: jax.Array, targets: jax.Array) -> None:
    """Raises ValueError where predictions would broadcast against their targets: (10, 1) - (10,) is (10, 10)."""
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions {predictions.shape} and targets {targets.shape} must have the same shape; otherwise they "
            f"broadcast and every prediction is compared with every target. Reshape the targets to "
            f"{predictions.shape}, or the model's output to {targets.shape}."
        )


def check_reads_examples(apply: Callable[..., Any], params: Params, inputs: Any) -> None:
    """Raises ValueError where a model reads inputs `[examples]` as the features of one example, as dense layers do."""
    if getattr(inputs, "ndim", None) != 1:
        return
    more = jax.ShapeDtypeStruct((len(inputs) + 1,), inputs.dtype)
    try:
        counts_examples = jax.eval_shape(apply, params, more).shape[:1] == more.shape
    except Exception:  # whatever a library raises for a feature too many
        counts_examples = False
    if not counts_examples:
        raise ValueError(
            f"the model reads inputs {describe(inputs)} as one example of {len(inputs)} features: give examples a last "
            "axis of features with leaf[..., None], or add an axis that is missing before them with leaf[None]."
        )


IN_TASKS = "NaN, and for labels that are not from 0 to one less than the model's outputs"
"""What makes a loss of theirs NaN."""


def check_finite(history: Metrics, *, first_step: int | jax.Array = 0) -> None:
    """Raises FloatingPointError if a metric is NaN or infinite; does nothing inside `jit` or `vmap`.

    Args:
        history: metrics by name, each `[..., num_meta_steps]`, as `jax_meta.fit` returns them.
        first_step: the meta-step of the first entry, to name the failing step by.

    Raises:
        FloatingPointError: naming the first metric and meta-step that is not finite.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> history = {"loss": jnp.array([2.0, 1.0])}
        >>> assert jax_meta.check_finite(history) is None
    """
    for name, values in history.items():
        if isinstance(values, jax.core.Tracer):
            return
        bad = ~np.isfinite(np.asarray(values))
        if bad.any():
            step = int(np.min(np.asarray(first_step))) + int(np.argmax(bad.reshape(-1, bad.shape[-1]).any(axis=0)))
            raise FloatingPointError(
                f"{name} is not finite at meta-step {step}. Lower the inner or the outer learning rate, clip gradients "
                f"with optax.clip_by_global_norm, or look in the tasks of that step for {IN_TASKS}."
            )


def describe(leaf: Any) -> str:
    """The dtype and shape of a leaf, as in float32[10, 1]."""
    return f"{jnp.result_type(leaf)}[{', '.join(map(str, jnp.shape(leaf)))}]"


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError, listing the choices, if `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
