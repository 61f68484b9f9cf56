"""A small run of `jax_meta.train`, for the tests of what it keeps."""

from collections.abc import Callable
from typing import Any

import jax
import optax

import jax_meta
from jax_meta import TrainState
from tests.learners import sines

PROBLEM = sines()
LEARNER = jax_meta.maml(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=1)
OUTER = optax.adam(1e-2)
VALIDATION = PROBLEM.sample_tasks(jax.random.key(7), 5)


def first_state(learner=LEARNER, outer=OUTER, seed: int = 0) -> TrainState:
    return jax_meta.init(learner, outer, PROBLEM.params, jax.random.key(seed))


@jax.jit
def validate(params) -> dict[str, jax.Array]:
    losses = jax_meta.evaluate(LEARNER, PROBLEM.loss_fn, params, VALIDATION, jax.random.key(8), num_steps=1)["loss"]
    return {"loss": losses[:, -1].mean()}


def train(
    folder, *, num_meta_steps: int = 12, learner=LEARNER, outer=OUTER, seed: int = 0, sampler=None, **options: Any
):
    settings: dict[str, Any] = {
        "record_every": 2,
        "validate": validate,
        "validate_every": 4,
        "save_seconds": 0.0,
        "report": lambda progress: None,
    }
    return jax_meta.train(
        learner,
        outer,
        sampler or PROBLEM.sample_tasks,
        first_state(learner, outer, seed),
        num_meta_steps=num_meta_steps,
        num_tasks=2,
        folder=folder,
        **{**settings, **options},
    )


def stop_at(step: int) -> Callable[[Any], None]:
    """A report that fails when the run gets there, as a bug or a power cut would."""

    def report(progress):
        if progress.step == step:
            raise RuntimeError(f"stopped at {step}")

    return report


def bits(state: TrainState) -> list[bytes]:
    leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    return [jax.device_get(leaf).tobytes() for leaf in leaves]
