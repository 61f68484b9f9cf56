"""The network, its loss, and what is done to images."""

from typing import Any

import jax
import jax.numpy as jnp

import jax_meta
from jax_meta import tasks
from jax_meta.networks.models import ResNet

WAYS = 5
HEAD = "Dense_0"
MEAN, DEVIATION = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)  # of CIFAR-100's training images
augment = tasks.in_turn(tasks.flip, tasks.shift)
prepare = tasks.standardised(MEAN, DEVIATION)


def logits(outputs: int, params: Any, images: jax.Array) -> Any:
    """Of uint8 images."""
    return ResNet(outputs).apply(params, prepare(images))


def loss_of(outputs: int) -> jax_meta.LossFn:
    return jax_meta.classification(lambda params, images: logits(outputs, params, images))


@jax.jit
def new_start(key: jax.Array) -> Any:
    return ResNet(WAYS, zero_head=True).init(key, jnp.zeros((1, 32, 32, 3)))


def with_head(body: Any, outputs: int = WAYS, key: jax.Array | None = None) -> Any:
    """A body with a head: of zeros, or for more than five classes with Flax's ordinary random one."""
    kernel = jnp.zeros((ResNet(None).widths[-1], outputs))
    if outputs != WAYS and key is not None:
        kernel = jax.nn.initializers.lecun_normal()(key, kernel.shape)
    return {"params": {**body, HEAD: {"kernel": kernel, "bias": jnp.zeros(outputs)}}}
