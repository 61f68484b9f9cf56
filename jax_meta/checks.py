"""Wrong input fails early, with the remedy. Shapes are known while JAX traces, so these cost nothing at run time."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Batch, LossFn, Metrics, Params, PyTree, Task


def check_num_steps(num_steps: int, name: str = "num_steps") -> None:
    """Raises ValueError unless a number of steps, of the given name, is an integer of 0 or more."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer) or num_steps < 0:
        raise ValueError(f"{name} must be an integer of 0 or more, got {num_steps!r}.")


def check_batch_size(batch_size: int | None, batch: Batch) -> None:
    """Raises ValueError unless `batch_size` is None or from 1 to the number of examples."""
    examples = leading_size(batch, "batch", "examples")
    if batch_size is not None and not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size must be from 1 to the {examples} examples of the batch, got {batch_size!r}.")


def check_task_batch_size(task_batch_size: int | None, num_tasks: int) -> None:
    """Raises ValueError unless `task_batch_size` is None or divides `num_tasks`."""
    if task_batch_size is not None and (task_batch_size < 1 or num_tasks % task_batch_size):
        raise ValueError(f"task_batch_size must divide the {num_tasks} tasks of a meta-step, got {task_batch_size!r}.")


def check_tasks(tasks: Task) -> int:
    """Returns the number of tasks in a batch of tasks; raises ValueError if its two sets do not fit together."""
    support, query = tasks
    structures: list[PyTree] = [jax.tree.structure(support), jax.tree.structure(query)]
    if structures[0] != structures[1]:
        raise ValueError(
            f"support and query must have the same tree structure, got {structures[0]} and {structures[1]}: "
            "build both with the same function."
        )
    num_tasks = leading_size(tasks, "tasks", "tasks")
    for axis in ("support", "query"):
        leading_size(jax.tree.map(lambda leaf: leaf[0], getattr(tasks, axis)), axis, "examples")
    for (path, left), right in zip(jax.tree.leaves_with_path(support), jax.tree.leaves(query), strict=True):
        if left.shape[2:] != right.shape[2:] or left.dtype != right.dtype:
            raise ValueError(
                f"support and query must hold examples of the same shape and dtype, got {describe(left)} and "
                f"{describe(right)} at {jax.tree_util.keystr(path) or 'the leaf'}, where axis 0 counts tasks and axis "
                "1 examples."
            )
    return num_tasks


def leading_size(tree: PyTree, name: str, counted: str) -> int:
    """Returns the size of the leading axis that all leaves share; raises ValueError where they do not."""
    leaves = jax.tree.leaves(tree)
    sizes = {jnp.shape(leaf)[:1] for leaf in leaves}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"every leaf of {name} needs the same leading axis, which counts {counted}, got "
            f"{', '.join(map(describe, leaves)) or 'no leaves'}: add the axis with leaf[None], or stack with jnp.stack."
        )
    return sizes.pop()[0]


def check_same_shape(predictions: jax.Array, targets: jax.Array) -> None:
    """Raises ValueError where predictions would broadcast against their targets: (10, 1) - (10,) is (10, 10)."""
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions {predictions.shape} and targets {targets.shape} must have the same shape; otherwise they "
            f"broadcast and every prediction is compared with every target. Reshape the targets to "
            f"{predictions.shape}, or the model's output to {targets.shape}."
        )


def check_labels(logits: jax.Array, labels: jax.Array, ignore_label: int | None = None) -> None:
    """Raises ValueError unless logits are `[examples, ways]` and labels integers `[examples]`, in range if at hand."""
    if logits.shape[:-1] != labels.shape or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"classification needs logits [examples, ways] and integer labels [examples], got {describe(logits)} and "
            f"{describe(labels)}: squeeze the labels, or turn one-hot labels into integers with argmax."
        )
    check_label_range(labels, logits.shape[-1], ignore_label)


def check_label_range(labels: jax.Array, ways: int, ignore_label: int | None = None) -> None:
    """Raises ValueError for labels that are not from 0 to `ways - 1`; does nothing where JAX traces the labels."""
    if not is_at_hand(labels):
        return
    values = np.asarray(labels)
    values = values if ignore_label is None else values[values != ignore_label]
    if values.size and not (values.min() >= 0 and values.max() < ways):
        raise ValueError(
            f"a model of {ways} outputs needs labels from 0 to {ways - 1}, got labels from {values.min()} to "
            f"{values.max()}: number the classes of a task from 0, or give the model an output for each. Labels of "
            "examples that should not count are named by jax_meta.classification(apply, ignore_label=-1)."
        )


def check_labels_at_hand(loss_fn: LossFn, params: Params, batches: Batch, key: jax.Array) -> None:
    """Raises what `loss_fn` raises of labels that are at hand, though what follows is compiled: nothing is computed.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`; its shapes are worked out for all examples as one batch.
        params: what it is called with, as arrays or tracers.
        batches: pairs `(inputs, labels)`, labels `[..., examples]` and inputs `[..., examples, ...]`. Other pytrees,
            targets that are not integers, and labels that JAX traces pass.
        key: as for `loss_fn`.
    """
    if not isinstance(batches, tuple) or len(batches) != 2 or not is_at_hand(batches[1]):
        return
    inputs, labels = batches[0], np.asarray(batches[1])
    if not np.issubdtype(labels.dtype, np.integer):
        return

    def as_one_batch(leaf):
        return jax.ShapeDtypeStruct((labels.size, *leaf.shape[labels.ndim :]), leaf.dtype)

    jax.eval_shape(
        lambda params, inputs, key: loss_fn(params, (inputs, labels.reshape(-1)), key),
        params,
        jax.tree.map(as_one_batch, inputs),
        key,
    )


def is_at_hand(leaf: jax.Array) -> bool:
    """Whether the values of an array can be looked at: JAX does not trace it, and this process holds all of it."""
    return not isinstance(leaf, jax.core.Tracer) and getattr(leaf, "is_fully_addressable", True)


def check_finite(history: Metrics, *, first_step: int | jax.Array = 0) -> None:
    """Raises FloatingPointError if a metric is NaN or infinite; does nothing inside `jit` or `vmap`.

    Args:
        history: metrics by name, each `[..., num_meta_steps]`, as `jax_meta.fit` returns them.
        first_step: the meta-step of the first entry, to name the failing step by.
    """
    for name, values in history.items():
        if isinstance(values, jax.core.Tracer):
            return
        bad = ~np.isfinite(np.asarray(values))
        if bad.any():
            step = int(np.min(np.asarray(first_step))) + int(np.argmax(bad.reshape(-1, bad.shape[-1]).any(axis=0)))
            raise FloatingPointError(
                f"{name} is not finite at meta-step {step}. Lower the inner or the outer learning rate, clip gradients "
                "with optax.clip_by_global_norm, or look in the tasks of that step for NaN and for labels that are not "
                "from 0 to one less than the model's outputs."
            )


def describe(leaf: jax.Array) -> str:
    """The dtype and shape of a leaf, as in float32[10, 1]."""
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError, listing the choices, if `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
