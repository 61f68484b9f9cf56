"""Reptile's geometry on a real problem of two parameters.

The model is y = sin(w x) + b. A task is one point to pass through, so the optimal weights of a task form a curve in the
plane of (w, b). These two tasks have curves that never meet; Reptile, which takes the two in turn, walks to where they
come closest (Nichol, Achiam, Schulman, arXiv:1803.02999, section 5.2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from jax_meta import Task

POINTS = ((1.0, 1.5), (-1.0, -1.3))  # the point (x, y) of each task: its optimal weights are b = y - sin(w x)
START = (-0.9, 1.2)
CLOSEST = (np.pi / 2, 0.1)
"""Halfway between the curves where they are nearest, at w = π/2: b is 0.5 on one, -0.3 on the other."""
INNER_STEPS, META_STEPS = 10, 100


class Walk(NamedTuple):
    iterates: np.ndarray  # the initialization before each meta-step and after the last, `[META_STEPS + 1, 2]`
    adapted: np.ndarray  # where each meta-step's inner loop ended, `[META_STEPS, 2]`


def model(weights: jax.Array, inputs: jax.Array) -> jax.Array:
    frequency, offset = weights
    return jnp.sin(frequency * inputs) + offset


def walk() -> Walk:
    learner = jax_meta.reptile(jax_meta.regression(model), optax.sgd(0.1), num_steps=INNER_STEPS)
    optimizer = optax.sgd(0.2)  # θ ← θ + 0.2 (φ - θ)
    key = jax.random.key(0)

    def step(state, batch):
        adapted = learner.adapt(state.params, batch, key)
        tasks = jax.tree.map(lambda leaf: leaf[None], Task(batch, batch))
        return jax_meta.train_step(learner, optimizer, state, tasks)[0], (state.params, adapted)

    in_turn = jnp.array(POINTS)[jnp.arange(META_STEPS) % len(POINTS)]
    batches = (in_turn[:, :1], in_turn[:, 1:])
    start = jax_meta.init(learner, optimizer, jnp.array(START), key)
    state, (iterates, adapted) = jax.jit(lambda state: jax.lax.scan(step, state, batches))(start)
    return Walk(np.concatenate([iterates, state.params[None]]), np.asarray(adapted))


def optimal_curves(frequencies: np.ndarray) -> np.ndarray:
    """The offset at which each task's loss is 0, for each frequency: `[tasks, frequencies]`."""
    inputs, targets = np.array(POINTS).T[:, :, None]
    return targets - np.sin(frequencies * inputs)
