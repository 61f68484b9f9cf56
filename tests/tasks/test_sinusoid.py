"""The sine tasks: what is drawn, and that support and query belong together and share nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_meta.tasks import sinusoid
from jax_meta.tasks.sinusoid import Sinusoid

KEY = jax.random.key(0)
NUM_TASKS = 4_000
TASKS = jax.tree.map(np.asarray, sinusoid.sample_tasks(KEY, NUM_TASKS, shots=7, queries=5))
SINES = sinusoid.sample_sinusoids(KEY, NUM_TASKS)


def assert_uniform(values, low, high):
    """Kolmogorov-Smirnov, at a distance that one uniform sample in 1,500 exceeds."""
    values = (np.sort(np.ravel(values)) - low) / (high - low)
    assert values[0] >= 0
    assert values[-1] <= 1
    distance = np.abs(values - (np.arange(values.size) + 0.5) / values.size).max()
    assert distance < 2 / np.sqrt(values.size)


def fitted(inputs, targets):
    """Amplitude and phase of the sine through points `[tasks, examples, 1]`, and how far the points are from it."""
    design = np.concatenate([np.sin(inputs), np.cos(inputs)], axis=-1)
    weights = np.linalg.pinv(design) @ targets
    sine, cosine = weights[:, 0, 0], weights[:, 1, 0]
    return np.hypot(sine, cosine), np.arctan2(cosine, sine) % (2 * np.pi), np.abs(design @ weights - targets).max()


def test_amplitude_phase_and_inputs_are_uniform_and_independent():
    assert_uniform(SINES.amplitude, 0.1, 5.0)
    assert_uniform(SINES.phase, 0.0, 2 * np.pi)
    assert_uniform(TASKS.support[0], -5.0, 5.0)
    assert_uniform(TASKS.query[0], -5.0, 5.0)
    assert abs(np.corrcoef(SINES.amplitude, SINES.phase)[0, 1]) < 4 / np.sqrt(NUM_TASKS)


def test_phases_are_drawn_from_the_range_asked_for():
    tasks = sinusoid.sample_tasks(KEY, NUM_TASKS, phases=(0.0, np.pi))
    _, phase, _ = fitted(*map(np.asarray, tasks.support))
    assert_uniform(phase, 0.0, np.pi)


def test_both_sets_of_a_task_come_from_one_sine():
    assert TASKS.support[0].shape == TASKS.support[1].shape == (NUM_TASKS, 7, 1)
    assert TASKS.query[0].shape == TASKS.query[1].shape == (NUM_TASKS, 5, 1)
    both = (np.concatenate(pair, axis=1) for pair in zip(*TASKS, strict=True))
    amplitude, phase, residual = fitted(*both)
    assert residual < 1e-9
    assert_uniform(amplitude, 0.1, 5.0)
    assert_uniform(phase, 0.0, 2 * np.pi)


def test_no_point_is_drawn_twice():
    inputs = np.concatenate([TASKS.support[0], TASKS.query[0]], axis=1)
    assert len(np.unique(inputs)) == inputs.size


def test_at_is_the_sine_itself():
    inputs, targets = sinusoid.at(Sinusoid(jnp.array(2.0), jnp.array(np.pi / 2)), jnp.array([[0.0], [np.pi], [1.0]]))
    np.testing.assert_allclose(targets, [[2.0], [-2.0], [2 * np.cos(1.0)]], rtol=1e-12)
    np.testing.assert_allclose(inputs[:, 0], [0.0, np.pi, 1.0])


def test_even_inputs_reach_both_ends():
    np.testing.assert_allclose(sinusoid.even_inputs(5), [[-5.0], [-2.5], [0.0], [2.5], [5.0]])


def test_a_key_fixes_the_tasks():
    again = sinusoid.sample_tasks(KEY, NUM_TASKS, shots=7, queries=5)
    jax.tree.map(np.testing.assert_array_equal, again, TASKS)
    other = sinusoid.sample_tasks(jax.random.key(1), NUM_TASKS, shots=7, queries=5)
    assert not np.isin(other.support[0], TASKS.support[0]).any()


@pytest.mark.parametrize("transform", [jax.jit, lambda function: lambda key: jax.vmap(function)(key[None])])
def test_sampling_can_be_compiled_and_mapped(transform):
    sampled = transform(lambda key: sinusoid.sample_tasks(key, 3))(KEY)
    expected = sinusoid.sample_tasks(KEY, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-12), sampled, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 0}, "num_tasks must be an integer of 1 or more, got 0"),
        ({"shots": 0}, "shots must be an integer of 1 or more, got 0"),
        ({"queries": 1.5}, "queries must be an integer of 1 or more, got 1.5"),
        ({"phases": (1.0, 0.0)}, r"phases must be a range in radians"),
        ({"phases": (0.0, float("nan"))}, r"phases must be a range in radians"),
    ],
)
def test_sines_that_there_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        sinusoid.sample_tasks(KEY, **({"num_tasks": 2} | options))
