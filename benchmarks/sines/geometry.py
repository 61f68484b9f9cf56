"""Reptile's geometry on a real problem of two parameters.

The model is one sine, y = a sin(x + b), its parameters a and b. A task is one point to pass through, so the optimal
weights of a task form a curve in the plane of (b, a). Two tasks that want different values at the same x have curves
that never meet; Reptile, which takes the two in turn, walks to where they come closest (Nichol, Achiam, Schulman,
arXiv:1803.02999, section 5.2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from jax_meta import Task
from jax_meta.tasks.sinusoid import Sinusoid, at

POINT_INPUT = 0.5
POINT_TARGETS = (1.0, 2.0)
START = Sinusoid(amplitude=jnp.array(3.2), phase=jnp.array(2.3))
INNER_STEPS, META_STEPS = 5, 200


class Geometry(NamedTuple):
    """Points in the plane of (phase, amplitude).

    Attributes:
        curves: the optimal weights of each task, `[tasks, points, 2]`.
        iterates: the initialization before each meta-step and after the last, `[steps + 1, 2]`.
        adapted: where each meta-step's inner loop ended, `[steps, 2]`.
    """

    curves: np.ndarray
    iterates: np.ndarray
    adapted: np.ndarray


def walk() -> Geometry:
    """Runs Reptile on the two tasks in turn and records its way."""
    loss_fn = jax_meta.regression(lambda sine, inputs: at(sine, inputs)[1])
    learner = jax_meta.reptile(loss_fn, optax.sgd(0.05), num_steps=INNER_STEPS)
    optimizer = optax.sgd(0.25)  # the interpolation step: a quarter of the way to the adapted parameters
    points = jnp.array(POINT_TARGETS)[jnp.arange(META_STEPS) % 2, None, None, None]
    batch = (jnp.full_like(points, POINT_INPUT), points)
    key = jax.random.key(0)

    def step(state, tasks):
        support = jax.tree.map(lambda leaf: leaf[0], tasks.support)
        adapted = learner.adapt(state.params, support, key)
        return jax_meta.train_step(learner, optimizer, state, tasks)[0], (state.params, adapted)

    state = jax_meta.init(learner, optimizer, START, key)
    state, (iterates, adapted) = jax.jit(lambda state: jax.lax.scan(step, state, Task(batch, batch)))(state)
    iterates = jax.tree.map(lambda way, end: jnp.append(way, end), iterates, state.params)
    return Geometry(optimal_curves(), as_points(iterates), as_points(adapted))


def optimal_curves() -> np.ndarray:
    """The sines through each task's point, a = y / sin(x + b), as far as the plot reaches: `[tasks, points, 2]`."""
    phases = np.linspace(0.02, np.pi - 0.02, 400) - POINT_INPUT
    amplitudes = np.array(POINT_TARGETS)[:, None] / np.sin(POINT_INPUT + phases)
    return np.stack(np.broadcast_arrays(phases, amplitudes), axis=-1)


def as_points(sine: Sinusoid) -> np.ndarray:
    """Sines as points (phase, amplitude), `[points, 2]`."""
    return np.stack([sine.phase, sine.amplitude], axis=-1)
