"""K-shot sine regression: y = a sin(x + b), a new amplitude and phase for each task.

Finn, Abbeel, Levine, arXiv:1703.03400, section 5.1: a ~ U[0.1, 5], b ~ U[0, π], x ~ U[-5, 5]. The post "Paper repro:
Deep Metalearning using MAML and Reptile" draws b from U[0, 2π], which is the default here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_meta.base import Batch, Task

AMPLITUDES = (0.1, 5.0)
PHASES = (0.0, 2 * jnp.pi)
INPUTS = (-5.0, 5.0)


class Sinusoid(NamedTuple):
    """y = amplitude · sin(x + phase). Scalars for one sine, `[num_tasks]` for a batch; phase in radians."""

    amplitude: jax.Array
    phase: jax.Array


def sample_sinusoids(key: jax.Array, num_tasks: int, *, phases: tuple[float, float] = PHASES) -> Sinusoid:
    """Draws `[num_tasks]` sines: amplitude uniform in [0.1, 5], phase in `phases` (radians, default [0, 2π])."""
    lowest, highest = jnp.array([AMPLITUDES, phases]).T[:, :, None]
    return Sinusoid(*jax.random.uniform(key, (2, num_tasks), minval=lowest, maxval=highest))


def at(sinusoid: Sinusoid, inputs: jax.Array) -> Batch:
    """The batch `(inputs, targets)` of one sine at `inputs`, both `[examples, 1]`."""
    return inputs, sinusoid.amplitude * jnp.sin(inputs + sinusoid.phase)


def sample_inputs(key: jax.Array, *shape: int) -> jax.Array:
    """Inputs `[*shape, 1]`, uniform in [-5, 5]; the last of `shape` counts examples."""
    return jax.random.uniform(key, (*shape, 1), minval=INPUTS[0], maxval=INPUTS[1])


def even_inputs(examples: int) -> jax.Array:
    """Inputs `[examples, 1]`, evenly over [-5, 5], ends included."""
    return jnp.linspace(*INPUTS, examples)[:, None]


def sample_tasks(
    key: jax.Array,
    num_tasks: int,
    *,
    shots: int = 10,
    queries: int = 10,
    phases: tuple[float, float] = PHASES,
) -> Task:
    """Draws new sines, each with fresh random support and query points.

    Args:
        key: randomness.
        num_tasks: how many sines.
        shots: support points. Default: 10.
        queries: query points. Default: 10.
        phases: the range of the phase, in radians. Default: [0, 2π].

    Returns:
        A `Task` whose support and query are `(inputs, targets)`, float32 `[num_tasks, examples, 1]`.
    """

    sine_key, input_key = jax.random.split(key)
    sinusoids = sample_sinusoids(sine_key, num_tasks, phases=phases)
    batch = jax.vmap(at)(sinusoids, sample_inputs(input_key, num_tasks, shots + queries))
    return Task(jax.tree.map(lambda leaf: leaf[:, :shots], batch), jax.tree.map(lambda leaf: leaf[:, shots:], batch))
