"""The sine benchmark's methods: how each is trained, and how all are evaluated."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.harness.compilation import compile_ahead
from benchmarks.sinusoid.protocol import Protocol, TrainingSet, task_stream
from jax_meta import LossFn, MetaLearner, Task, TrainState
from jax_meta.runs.progress import Report

MODEL = jax_meta.models.MLP()
LOSS_FN = jax_meta.regression(MODEL.apply)
SHORT_FIT, LONG_FIT = 32, 99
TABLE_STEPS = (0, 1, 5, 10, 32)
NETWORKS_IN_CACHE = 25
"""Networks to evaluate at once: 25 fit a core's cache, and take two thirds of the time of 5,000."""


class Method(NamedTuple):
    """A row of the table: what is trained, for how long, and how many steps of fine-tuning are measured."""

    label: str
    learner: MetaLearner
    optimizer: optax.GradientTransformation
    steps: int
    fit_steps: int = SHORT_FIT


def published(learner: MetaLearner, loss_fn: LossFn) -> MetaLearner:
    """The learner as the post's notebook ran it: the support gradient, never cleared, is added to the meta-gradient."""

    def gradient(params, task, key):
        grads, metrics = learner.gradient(params, task, key)
        support_grads, _ = jax.grad(loss_fn, has_aux=True)(params, task.support, key)
        return optax.tree.add(grads, support_grads), metrics

    return learner._replace(gradient=gradient)


def on_support(learner: MetaLearner) -> MetaLearner:
    """The learner with the support set in the query's place: the post's transfer learning has no other points."""

    def gradient(params, task, key):
        return learner.gradient(params, Task(task.support, task.support), key)

    return learner._replace(gradient=gradient)


def methods(protocol: Protocol) -> dict[str, Method]:
    """Every method of the benchmark, by its name on the command line."""
    inner, outer = optax.sgd(protocol.inner_learning_rate), optax.adam(protocol.outer_learning_rate)
    transfer = jax_meta.transfer(LOSS_FN, inner, num_steps=SHORT_FIT)
    maml = jax_meta.maml(LOSS_FN, inner, num_steps=protocol.inner_steps)
    fomaml = jax_meta.fomaml(LOSS_FN, inner, num_steps=protocol.inner_steps)
    reptile = jax_meta.reptile(LOSS_FN, inner, num_steps=protocol.reptile_steps)
    per_step = optax.scale(1 / (protocol.reptile_steps * protocol.inner_learning_rate))  # (θ - φ) / (k α)
    return {
        "maml": Method("MAML", maml, outer, protocol.steps),
        "fomaml": Method("First-order MAML", fomaml, outer, protocol.steps),
        "reptile": Method("Reptile", reptile, optax.chain(per_step, outer), protocol.steps),
        "maml-published": Method("MAML, as published", published(maml, LOSS_FN), outer, protocol.steps),
        "fomaml-published": Method("First-order, as published", published(fomaml, LOSS_FN), outer, protocol.steps),
        "transfer": Method("Transfer", on_support(transfer), outer, protocol.transfer_steps, LONG_FIT),
        "random": Method("Random", transfer, outer, 0, LONG_FIT),
    }


class Outcome(NamedTuple):
    """What one method gave.

    Attributes:
        params: the trained networks, leaves `[seeds, ...]`.
        errors: test errors by number of shots, each `[seeds, tasks, fit_steps + 1]`.
        seconds: of compile, train and evaluate.
    """

    params: Any
    errors: dict[int, np.ndarray]
    seconds: dict[str, float]


@partial(jax.jit, static_argnums=1)
def initial_networks(key: jax.Array, seeds: int) -> tuple[Any, jax.Array]:
    """Parameters and run keys, one for each seed: all methods start from the same networks and meet the same tasks."""

    def initial_network(seed):
        model_key, run_key = jax.random.split(jax.random.fold_in(key, seed))
        return MODEL.init(model_key, jnp.zeros((1, 1))), run_key

    return jax.vmap(initial_network)(jnp.arange(seeds))


def initial_states(method: Method, key: jax.Array, seeds: int) -> TrainState:
    """The method's state before the first meta-step, for each seed."""
    return jax.vmap(partial(jax_meta.init, method.learner, method.optimizer))(*initial_networks(key, seeds))


def train(
    method: Method,
    protocol: Protocol,
    training_set: TrainingSet,
    states: TrainState,
    report: Report,
) -> tuple[Any, dict[str, float]]:
    """Trains all seeds at once, in equal parts each announced by `report`; returns params, seconds."""
    if not method.steps:
        return states.params, {"compile": 0.0, "train": 0.0}
    part = next(part for part in (2_000, 1_000, 500, 1) if method.steps % part == 0)
    fit_tasks = jax.jit(jax.vmap(partial(jax_meta.fit_tasks, method.learner, method.optimizer)))
    start = time.perf_counter()
    stream = task_stream(protocol, training_set, states.key)
    compiled, _ = compile_ahead(fit_tasks, stream(0, part), states)
    compile_seconds = time.perf_counter() - start  # that of the tasks, too

    def fit(learner, optimizer, sample_tasks, states, *, num_meta_steps, **options):
        tasks = sample_tasks(int(states.step[0]), num_meta_steps)
        return (compiled if num_meta_steps == part else fit_tasks)(tasks, states)

    start = time.perf_counter()
    states, _ = jax_meta.train(
        method.learner,
        method.optimizer,
        stream,  # type: ignore[arg-type] # which `fit` above alone calls
        states,
        num_meta_steps=method.steps,
        num_tasks=protocol.num_tasks,
        record_every=part,
        name=method.label,
        report=report,
        fit=fit,
    )
    return states.params, {"compile": compile_seconds, "train": time.perf_counter() - start}


def compile_evaluation(
    protocol: Protocol, params: Any, tasks: Task, fit_steps: int
) -> Callable[[Any, Task], jax.Array]:
    """Compiles `(params, tasks) -> errors [seeds, tasks, fit_steps + 1]`, the same fine-tuning for every method."""
    learner = jax_meta.transfer(LOSS_FN, optax.sgd(protocol.inner_learning_rate), num_steps=fit_steps)
    seeds = jax.tree.leaves(params)[0].shape[0]
    in_cache = max(1, NETWORKS_IN_CACHE // seeds)

    def errors(params, tasks):
        key = jax.random.key(0)  # neither the loss nor full-batch SGD draws anything
        curves = jax_meta.evaluate(learner, LOSS_FN, params, tasks, key, num_steps=fit_steps, task_batch_size=in_cache)
        return curves["loss"]

    return compile_ahead(jax.vmap(errors, in_axes=(0, None)), params, tasks)[0]
