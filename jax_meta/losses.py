"""Losses made from any `apply(params, inputs)`: Flax Linen, flax.nnx, Equinox or a plain function."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from jax_meta.base import LossFn
from jax_meta.checks import check_labels, check_reads_examples, check_same_shape

Apply = Callable[..., Any]
"""`(params, inputs) -> outputs`."""


def regression(apply: Apply) -> LossFn:
    """Mean squared error over all examples and outputs.

    Args:
        apply: `(params, inputs) -> predictions`, such as `flax.linen.Module.apply`.

    Returns:
        A `LossFn` on batches `(inputs, targets)`, with predictions and targets of one shape `[examples, ...]`. Metrics:
        `loss`. It raises ValueError, while tracing, where predictions would broadcast against their targets.
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


def classification(apply: Apply) -> LossFn:
    """Mean cross-entropy in nats over all examples.

    Args:
        apply: `(params, inputs) -> logits`, `[examples, ways]`.

    Returns:
        A `LossFn` on batches `(inputs, labels)` with integer labels `[examples]`. Metrics: `loss` and `accuracy`, from
        0 to 1. It raises ValueError, while tracing, for labels of another shape or kind.
    """

    def loss_fn(params, batch, key):
        del key
        inputs, labels = batch
        logits = apply(params, inputs)
        check_labels(logits, labels)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(axis=-1) == labels).mean()
        return loss, {"loss": loss, "accuracy": accuracy}

    return loss_fn
