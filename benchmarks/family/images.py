"""One learner on one problem of images: its trials on validation classes, its training, its test."""

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.family.entries import PROBLEMS, Entry, Problem, make_learner, meta_parameters, multi_step_weights
from benchmarks.family.learners import classifiers
from benchmarks.few_shot.experiment import load, make_model, make_sampler
from benchmarks.few_shot.protocol import Protocol, make_protocol
from benchmarks.harness.jax_networks import compile_ahead
from benchmarks.harness.results import estimated, rounded
from jax_meta import Task
from jax_meta.datasets import Splits

PART = 10  # meta-steps in a compiled call
TRIAL = 0.1  # of the budget, that a trial trains for
VALIDATION_TASKS, TEST_TASKS, CHUNK = 100, 1_000, 100
MEMORY_STEPS = (5, 25, 100)


class Cell(NamedTuple):
    """What trains and what tests a learner on a problem, compiled for any rates."""

    initial: Callable[[], jax_meta.TrainState]
    advance: Callable[..., Any]  # `(state, sampler, rate, outer rate, weights) -> (state, history)`
    hits: Callable[..., Any]  # `(meta-parameters, rate, tasks, key) -> right answers`, by kind, [tasks]
    samplers: dict[str, Any]  # of training, validation and test
    compile_seconds: float
    temporary_bytes: int  # of a meta-step's program, beside its arguments and results


def run(name: str, learner: str, folder: Path, seconds: float) -> dict:
    """The record of a cell: `seconds` of one core's time to train, and a tenth of it for each trial before."""
    problem = PROBLEMS[name]
    entry = classifiers(problem)[learner]
    cell = prepare(problem, entry, protocol_of(problem), splits_of(problem.dataset, folder))
    trials = []
    for rate, outer in entry.trials:
        meta_params, _, _ = train(cell, rate, outer, TRIAL * seconds)
        found = score(cell, "val", meta_params, rate, VALIDATION_TASKS)["transductive"].mean() / problem.ways
        trials.append({"rate": rate, "outer_rate": outer, "validation_accuracy": rounded(float(found), 4)})
    best = max(trials, key=lambda trial: trial["validation_accuracy"])
    rates = best["rate"], best["outer_rate"]
    meta_params, meta_steps, spent = train(cell, *rates, seconds)
    start = time.process_time()
    hits = score(cell, "test", meta_params, rates[0], TEST_TASKS)
    return {
        **cell_facts(problem, entry, cell, meta_params),
        "budget_seconds": seconds,
        "trials": rounded(trials, 4),
        "rate": rounded(rates[0], 4),
        "outer_rate": rates[1],
        "meta_steps": meta_steps,
        "seconds": rounded({"compile": cell.compile_seconds, "train": spent, "test": time.process_time() - start}, 4),
        "milliseconds_a_meta_step": rounded(1e3 * spent / meta_steps, 4),
        "accuracy": {kind: estimated(values / problem.ways) for kind, values in hits.items()},
        "right": {kind: values.tolist() for kind, values in hits.items()},
    }


def cell_facts(problem: Problem, entry: Entry, cell: Cell, meta_params: Any) -> dict:
    return {
        "problem": problem.name,
        "label": entry.label,
        "tasks": entry.tasks,
        "train_ways": entry.ways or problem.ways,
        "steps": entry.steps,
        "test_steps": entry.test_steps,
        "meta_parameters": meta_parameters(meta_params),
        "temporary_mebibytes": rounded(cell.temporary_bytes / 2**20, 4),
    }


def protocol_of(problem: Problem) -> Protocol:
    """MAML's data and network, with few queries: one of a class on Omniglot, five on CIFAR-FS."""
    protocol = make_protocol(problem.dataset, "maml", algorithm="maml", ways=problem.ways, shots=problem.shots)
    queries = 1 if problem.dataset == "omniglot" else 5
    return protocol._replace(train_shots=problem.shots, queries=queries)


@cache
def splits_of(dataset: str, folder: Path) -> Splits:
    protocol = make_protocol(dataset, "maml", algorithm="maml", ways=5, shots=1)
    return load(protocol, folder, download=False, seed=0)


