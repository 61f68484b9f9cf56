"""How the image benchmarks train, by `jax_meta.train`, validate and test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jax_meta
from benchmarks.few_shot.experiment import Experiment
from benchmarks.harness.report import progress_bars
from jax_meta import TrainState

PART = 50
"""At most so many meta-steps in one compiled call."""
VALIDATIONS = 40
VALIDATION_TASKS = 100
VALIDATION_STEPS = 10


def train(
    experiment: Experiment, state: TrainState, folder: Path, settings: dict[str, Any]
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains to the protocol's last meta-step, from the folder's newest checkpoint if there is one."""
    protocol = experiment.protocol
    between_validations = max(PART, protocol.steps // VALIDATIONS)
    return jax_meta.train(
        experiment.learner,
        experiment.optimizer,
        experiment.samplers["train"],
        state,
        num_meta_steps=protocol.steps,
        num_tasks=protocol.tasks,
        task_batch_size=experiment.task_batch_size,
        folder=folder,
        settings=settings,
        record_every=next(part for part in range(PART, 0, -1) if between_validations % part == 0),
        validate=make_validation(experiment),
        validate_every=between_validations,
        name=f"{experiment.algorithm} on {protocol.dataset}",
    )


def make_validation(experiment: Experiment) -> Callable[[Any], dict[str, jax.Array]]:
    """Compiles the transductive accuracy on validation tasks, the same each time and for every seed."""
    tasks = experiment.samplers["val"](jax.random.key(1), VALIDATION_TASKS)

    @jax.jit
    def validate(params, tasks):
        metrics = jax_meta.evaluate(
            experiment.tester,
            experiment.loss_fn,
            params,
            tasks,
            jax.random.key(2),
            num_steps=min(VALIDATION_STEPS, experiment.protocol.test_steps),
            task_batch_size=experiment.task_batch_size,
        )
        return {"accuracy": metrics["accuracy"][:, -1].mean()}

    return lambda params: validate(params, tasks)


def make_curves(experiment: Experiment, steps: int) -> Callable[..., dict[str, jax.Array]]:
    """Compiles `(params, tasks, key) -> accuracies [tasks, steps + 1]`, transductive and inductive."""

    @jax.jit
    def curves(params, tasks, key):
        return jax_meta.learning_curves(
            experiment.tester,
            experiment.measure,
            params,
            tasks,
            key,
            num_steps=steps,
            task_batch_size=experiment.task_batch_size,
        )

    return curves


def test(experiment: Experiment, params: Any) -> dict[str, np.ndarray]:
    """Accuracies `[test_tasks, test_steps + 1]` on held-out classes, transductive and inductive."""
    protocol = experiment.protocol
    part = next(size for size in range(min(100, protocol.test_tasks), 0, -1) if protocol.test_tasks % size == 0)
    curves = make_curves(experiment, protocol.test_steps)
    parts = []
    with progress_bars() as bars:
        bar = bars.add_task(f"test, {protocol.test_tasks} tasks", total=protocol.test_tasks, status="")
        for index in range(protocol.test_tasks // part):
            task_key, key = jax.random.split(jax.random.fold_in(jax.random.key(3), index))
            parts.append(jax.tree.map(np.asarray, curves(params, experiment.samplers["test"](task_key, part), key)))
            bars.update(bar, advance=part)
    return {name: np.concatenate([accuracies[name] for accuracies in parts]) for name in parts[0]}
