"""The two networks from places to colours, and what is measured on an image."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jax_meta
from jax_meta.tasks import coordinates

SIDE, CHANNELS, HIDDEN, FEATURES = 32, 3, (64, 64, 64), 64
MIDDLE = 0.5  # is added to what the network gives, so that its zero is grey


class Field(NamedTuple):
    """A network, and the name of its last layer's parameters, if they are at the top."""

    model: nn.Module
    head: str = ""

    def apply(self, params: Any, places: jax.Array) -> jax.Array:
        colours: Any = self.model.apply(params, places)
        return colours + MIDDLE

    def init(self, key: jax.Array) -> Any:
        return self.model.init(key, coordinates(SIDE, SIDE))

    @property
    def loss_fn(self) -> jax_meta.LossFn:
        return jax_meta.regression(self.apply)


def siren(frequency: float) -> Field:
    return Field(jax_meta.models.SIREN(HIDDEN, CHANNELS, frequency), f"Dense_{len(HIDDEN)}")


def fourier(scale: float) -> Field:
    layers = jax_meta.layers.FourierFeatures(FEATURES, scale), jax_meta.models.MLP(HIDDEN, CHANNELS)
    return Field(nn.Sequential(layers))


NETWORKS: dict[str, tuple[Callable[[float], Field], tuple[float, ...]]] = {
    "siren": (siren, (30.0,)),
    "fourier": (fourier, (1.0, 2.0, 4.0)),
}
"""By name: what makes a network of a frequency, and the frequencies that are tried; SIREN's is its paper's."""


class Start(NamedTuple):
    """Parameters before an image is seen, and a step size for each of them relative to the rate of plain SGD."""

    params: Any
    sizes: Any


def plain(params: Any) -> Start:
    return Start(params, jax.tree.map(jnp.ones_like, params))


def sgd(start: Start, rate: Any) -> optax.GradientTransformation:
    """SGD with the start's own step sizes."""
    return optax.stateless(lambda updates, _: jax.tree.map(lambda u, size: -rate * size * u, updates, start.sizes))


def adam(start: Start, rate: Any) -> optax.GradientTransformation:
    del start
    return optax.adam(rate)


OPTIMIZERS = {"sgd": sgd, "adam": adam}


def decibels(error: jax.Array) -> jax.Array:
    """The peak signal-to-noise ratio of colours from 0 to 1, from their mean squared error."""
    return -10 * jnp.log10(error)


def fit(field: Field, optimizer: str, start: Start, rate: Any, batch: Any, unseen: Any, *, steps: int) -> jax.Array:
    """Decibels `[steps + 1]` on the unseen pixels, before and after each step; on those given if it is None."""
    transformation, loss_fn = OPTIMIZERS[optimizer](start, rate), field.loss_fn

    def loss(params: Any, batch: Any) -> jax.Array:
        return loss_fn(params, batch, jax.random.key(0))[0]

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, state = transformation.update(gradient, state, params)
        measured = value if unseen is None else loss(params, unseen)
        return (optax.apply_updates(params, updates), state), measured

    (params, _), errors = jax.lax.scan(step, (start.params, transformation.init(start.params)), length=steps)
    last = loss(params, batch if unseen is None else unseen)
    return decibels(jnp.append(errors, last))


def fit_all(field: Field, optimizer: str, start: Start, rate: Any, tasks: Any, *, steps: int) -> jax.Array:
    """The same for many images, one by one: `[images, steps + 1]`; support and query are `tasks`, or support alone."""
    return jax.lax.map(lambda task: fit(field, optimizer, start, rate, *task, steps=steps), tasks)


def reconstruct(field: Field, start: Start, rate: Any, batch: Any, *, steps: int) -> jax.Array:
    """The image `[side, side, channels]` after so many steps of SGD."""
    transformation = sgd(start, rate)
    adapted = jax_meta.adapt(field.loss_fn, transformation, start.params, batch, jax.random.key(0), num_steps=steps)
    return field.apply(adapted, coordinates(SIDE, SIDE)).reshape(SIDE, SIDE, CHANNELS)
