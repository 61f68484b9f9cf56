"""Training by `jax_meta.train`, validation and test."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jax_meta
from benchmarks.few_shot.experiment import Experiment
from benchmarks.harness.progress import Begin
from jax_meta import TrainState
from jax_meta.runs.progress import in_words

PART = 50
"""At most so many meta-steps in one compiled call."""
VALIDATIONS, FEWEST_VALIDATIONS = 40, 4
VALIDATION_TASKS = 100
VALIDATION_STEPS = 10


def train(
    experiment: Experiment, state: TrainState, folder: Path, settings: dict[str, Any], begin: Begin
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains to the protocol's last meta-step, from the folder's newest checkpoint if there is one."""
    protocol = experiment.protocol
    at_most = max(1, protocol.steps // FEWEST_VALIDATIONS)  # so that the curves of a short run have points, too
    between_validations = max(min(PART, at_most), protocol.steps // VALIDATIONS)
    name = f"{experiment.algorithm} on {protocol.dataset}"
    with begin(name, protocol.steps) as tell:
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
            name=name,
            report=in_words(lambda doing, now: tell(doing, now.step)),
        )


def make_validation(experiment: Experiment) -> Callable[[Any], dict[str, jax.Array]]:
    """Compiles the transductive accuracy on validation tasks, the same each time and for every seed."""
    tasks = experiment.samplers["val"](jax.random.key(1), VALIDATION_TASKS)
    steps = min(VALIDATION_STEPS, experiment.protocol.test_steps)
    options = {"num_steps": steps, "task_batch_size": experiment.task_batch_size}

    @jax.jit
    def validate(params, tasks):
        key = jax.random.key(2)
        metrics = jax_meta.evaluate(experiment.tester, experiment.loss_fn, params, tasks, key, **options)
        return {"accuracy": metrics["accuracy"][:, -1].mean()}

    return lambda params: validate(params, tasks)


def test(experiment: Experiment, params: Any, begin: Begin) -> dict[str, np.ndarray]:
    """Accuracies `[test_tasks, test_steps + 1]` on held-out classes, transductive and inductive."""
    num_tasks = experiment.protocol.test_tasks
    part = next(size for size in range(min(100, num_tasks), 0, -1) if num_tasks % size == 0)
    measured = partial(jax_meta.learning_curves, experiment.tester, experiment.measure)
    curves = jax.jit(
        partial(measured, num_steps=experiment.protocol.test_steps, task_batch_size=experiment.task_batch_size)
    )
    parts = []
    with begin("test tasks", num_tasks) as tell:
        for index in range(num_tasks // part):
            tell("" if index else "compiles", index * part)
            task_key, key = jax.random.split(jax.random.fold_in(jax.random.key(3), index))
            parts.append(jax.tree.map(np.asarray, curves(params, experiment.samplers["test"](task_key, part), key)))
    return {name: np.concatenate([accuracies[name] for accuracies in parts]) for name in parts[0]}
