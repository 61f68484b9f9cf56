"""One network of the sweep, with its rates as arguments, and the map of it over the grid."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jax_meta
from jax_meta.tasks import sinusoid

MODEL = jax_meta.models.MLP()
LOSS_FN = jax_meta.regression(MODEL.apply)
TEST_KEY = 1
LAST_STEP = 10
TASKS_AT_ONCE = 8
"""Test tasks evaluated at once for each network: it bounds the memory of a large grid."""


class Grid(NamedTuple):
    """The settings; every combination is a network.

    Attributes:
        keys: `[seeds]`, a key fixes a network's initial parameters and its tasks, whatever its rates.
        outer_learning_rates: of Adam, `[outer learning rates]`.
        step_sizes: of the inner SGD, `[step sizes]`.
    """

    keys: jax.Array
    outer_learning_rates: jax.Array
    step_sizes: jax.Array


def make_grid(seeds: int, outer_learning_rates: Sequence[float], step_sizes: Sequence[float]) -> Grid:
    """The grid of so many seeds and these rates."""
    return Grid(jax.random.split(jax.random.key(0), seeds), jnp.array(outer_learning_rates), jnp.array(step_sizes))


def over_grid(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(key, outer_learning_rate, step_size)` for every combination, as a function of the three lists.

    The leaves of its result are `[seeds, outer learning rates, step sizes, ...]`. Only seeds differ in their tasks, so
    these are drawn once for all rates.
    """
    over_step_sizes = jax.vmap(function, in_axes=(None, None, 0))
    over_rates = jax.vmap(over_step_sizes, in_axes=(None, 0, None))
    return jax.vmap(over_rates, in_axes=(0, None, None))


def initial_params(key: jax.Array) -> Any:
    """The sine network before training."""
    return MODEL.init(key, jnp.zeros((1, 1)))


def train_network(
    key: jax.Array, outer_learning_rate: jax.Array, step_size: jax.Array, *, steps: int, num_tasks: int
) -> tuple[Any, jax.Array]:
    """Meta-trains one network by MAML with one inner step.

    Args:
        key: fixes the initial parameters and the tasks.
        outer_learning_rate: of Adam, a scalar.
        step_size: of the inner SGD, a scalar.
        steps: meta-steps.
        num_tasks: tasks a meta-step.

    Returns:
        The trained parameters, and the loss after adaptation at every meta-step, `[steps]`.
    """
    model_key, run_key = jax.random.split(key)
    learner = jax_meta.maml(LOSS_FN, optax.sgd(step_size), num_steps=1)
    outer = optax.adam(outer_learning_rate)
    state = jax_meta.init(learner, outer, initial_params(model_key), run_key)
    state, history = jax_meta.fit(
        learner, outer, sinusoid.sample_tasks, state, num_meta_steps=steps, num_tasks=num_tasks
    )
    return state.params, history["loss"]


def evaluate_network(params: Any, step_size: jax.Array, *, test_tasks: int) -> jax.Array:
    """The mean test error after 0 to 10 inner steps of this size, `[11]`, on the same sines for every network."""
    tasks_key, key = jax.random.split(jax.random.key(TEST_KEY))
    tasks = sinusoid.sample_tasks(tasks_key, test_tasks)
    learner = jax_meta.maml(LOSS_FN, optax.sgd(step_size), num_steps=1)
    errors = jax_meta.evaluate(learner, LOSS_FN, params, tasks, key, num_steps=LAST_STEP, task_batch_size=TASKS_AT_ONCE)
    return errors["loss"].mean(axis=0)
