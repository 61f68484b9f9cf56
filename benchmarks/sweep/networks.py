"""Networks with their rates as arguments, the map over the grid of them, and all in one call against one by one."""

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.harness.jax_networks import compile_ahead
from benchmarks.harness.results import rounded
from benchmarks.harness.rounds import Tell, median_seconds
from jax_meta.tasks import sinusoid

MODEL = jax_meta.models.MLP()
LOSS_FN = jax_meta.regression(MODEL.apply)
TEST_KEY = 1
LAST_STEP = 10
TASKS_AT_ONCE = 8  # test tasks evaluated at once for each network: it bounds the memory of a large grid
COMPARED_STEPS = 10  # meta-steps whose losses are compared: rounding grows with every further one
TOLERANCE = 1e-3


class Grid(NamedTuple):
    keys: jax.Array  # `[seeds]`, each fixes a network's initial parameters and its tasks, whatever its rates
    outer_learning_rates: jax.Array  # of Adam, `[outer learning rates]`
    step_sizes: jax.Array  # of the inner SGD, `[step sizes]`


def make_grid(seeds: int, outer_learning_rates: Sequence[float], step_sizes: Sequence[float]) -> Grid:
    return Grid(jax.random.split(jax.random.key(0), seeds), jnp.array(outer_learning_rates), jnp.array(step_sizes))


def over_grid(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(key, outer_learning_rate, step_size)` for every combination, as a function of the three lists.

    The leaves of its result are `[seeds, outer learning rates, step sizes, ...]`. Only seeds differ in their tasks, so
    these are drawn once for all rates.
    """
    over_rates = jax.vmap(jax.vmap(function, (None, None, 0)), (None, 0, None))
    return jax.vmap(over_rates, (0, None, None))


def initial_params(key: jax.Array) -> Any:
    return MODEL.init(key, jnp.zeros((1, 1)))


def train_network(
    key: jax.Array, outer_learning_rate: jax.Array, step_size: jax.Array, *, steps: int, num_tasks: int
) -> tuple[Any, jax.Array]:
    """MAML with one inner step: the parameters, and losses `[steps]`; key and rates, which may be traced, fix it."""
    model_key, run_key = jax.random.split(key)
    learner = jax_meta.maml(LOSS_FN, optax.sgd(step_size), num_steps=1)
    outer = optax.adam(outer_learning_rate)
    state, sample_tasks = jax_meta.init(learner, outer, initial_params(model_key), run_key), sinusoid.sample_tasks
    state, history = jax_meta.fit(learner, outer, sample_tasks, state, num_meta_steps=steps, num_tasks=num_tasks)
    return state.params, history["loss"]


def evaluate_network(params: Any, step_size: jax.Array, *, test_tasks: int) -> jax.Array:
    """The mean test error after 0 to 10 inner steps of this size, `[11]`, on the same sines for every network."""
    tasks_key, key = jax.random.split(jax.random.key(TEST_KEY))
    tasks = sinusoid.sample_tasks(tasks_key, test_tasks)
    learner = jax_meta.maml(LOSS_FN, optax.sgd(step_size), num_steps=1)
    errors = jax_meta.evaluate(learner, LOSS_FN, params, tasks, key, num_steps=LAST_STEP, task_batch_size=TASKS_AT_ONCE)
    return errors["loss"].mean(axis=0)


def evaluate_grid(params: Any, grid: Grid, *, test_tasks: int) -> jax.Array:
    """The mean test error of every network, `[seeds, outer learning rates, step sizes, inner steps + 1]`."""
    over_settings = jax.vmap(jax.vmap(partial(evaluate_network, test_tasks=test_tasks)), in_axes=(0, None))
    return jax.jit(jax.vmap(over_settings, in_axes=(0, None)))(params, grid.step_sizes)


def run(
    grid: Grid, steps: int, num_tasks: int, test_tasks: int, tell: Tell, expected: str
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Trains and evaluates every network; `expected` says how long the training takes, which tells nothing of itself.

    Returns losses `[seeds, rates, step sizes, steps]`, errors as in `evaluate_grid`, and the seconds of each part.
    """
    tell("compiles")
    train, compiling = compile_ahead(over_grid(partial(train_network, steps=steps, num_tasks=num_tasks)), *grid)
    tell(f"trains, which takes about {expected}")
    start = time.perf_counter()
    params, losses = jax.block_until_ready(train(*grid))
    trained = time.perf_counter()
    tell("evaluates")
    errors = np.asarray(evaluate_grid(params, grid, test_tasks=test_tasks))
    seconds = {"compile": compiling, "train": trained - start, "evaluate": time.perf_counter() - trained}
    return np.asarray(losses), errors, {name: round(value, 3) for name, value in seconds.items()}


def compare_throughput(grid: Grid, *, steps: int, num_tasks: int, repeats: int, tell: Tell) -> dict:
    """Median seconds of both ways, compile time apart, after a check that both give the same losses."""
    train = partial(train_network, steps=steps, num_tasks=num_tasks)
    singles = list(itertools.product(*grid))
    tell("compiles all")
    at_once, compile_at_once = compile_ahead(over_grid(train), *grid)
    tell("compiles one")
    alone, compile_alone = compile_ahead(train, *singles[0])

    def one_after_the_other():
        return [jax.block_until_ready(alone(*single)) for single in singles]

    tell("compares")
    difference = largest_difference(at_once(*grid)[1], [losses for _, losses in one_after_the_other()])
    if not difference < TOLERANCE:
        sys.exit(f"the losses at once and one after the other differ by {difference:.1e}: report it as a bug.")
    seconds = median_seconds({"at once": partial(at_once, *grid), "in turn": one_after_the_other}, repeats, tell)
    return {
        "networks": len(singles),
        "meta_steps": steps,
        "rounds": repeats,
        "largest_relative_difference": rounded(difference, 2),
        "compile_seconds_at_once": round(compile_at_once, 2),
        "compile_seconds_one": round(compile_alone, 2),
        "seconds_at_once": rounded(seconds["at once"]),
        "seconds_one_after_the_other": rounded(seconds["in turn"]),
        "times_as_fast": rounded(seconds["in turn"] / seconds["at once"], 3),
    }


def largest_difference(at_once: jax.Array, one_by_one: list[jax.Array]) -> float:
    """Of the first losses, relative to each network's largest; NaN if one is not finite."""
    together = np.asarray(at_once).reshape(len(one_by_one), -1)[:, :COMPARED_STEPS]
    apart = np.stack(one_by_one)[:, :COMPARED_STEPS]
    return float((np.abs(together - apart).max(axis=1) / np.abs(apart).max(axis=1)).max())
