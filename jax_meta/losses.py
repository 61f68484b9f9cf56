"""Losses made from any `apply(params, inputs)`: Flax Linen, flax.nnx, Equinox or a plain function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_meta.base import LossFn
from jax_meta.checks import check_reads_examples, check_same_shape
from jax_meta.label_checks import check_labels

Apply = Callable[..., Any]
"""`(params, inputs) -> outputs`."""


def regression(apply: Apply) -> LossFn:
    """Mean squared error over all examples and outputs.

    Args:
        apply: `(params, inputs) -> predictions`, such as `flax.linen.Module.apply`.

    Returns:
        A `LossFn` on batches `(inputs, targets)`, with predictions and targets of one shape `[examples, ...]`. Metrics:
        `loss`. It raises ValueError, while tracing, where predictions would broadcast against their targets.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> loss, metrics = loss_fn(2.0, (jnp.ones((5, 1)), 5 * jnp.ones((5, 1))), jax.random.key(0))
        >>> assert loss == metrics["loss"] == (5 - 2) ** 2
    """

    def loss_fn(params, batch, key):
        del key
        inputs, targets = batch
        check_reads_examples(apply, params, inputs)
        predictions = apply(params, inputs)
        check_same_shape(predictions, targets)
        loss = jnp.mean((predictions - targets) ** 2)
        return loss, {"loss": loss}

    return loss_fn


def classification(apply: Apply, *, ignore_label: int | None = None) -> LossFn:
    """Mean cross-entropy in nats over all examples, or over those that are not ignored.

    Where no label counts, the loss and its gradient are zero, and the accuracy is NaN, since nothing was judged.

    Args:
        apply: `(params, inputs) -> logits`, `[examples, ways]`.
        ignore_label: a label, such as -1, of examples that do not count: values and gradients are those of the batch
            without them, for any model that answers each example by itself. Default: all examples count.

    Returns:
        A `LossFn` on batches `(inputs, labels)` with integer labels `[examples]` from 0 to ways - 1. Metrics: `loss`
        and `accuracy`, from 0 to 1. It raises ValueError for labels of another shape or kind, while JAX traces, and for
        labels out of range where it has their values; in a compiled program these make the loss, its gradient and the
        accuracy NaN.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> loss_fn = jax_meta.classification(lambda params, logits: logits, ignore_label=-1)
        >>> logits, labels = jnp.array([[0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]), jnp.array([1, 1, -1])
        >>> loss, metrics = loss_fn((), (logits, labels), jax.random.key(0))
        >>> assert metrics["accuracy"] == 1 / 2
    """

    def loss_fn(params, batch, key):
        del key
        inputs, labels = batch
        logits = apply(params, inputs)
        check_labels(logits, labels, ignore_label)
        labels, counted = jnp.asarray(labels).astype(int), None
        if ignore_label is not None:
            counted = labels != ignore_label
            logits, labels = jnp.where(counted[..., None], logits, 0), jnp.where(counted, labels, 0)
        losses, hits = judge(logits, labels)
        loss, accuracy = mean_of_counted(losses, counted, 0), mean_of_counted(hits, counted, jnp.nan)
        return loss, {"loss": loss, "accuracy": accuracy}

    return loss_fn


def judge(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of each example, and 1 where its label is the likeliest or 0; NaN for a label out of range."""
    in_range = (labels >= 0) & (labels < logits.shape[-1])
    factor = jnp.where(in_range, 1, jnp.nan)  # of the gradient, too, so that no step on such a label looks like one
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    hits = (logits.argmax(axis=-1) == labels).astype(float)
    return factor * losses, jnp.where(in_range, hits, jnp.nan)  # XLA makes a choice of a product with a bool


def mean_of_counted(values: jax.Array, counted: jax.Array | None, empty: float) -> jax.Array:
    """The mean of the values that count, by default of all; `empty` where none does."""
    if counted is None:
        return values.mean()
    return jnp.mean(jnp.where(counted, values, empty), where=counted | ~counted.any())
