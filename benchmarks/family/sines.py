"""One learner on the sines of the MAML paper's protocol, ten networks at once."""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import jax_meta
from benchmarks.family.entries import Entry, make_learner, meta_parameters, multi_step_weights
from benchmarks.family.learners import for_values
from benchmarks.harness.jax_networks import compile_ahead
from benchmarks.harness.results import rounded
from jax_meta import MetaLearner, estimate
from jax_meta.networks.models import MLP
from jax_meta.tasks import sinusoid

POINTS = {"sines-5": 5, "sines-10": 10}
SEEDS, STEPS, PART, TASKS = 10, 5_000, 1_000, 25
CLIP = 10.0  # of each number of the outer gradient to ± this, as in the code of CAVIA
TEST_TASKS, SHOWN = 1_000, (0, 1, 5, 10)
DIVERGED = 1e4  # an error beyond any sine's


def run(name: str, learner: str) -> dict:
    """The record of a cell: errors after 0 to 10 inner steps."""
    entry, points = for_values()[learner], POINTS[name]
    model = entry.model(MLP())
    states = jax.vmap(partial(initial, entry, model))(jax.random.split(jax.random.key(0), SEEDS))
    advance, compiling = compile_ahead(jax.vmap(partial(train, entry, model, points), (None, 0)), weights_at(0), states)
    start = time.process_time()
    for part in range(STEPS // PART):
        states, _ = jax.block_until_ready(advance(weights_at(part), states))
    spent = time.process_time() - start
    errors = np.asarray(jax.jit(jax.vmap(partial(evaluate, entry, model, points)))(states.params))
    skipped = np.asarray(states.opt_state.total_notfinite).sum()
    return {
        "problem": name,
        "label": entry.label,
        "steps": entry.steps,
        "meta_steps": STEPS,
        "rate": entry.rate,
        "meta_parameters": meta_parameters(states.params) // SEEDS,
        "seconds": rounded({"compile": compiling, "train": spent}, 4),
        "microseconds_a_meta_step": rounded(1e6 * spent / STEPS / SEEDS, 4),
        "meta_steps_left_out": int(skipped),
        "error_after_steps": {str(step): describe(errors[:, :, step]) for step in SHOWN},
    }


def describe(errors: np.ndarray) -> dict | None:
    """The mean of errors `[seeds, tasks]`, with 95% intervals over tasks and seeds; None where adaptation diverges."""
    if not errors.max() < DIVERGED:
        return None
    mean, over_tasks = estimate(errors.mean(axis=0))
    over_seeds = estimate(errors.mean(axis=1)).half_width
    told = {"mean": float(mean), "half_width_over_tasks": float(over_tasks), "half_width_over_seeds": float(over_seeds)}
    return rounded(told, 4)


def learner_of(entry: Entry, model: Any, weights: Any) -> MetaLearner:
    return make_learner(entry, model, jax_meta.regression, None, entry.rate, weights)


def outer() -> optax.GradientTransformation:
    """Adam; a meta-step whose gradient is not finite, since adaptation to one of its sines diverged, is left out."""
    adam = optax.chain(optax.clip(CLIP), optax.adam(optax.linear_schedule(2e-3, 0.0, STEPS)))
    return optax.apply_if_finite(adam, max_consecutive_errors=STEPS)


def initial(entry: Entry, model: Any, key: jax.Array) -> jax_meta.TrainState:
    model_key, run_key = jax.random.split(key)
    learner = learner_of(entry, model, weights_at(0))
    return jax_meta.init(learner, outer(), model.init(model_key, jnp.zeros((1, 1))), run_key)


def weights_at(part: int) -> np.ndarray:
    return multi_step_weights(part * PART / STEPS)


def train(entry: Entry, model: Any, points: int, weights: Any, state: jax_meta.TrainState) -> Any:
    """So many meta-steps of one network, on new sines each."""
    draw = Partial(partial(sinusoid.sample_tasks, shots=points, queries=10, phases=(0.0, np.pi)))
    learner = learner_of(entry, model, weights)
    return jax_meta.fit(learner, outer(), draw, state, num_meta_steps=PART, num_tasks=TASKS)


def evaluate(entry: Entry, model: Any, points: int, meta_params: Any) -> jax.Array:
    """Errors `[tasks, 11]` of one network on the sines that test every learner."""
    draw = partial(sinusoid.sample_tasks, shots=points, queries=100, phases=(0.0, np.pi))
    learner, loss_fn = learner_of(entry, model, weights_at(STEPS // PART)), jax_meta.regression(model.apply)
    options: dict = {"num_steps": SHOWN[-1], "task_batch_size": 25}
    tasks, key = draw(jax.random.key(1), TEST_TASKS), jax.random.key(2)
    return jax_meta.evaluate(learner, loss_fn, meta_params, tasks, key, **options)["loss"]
