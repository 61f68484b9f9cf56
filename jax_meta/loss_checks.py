"""What a loss takes and returns, checked while JAX traces it: a scalar to minimise, and scalars by name."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.arguments import check_optimizer, check_params, named, same_shapes
from jax_meta.base import Batch, LossFn, Metrics, Params
from jax_meta.checks import check_num_steps, describe
from jax_meta.label_checks import Labels, labelled, labels_at_hand


@dataclass(frozen=True, eq=False)
class CheckedLoss:
    """A loss that says what is wrong where it is given other than parameters, fails, or returns other than a loss.

    Attributes:
        loss_fn: the loss itself.
    """

    loss_fn: LossFn

    def __call__(self, params: Params, batch: Batch, key: jax.Array, /) -> tuple[jax.Array, Metrics]:
        check_params(params)
        try:
            returned = self.loss_fn(params, batch, key)
        except Exception as error:
            add_axes(error, batch)
            raise
        return check_returned(returned)

    @cached_property
    def with_labels(self) -> Any:
        """The loss on labels that are known while JAX traces: compiled, so that its shapes are worked out once."""

        def on_labels(params: Params, batch: Batch, key: jax.Array, *, labels: Labels) -> tuple[jax.Array, Metrics]:
            return self(params, labelled(batch, labels), key)

        return jax.jit(on_labels, static_argnames="labels")


def check_labels_at_hand(loss_fn: CheckedLoss, params: Params, batch: Batch, key: jax.Array) -> None:
    """Raises what a loss raises of labels that are at hand, though what follows is compiled: nothing is computed.

    Args:
        loss_fn: the loss, of which shapes alone are worked out, once for each of them and for the values of labels.
        params: what it is called with, as arrays or tracers.
        batch: a pair of inputs and labels. Other pytrees, targets that are not integers, and labels that JAX traces
            pass.
        key: as for the loss.
    """
    for labels in labels_at_hand(batch):
        loss_fn.with_labels.eval_shape(params, batch, key, labels=labels)


def checked_loss(loss_fn: Any) -> CheckedLoss:
    """The loss with its checks; raises TypeError unless it can be called as one."""
    if isinstance(loss_fn, CheckedLoss):
        return loss_fn
    takes = "" if not callable(loss_fn) else " that takes other arguments"
    try:
        inspect.signature(loss_fn).bind("params", "batch", "key")
    except TypeError as error:
        raise TypeError(
            f"loss_fn must be a function (params, batch, key) -> (loss, metrics), got {named(loss_fn)}{takes}: where "
            "nothing is random let it take the key and ignore it; jax_meta.regression(model.apply) and "
            "jax_meta.classification(model.apply) make one from a model."
        ) from error
    except ValueError:  # a function that does not tell what it takes
        pass
    return CheckedLoss(loss_fn)


def check_inner(loss_fn: Any, optimizer: Any, num_steps: int) -> CheckedLoss:
    """The loss with its checks; raises an error for an inner loop that cannot be built of these three."""
    check_optimizer(optimizer)
    check_num_steps(num_steps)
    return checked_loss(loss_fn)


def add_axes(error: Exception, batch: Batch) -> None:
    """Adds to an error how the arrays of a batch were read, since an axis too few shows only within the loss."""
    note = (
        f"The loss was given a batch of one task, {', '.join(map(describe, jax.tree.leaves(batch)))}, where axis 0 "
        "counts examples. jax_meta.adapt takes leaves [examples, ...], a batch of tasks [num_tasks, examples, ...], "
        "jax_meta.fit_tasks [num_meta_steps, num_tasks, examples, ...]: add an axis that is missing with leaf[None]."
    )
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def check_returned(returned: Any) -> tuple[jax.Array, Metrics]:
    """What a loss returned, in arrays; raises an error unless it is a scalar loss and scalars by name."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        what = describe(returned) if hasattr(returned, "dtype") else named(returned)
        raise TypeError(f"a loss returns the pair (loss, metrics), got {what}: return loss, {{'loss': loss}}.")
    loss, metrics = returned
    loss = scalar("the loss", loss)
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise TypeError(f"the loss must be a real float, got {describe(loss)}: an integer has no gradient.")
    return loss, check_metrics(metrics)


def check_metrics(metrics: Any, remedy: str = "return loss, {'loss': loss}") -> Metrics:
    """Metrics as arrays; raises an error unless they are scalars by name."""
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be a dict of scalars by name, got {named(metrics)}: {remedy}.")
    for name in metrics:
        if not isinstance(name, str):
            raise TypeError(f"metrics must be a dict of scalars by name, got the name {name!r}: make it a string.")
    return {name: scalar(f"the metric {name!r}", value) for name, value in metrics.items()}


def scalar(what: str, value: Any) -> jax.Array:
    """A number as an array; raises an error for anything else."""
    if isinstance(value, Mapping | tuple | list):
        raise TypeError(f"{what} is a {type(value).__name__}: give each number in it a name of its own.")
    is_number = isinstance(value, bool | int | float | np.generic | np.ndarray | jax.Array)
    if not is_number or jnp.issubdtype(jnp.result_type(value), jax.dtypes.prng_key):
        raise TypeError(f"{what} is {named(value)}, and no number: leave it out.")
    if jnp.shape(value):
        raise ValueError(f"{what} is {describe(value)}, and must be a scalar: take its mean with jnp.mean.")
    return jnp.asarray(value)


def check_gradient(returned: Any, meta_params: Params) -> tuple[Params, Metrics]:
    """What a learner's `gradient` returned; raises an error unless it fits the meta-parameters."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"a learner's gradient must return (gradient, metrics), got {named(returned)}.")
    gradient, metrics = returned
    if not same_shapes(gradient, meta_params):
        raise ValueError(
            "a learner's gradient must have the structure and shapes of the meta-parameters, "
            f"{jax.tree.map(describe, meta_params)}, got {jax.tree.map(describe, gradient)}: return it as the "
            "learner's init makes them, and give the learner its own state."
        )
    return gradient, check_metrics(metrics)
