"""Labels out of range fail before anything runs, wherever their values are at hand, though what runs is compiled."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Batch, MetaLearner, Params, Task
from jax_meta.checks import describe

Before = Callable[[Any, frozenset[int] | None], None]
"""`(shapes, outputs) -> None`: is shown, before a program runs, the shapes of what it will return, and the numbers of
outputs that labels are compared with; None where they are not known."""


class LabelError(ValueError):
    """Labels that a model has no output for."""


def check_labels(logits: jax.Array, labels: jax.Array, ignore_label: int | None = None) -> None:
    """Raises ValueError unless logits are `[examples, ways]` and labels integers `[examples]`, in range if at hand."""
    if logits.shape[:-1] != labels.shape or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"classification needs logits [examples, ways] and integer labels [examples], got {describe(logits)} and "
            f"{describe(labels)}: squeeze the labels, or turn one-hot labels into integers with argmax."
        )
    check_label_range(labels, logits.shape[-1], ignore_label)


def check_label_range(labels: jax.Array, ways: int, ignore_label: int | None = None) -> None:
    """Raises LabelError for labels at hand that are not from 0 to `ways - 1`; notes `ways` where JAX traces them."""
    if not is_at_hand(labels):
        noted = NOTED.get()
        if noted is not None:
            noted.add(ways)
    elif found := out_of_range(labels, ways, ignore_label):
        raise LabelError(
            f"a model of {ways} outputs needs labels from 0 to {ways - 1}, got labels from {found[0]} to {found[1]}: "
            "number the classes of a task from 0, or give the model an output for each. Labels of examples that should "
            "not count are named by jax_meta.classification(apply, ignore_label=-1)."
        )


NOTED: ContextVar[set[int] | None] = ContextVar("noted", default=None)
"""The numbers of outputs that traced labels were met with."""


@contextmanager
def noting_outputs() -> Iterator[set[int]]:
    """Notes, while JAX traces, how many outputs there are where labels are compared with them."""
    token = NOTED.set(set())
    try:
        yield cast(set[int], NOTED.get())
    finally:
        NOTED.reset(token)


def out_of_range(labels: Any, ways: int, ignore_label: int | None = None) -> tuple[int, int] | None:
    """The lowest and the highest of labels that are not all from 0 to `ways - 1`; None where they are."""
    values = np.asarray(labels)
    values = values if ignore_label is None else values[values != ignore_label]
    if not values.size or (values.min() >= 0 and values.max() < ways):
        return None
    return values.min(), values.max()


def is_at_hand(leaf: Any) -> bool:
    """Whether the values of an array can be looked at: JAX does not trace it, and this process holds all of it."""
    return not isinstance(leaf, jax.core.Tracer) and getattr(leaf, "is_fully_addressable", True)


def check_every_class(labels: Any, ways: int) -> None:
    """Raises ValueError where a class has no example; does nothing where JAX traces the labels."""
    missing = sorted({*range(ways)} - {*np.asarray(labels).tolist()}) if is_at_hand(labels) else []
    if missing:
        raise ValueError(
            f"the support set has no example of class {missing[0]}, whose prototype is then no number: give each of "
            f"the {ways} ways one or more, or make the learner and its network for fewer ways."
        )


def has_labels(batch: Batch) -> bool:
    """Whether a batch is a pair of inputs and of integer labels that are at hand."""
    if not isinstance(batch, tuple) or len(batch) != 2 or not hasattr(batch[1], "dtype") or not is_at_hand(batch[1]):
        return False
    return jnp.issubdtype(batch[1].dtype, jnp.integer) and np.size(batch[1]) > 0


def may_be_out_of_range(outputs: frozenset[int] | None, *batches: Batch) -> bool:
    """Whether labels at hand are others than the most of these numbers of outputs have; if None are known, whatever.

    They may be right nevertheless, where a loss ignores some or numbers them anew: then a check of its own tells.
    """
    if outputs is None:
        return any(map(has_labels, batches))
    known = [batch[1] for batch in batches if outputs and has_labels(batch)]
    return any(out_of_range(labels, max(outputs)) is not None for labels in known)


class Labels(NamedTuple):
    """The labels of one batch, as a constant of a program: the values in turn, in an array of this shape and dtype."""

    values: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str

    def array(self) -> np.ndarray:
        """The labels."""
        return np.resize(np.array(self.values, self.dtype), self.shape)


def labels_at_hand(batch: Batch, lead: int = 0) -> list[Labels]:
    """Labels for one batch, of which some are out of range if any of those at hand are; none if none are.

    They have the two lowest and the two highest values: a loss may ignore one, and then all are between the others.
    Several where a batch has fewer examples than that.

    Args:
        batch: a pair of inputs and integer labels; of any other there are none.
        lead: how many leading axes count batches.
    """
    if not has_labels(batch):
        return []
    labels = np.asarray(batch[1])
    values = np.unique(labels)
    extremes = list(dict.fromkeys(int(values[place % len(values)]) for place in (0, -1, 1, -2)))
    shape = labels.shape[lead:]
    size = math.prod(shape)
    chunks = [tuple(extremes[start : start + size]) for start in range(0, len(extremes), size)]
    return [Labels(chunk, shape, str(labels.dtype)) for chunk in chunks]


def tasks_at_hand(tasks: Task, lead: int) -> Iterator[tuple[Task, tuple[Labels | None, Labels | None]]]:
    """The shapes of one task with labels for its two sets, as of `labels_at_hand`; nothing where there are none."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[lead:], leaf.dtype), Task(*tasks))
    support, query = (labels_at_hand(batch, lead) for batch in tasks)
    for known in zip_longest(support, query, fillvalue=None):
        yield one, known


