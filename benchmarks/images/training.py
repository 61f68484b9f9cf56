"""Meta-training that shows its progress, keeps a log and checkpoints, and goes on where it was stopped."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

import jax_meta
from images.experiment import Experiment
from jax_meta import TrainState
from report import progress_bars, rounded

PART = 50
"""At most so many meta-steps in one compiled call."""
VALIDATIONS = 40
VALIDATION_TASKS = 100
VALIDATION_STEPS = 10


class Progress(NamedTuple):
    """A line of the log: what was reached at a meta-step.

    Attributes:
        step: meta-steps taken.
        seconds: of training and validation since the first start, compilation included, pauses left out.
        loss: of the training queries, since the line before.
        accuracy: of the training queries, since the line before.
        val_accuracy: transductive, of validation tasks, after the last inner step measured.
    """

    step: int
    seconds: float
    loss: float
    accuracy: float
    val_accuracy: float


def train(experiment: Experiment, state: TrainState, folder: Path) -> tuple[TrainState, list[Progress]]:
    """Trains to the protocol's last meta-step, from the folder's checkpoint if there is one."""
    protocol = experiment.protocol
    with ocp.CheckpointManager(folder / "checkpoint", options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager:
        state, log = resume(manager, state, folder / "log.jsonl")
        validate = make_validation(experiment)
        interval = max(1, protocol.steps // VALIDATIONS)
        name, done = f"{experiment.algorithm} on {protocol.dataset}", int(state.step)
        with progress_bars() as bars:
            bar = bars.add_task(name, total=protocol.steps, completed=done, status="")

            def report(steps, speed):
                status = f"{speed:.1f}/s" + (f", val {100 * log[-1].val_accuracy:.1f}%" if log else "")
                bars.update(bar, advance=steps, status=status)

            while int(state.step) < protocol.steps:
                target = min(protocol.steps, (int(state.step) // interval + 1) * interval)
                seconds = log[-1].seconds if log else 0.0
                line, state = advance(experiment, state, target, validate, seconds, report)
                log.append(line)
                append_line(folder / "log.jsonl", line)
                manager.save(int(state.step), args=ocp.args.StandardSave(storable(state)))
        return state, log


def advance(
    experiment: Experiment,
    state: TrainState,
    target: int,
    validate: Callable[[Any], float],
    seconds: float,
    report: Callable[[int, float], None],
) -> tuple[Progress, TrainState]:
    """Meta-steps up to `target`, and one validation."""
    start, histories = time.perf_counter(), []
    while int(state.step) < target:
        count = min(PART, target - int(state.step))
        begin = time.perf_counter()
        state, history = jax_meta.fit(
            experiment.learner,
            experiment.optimizer,
            experiment.samplers["train"],
            state,
            num_steps=count,
            num_tasks=experiment.protocol.tasks,
            task_batch_size=experiment.task_batch_size,
        )
        histories.append(jax.tree.map(np.asarray, history))
        report(count, count / (time.perf_counter() - begin))
    accuracy = validate(state.params)
    means = {name: float(np.concatenate([history[name] for history in histories]).mean()) for name in histories[0]}
    elapsed = seconds + time.perf_counter() - start
    return Progress(int(state.step), elapsed, means["loss"], means["accuracy"], accuracy), state


def make_validation(experiment: Experiment) -> Callable[[Any], float]:
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
        return metrics["accuracy"][:, -1].mean()

    return lambda params: float(validate(params, tasks))


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


def resume(manager: ocp.CheckpointManager, state: TrainState, log: Path) -> tuple[TrainState, list[Progress]]:
    """The newest checkpoint and the log up to it, or the given state and an empty log where there is none."""
    step = manager.latest_step()
    if step is None:
        log.unlink(missing_ok=True)
        return state, []
    stored = manager.restore(step, args=ocp.args.StandardRestore(storable(state)))
    lines = [Progress(**json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if line.step <= step]
    log.write_text("".join(json.dumps(line._asdict()) + "\n" for line in kept), encoding="utf-8")
    print(f"goes on at meta-step {step}, from {log.parent / 'checkpoint'}")
    return stored._replace(key=jax.random.wrap_key_data(stored.key)), kept


def storable(state: TrainState) -> TrainState:
    """The state with its key as plain numbers."""
    return state._replace(key=jax.random.key_data(state.key))


def append_line(path: Path, line: Progress) -> None:
    """Adds a line of JSON to the log, and prints it where there is no terminal to show a bar on."""
    text = json.dumps({**rounded(line._asdict()), "step": line.step})
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    if not sys.stdout.isatty():
        print(text, flush=True)