def prepare(problem: Problem, entry: Entry, protocol: Protocol, splits: Splits) -> Cell:
    """Compiles the training of an entry, and what tests it."""
    training = protocol._replace(ways=entry.ways or problem.ways, train_shots=entry.shots or problem.shots)
    if entry.queries:
        training = training._replace(queries=entry.queries)
    samplers = {
        "train": make_sampler(training, splits.train, shots=training.train_shots, queries=training.queries),
        "val": make_sampler(protocol, splits.val, shots=problem.shots, queries=1),
        "test": make_sampler(protocol, splits.test, shots=problem.shots, queries=1),
    }
    model = entry.model(make_model(protocol))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *splits.train.images.shape[2:])))
    trained = entry.model(make_model(training))
    make = partial(make_learner, entry, trained, jax_meta.classification, training.ways)
    initial = partial(jax_meta.init, make(1.0, multi_step_weights(1.0)), optax.adam(1.0), params, jax.random.key(1))

    def advance(state, sampler, rate, outer_rate, weights):
        options: dict = {"num_meta_steps": PART, "num_tasks": entry.tasks, "task_batch_size": 1}
        return jax_meta.fit(make(rate, weights), optax.adam(outer_rate), sampler, state, **options)

    compiled, seconds = compile_ahead(advance, initial(), samplers["train"], 1.0, 1.0, multi_step_weights(0.0))
    hits = jax.jit(partial(right_answers, entry, model, problem.ways))
    return Cell(initial, compiled, hits, samplers, seconds, compiled.memory_analysis().temp_size_in_bytes)


def right_answers(
    entry: Entry, model: Any, ways: int, meta_params: Any, rate: Any, tasks: Task, key: jax.Array
) -> dict[str, jax.Array]:
    """How many queries of each task are classified rightly, all queries at once and each with the support set alone."""
    learner = make_learner(entry, model, jax_meta.classification, ways, rate, multi_step_weights(1.0))
    measure = jax_meta.transduction(model.apply)

    def of_task(given):
        task, key = given
        adapted = learner.adapt(meta_params, task.support, key, num_steps=entry.test_steps)
        return measure(adapted, task, key)

    found = jax.lax.map(of_task, (tasks, jax.random.split(key, len(tasks.support[1]))))
    return {kind: jnp.round(ways * accuracy).astype(jnp.int32) for kind, accuracy in found.items()}


def train(cell: Cell, rate: float, outer_rate: float, seconds: float) -> tuple[Any, int, float]:
    """Trains for so many seconds of a core, the outer rate falling to 0: meta-parameters, meta-steps, seconds."""
    state, start, spent = cell.initial(), time.process_time(), 0.0
    while spent < seconds:
        progress = spent / seconds
        numbers = rate, outer_rate * (1 - progress), multi_step_weights(progress)
        state, history = cell.advance(state, cell.samplers["train"], *numbers)
        if not np.isfinite(history["loss"]).all():  # a trial that diverges is one that is not chosen
            break
        spent = time.process_time() - start
    return state.params, int(state.step), spent


def score(cell: Cell, split: str, meta_params: Any, rate: float, num_tasks: int) -> dict[str, np.ndarray]:
    """Right answers of the tasks of a split, the same for every learner."""
    parts = []
    for index in range(num_tasks // CHUNK):
        task_key, key = jax.random.split(jax.random.fold_in(jax.random.key(3), index))
        tasks = cell.samplers[split](task_key, CHUNK)
        parts.append(jax.tree.map(np.asarray, cell.hits(meta_params, rate, tasks, key)))
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}


def memory(learner: str, folder: Path) -> dict:
    """How much memory a meta-step's intermediate results take as the inner steps grow, on Omniglot."""
    problem = PROBLEMS["omniglot-5way-1shot"]
    protocol, splits = protocol_of(problem), splits_of(problem.dataset, folder)
    found = {}
    for steps in MEMORY_STEPS:
        cell = prepare(problem, classifiers(problem, steps)[learner], protocol, splits)
        found[str(steps)] = rounded(cell.temporary_bytes / 2**20, 4)
    return {"problem": "inner-steps", "label": classifiers(problem)[learner].label, "mebibytes_by_steps": found}