def labelled(batch: Batch, labels: Labels | None) -> Batch:
    """The batch with these labels."""
    return batch if labels is None else (batch[0], labels.array())


@partial(jax.jit, static_argnames=("learner", "labels"))
def adapted(learner: MetaLearner, meta_params: Params, batch: Batch, key: jax.Array, *, labels: Labels) -> Params:
    """What the learner makes of a batch with these labels, in one step."""
    return learner.adapt(meta_params, labelled(batch, labels), key, num_steps=1)


@partial(jax.jit, static_argnames=("learner", "known"))
def gradient_of(learner: MetaLearner, meta_params: Params, task: Task, key: jax.Array, *, known: tuple) -> Any:
    """The learner's gradient on a task with these labels."""
    return learner.gradient(meta_params, Task(*map(labelled, task, known)), key)


def check_labels_of_tasks(
    learner: MetaLearner, meta_params: Params, tasks: Task, key: jax.Array, *, lead: int = 1
) -> None:
    """Raises LabelError for labels at hand that the learner has no output for; nothing is computed.

    One inner step is traced on the labels of each set, once for each learner, shapes and values. Where it minds them,
    the gradient is traced, too, and decides: it may make nothing of one set, or have another loss for it.

    Args:
        learner: the algorithm.
        meta_params: what it learns.
        tasks: leaves `[..., examples, ...]`.
        key: randomness.
        lead: how many axes of `tasks` come before that of the examples.
    """
    for task, known in tasks_at_hand(tasks, lead):
        for batch, labels in zip(task, known, strict=True):
            if labels is None:
                continue
            try:
                with only_labels():
                    adapted.eval_shape(learner, meta_params, batch, key, labels=labels)
            except LabelError:
                with only_labels():
                    gradient_of.eval_shape(learner, meta_params, task, key, known=known)


def labels_before(check: Callable[[], None], *batches: Batch) -> Before | None:
    """`check` before a program runs, where labels at hand may be out of range; None for batches without any."""
    if not any(map(has_labels, batches)):
        return None

    def before(_, outputs):
        if may_be_out_of_range(outputs, *batches):
            check()

    return before


def labels_of_tasks_before(
    learner: MetaLearner, meta_params: Params, tasks: Task, key: jax.Array, *, lead: int = 1
) -> Before | None:
    """`check_labels_of_tasks` before a program runs, as in `labels_before`."""
    check = partial(check_labels_of_tasks, learner, meta_params, tasks, key, lead=lead)
    return labels_before(check, tasks.support, tasks.query)


def check_labels_of_curve(learning_curve: Callable[[Task, jax.Array], Any], tasks: Task, key: jax.Array) -> None:
    """Raises LabelError for labels at hand that `learning_curve(task, key)` minds; nothing is computed."""
    for task, known in tasks_at_hand(tasks, lead=1):

        def labelled_curve(task, key, known=known):
            return learning_curve(Task(*map(labelled, task, known)), key)

        with only_labels():
            jax.eval_shape(labelled_curve, task, key)


@contextmanager
def only_labels() -> Iterator[None]:
    """Lets LabelError through and nothing else: whatever else is wrong is raised where it runs."""
    try:
        yield
    except LabelError:
        raise
    except Exception:
        pass
