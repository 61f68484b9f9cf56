"""The network of the papers, and its loss: four convolutions with running averages of what they are normalised by.

They are part of the parameters, as all state here is. Half the squared distance to the statistics of the batch, added
to the loss with value 0, makes the step of SGD with rate 0.1 the update of the average, whatever else is learned.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jax_meta
from jax_meta.networks.layers import Convolution, Dense, batch_statistics, max_pool
from jax_meta.networks.models import uniform_fan_in

AVERAGING = 0.1  # how far a running average goes to the statistics of a batch, PyTorch's default
AVERAGES = ("running_mean", "running_variance")


class RunningNorm(nn.Module):
    """Normalises by the batch at hand while it trains, and afterwards by the running averages."""

    train: bool

    @nn.compact
    def __call__(self, images):
        shape = (images.shape[-1],)
        mean = self.param(AVERAGES[0], nn.initializers.zeros, shape)
        variance = self.param(AVERAGES[1], nn.initializers.ones, shape)
        scale, bias = self.param("scale", nn.initializers.ones, shape), self.param("bias", nn.initializers.zeros, shape)
        if self.train:
            batch_mean, batch_variance = batch_statistics(images)
            count = images.size // images.shape[-1]
            self.sow("distance", "mean", distance(mean, batch_mean))
            self.sow("distance", "variance", distance(variance, batch_variance * count / (count - 1)))
            mean, variance = batch_mean, batch_variance
        factor = scale * jax.lax.rsqrt(variance + 1e-5)
        lead = (1,) * (images.ndim - 1)
        return (images - mean.reshape(*lead, -1)) * factor.reshape(*lead, -1) + bias.reshape(*lead, -1)


def distance(average, statistics):
    return jnp.sum((average - jax.lax.stop_gradient(statistics)) ** 2) / 2


class Network(nn.Module):
    """Convolution, pooling, normalisation and ReLU, four times, and a linear layer; PyTorch's initialization."""

    outputs: int
    train: bool = False
    filters: int = 64

    @nn.compact
    def __call__(self, images):
        for _ in range(4):
            images = block_convolution(images, self.filters)
            images = nn.relu(RunningNorm(self.train)(max_pool(images)))
        features = images.reshape(len(images), -1)
        initializer = uniform_fan_in(features.shape[-1])
        return Dense(self.outputs, kernel_init=initializer, bias_init=initializer)(features)


def block_convolution(images, filters):
    """Without a bias, which the normalisation would take away again."""
    return Convolution(filters, use_bias=False, kernel_init=uniform_fan_in(9 * images.shape[-1]))(images)


def floats(images):
    """Paper is 1 and ink 0, as the papers' code has it."""
    return jax.lax.stop_gradient(images.astype(jnp.float32) / 255)


def loss_of(outputs: int, heads: int = 1) -> jax_meta.LossFn:
    """Cross-entropy; of several heads with as many outputs each, that one's whose labels they are."""
    network = Network(outputs * heads, train=True)

    def loss_fn(params, batch, key):
        images, labels = batch

        def logits(params, images):
            found, sown = network.apply(params, floats(images), mutable=["distance"])
            away.append(optax.tree.sum(sown))
            if heads == 1:
                return found
            head = (labels // outputs)[:, None, None]
            return jnp.take_along_axis(found.reshape(len(found), heads, outputs), head, axis=1)[:, 0]

        away: list[Any] = []
        loss, metrics = jax_meta.classification(logits)(params, (images, labels % outputs), key)
        return loss + away[0] - jax.lax.stop_gradient(away[0]), metrics

    return loss_fn


def optimizer_of(rate: float | jax.Array, averaging: Any = None) -> optax.GradientTransformation:
    """SGD for what is learned, and for the running averages what makes them such, or what is given."""
    averaging = optax.sgd(AVERAGING) if averaging is None else averaging
    return optax.partition({"learned": optax.sgd(rate), "averages": averaging}, kinds)


def kinds(params):
    def kind(path, leaf):
        del leaf
        return "averages" if path[-1].key in AVERAGES else "learned"

    return jax.tree.map_with_path(kind, params)
