"""K-shot sine regression: y = a sin(x + b), a new amplitude and phase for each task.

Finn, Abbeel, Levine, arXiv:1703.03400, section 5.1: a ~ U[0.1, 5], b ~ U[0, π], x ~ U[-5, 5]. The post "Paper repro:
Deep Metalearning using MAML and Reptile" draws b from U[0, 2π], which is the default here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_meta.base import Batch, Task
from jax_meta.checks import check_count

__all__ = [
    "AMPLITUDES",
    "INPUTS",
    "PHASES",
    "Sinusoid",
    "at",
    "even_inputs",
    "sample_inputs",
    "sample_sinusoids",
    "sample_tasks",
]

AMPLITUDES = (0.1, 5.0)  #: The range of amplitudes.
PHASES = (0.0, 2 * jnp.pi)  #: The range of phases, unless another is given.
INPUTS = (-5.0, 5.0)  #: The range of inputs.


class Sinusoid(NamedTuple):
    """y = amplitude · sin(x + phase). Scalars for one sine, `[num_tasks]` for a batch; phase in radians.

    Example:
        >>> import jax.numpy as jnp
        >>> from jax_meta.tasks import sinusoid
        >>> sine = sinusoid.Sinusoid(amplitude=jnp.array(2.0), phase=jnp.array(0.0))
        >>> assert sinusoid.at(sine, jnp.zeros((1, 1)))[1] == 0
    """

    amplitude: jax.Array
    phase: jax.Array


def sample_sinusoids(key: jax.Array, num_tasks: int, *, phases: tuple[float, float] = PHASES) -> Sinusoid:
    """Draws sines: the amplitude uniform in [0.1, 5], the phase in `phases`.

    Args:
        key: randomness.
        num_tasks: how many sines, 1 or more.
        phases: the range of the phase, in radians. Default: [0, 2π].

    Returns:
        A `Sinusoid` with leaves float32 `[num_tasks]`; float64 where JAX has it enabled.

    Raises:
        ValueError: if `num_tasks` is not an integer of 1 or more, or `phases` are not a range.

    Example:
        >>> import jax
        >>> from jax_meta.tasks import sinusoid
        >>> sines = sinusoid.sample_sinusoids(jax.random.key(0), 100)
        >>> assert sines.amplitude.shape == (100,) and sines.amplitude.max() <= 5
    """
    check_count(num_tasks, "num_tasks", least=1)
    if not len(phases) == 2 or not phases[0] <= phases[1]:
        raise ValueError(f"phases must be a range in radians, (from, to), got {phases}.")
    lowest, highest = jnp.array([AMPLITUDES, phases]).T[:, :, None]
    return Sinusoid(*jax.random.uniform(key, (2, num_tasks), minval=lowest, maxval=highest))


def at(sinusoid: Sinusoid, inputs: jax.Array) -> Batch:
    """The batch `(inputs, targets)` of one sine.

    Args:
        sinusoid: one sine.
        inputs: `[examples, 1]`.

    Returns:
        The inputs and a sin(x + b), both `[examples, 1]`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jax_meta.tasks import sinusoid
        >>> inputs, targets = sinusoid.at(sinusoid.Sinusoid(3.0, jnp.pi / 2), jnp.zeros((1, 1)))
        >>> assert jnp.allclose(targets, 3)
    """
    return inputs, sinusoid.amplitude * jnp.sin(inputs + sinusoid.phase)


def sample_inputs(key: jax.Array, *shape: int) -> jax.Array:
    """Draws inputs, uniform in [-5, 5].

    Args:
        key: randomness.
        shape: the last counts examples.

    Returns:
        Inputs `[*shape, 1]`.

    Example:
        >>> import jax
        >>> from jax_meta.tasks import sinusoid
        >>> assert sinusoid.sample_inputs(jax.random.key(0), 4, 10).shape == (4, 10, 1)
    """
    return jax.random.uniform(key, (*shape, 1), minval=INPUTS[0], maxval=INPUTS[1])


def even_inputs(examples: int) -> jax.Array:
    """Inputs evenly over [-5, 5], ends included.

    Args:
        examples: how many, 1 or more.

    Returns:
        Inputs `[examples, 1]`.

    Raises:
        ValueError: if `examples` is not an integer of 1 or more.

    Example:
        >>> from jax_meta.tasks import sinusoid
        >>> assert sinusoid.even_inputs(3).tolist() == [[-5], [0], [5]]
    """
    check_count(examples, "examples", least=1)
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
        num_tasks: how many sines, 1 or more.
        shots: support points, 1 or more. Default: 10.
        queries: query points, 1 or more. Default: 10.
        phases: the range of the phase, in radians. Default: [0, 2π].

    Returns:
        A `Task` whose support and query are `(inputs, targets)`, float32 `[num_tasks, examples, 1]`; float64 where JAX
        has it enabled.

    Raises:
        ValueError: if a number is not an integer of 1 or more, or `phases` are not a range.

    Example:
        >>> import jax
        >>> from jax_meta.tasks import sinusoid
        >>> tasks = sinusoid.sample_tasks(jax.random.key(0), 4, shots=5)
        >>> assert tasks.support[0].shape == (4, 5, 1) and tasks.query[1].shape == (4, 10, 1)
    """
    check_count(shots, "shots", least=1)
    check_count(queries, "queries", least=1)
    sine_key, input_key = jax.random.split(key)
    sinusoids = sample_sinusoids(sine_key, num_tasks, phases=phases)
    batch = jax.vmap(at)(sinusoids, sample_inputs(input_key, num_tasks, shots + queries))
    return Task(jax.tree.map(lambda leaf: leaf[:, :shots], batch), jax.tree.map(lambda leaf: leaf[:, shots:], batch))


def __dir__() -> list[str]:
    return __all__
