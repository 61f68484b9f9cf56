"""The methods: how each is trained, how all are evaluated, and how they work side by side."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from functools import partial
from threading import Event
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.harness.jax_networks import compile_ahead, compiled_soon
from benchmarks.harness.progress import Begin, Tell
from benchmarks.sinusoid.protocol import Protocol, TrainingSet, make_test_tasks, make_training_set, task_stream
from jax_meta import LossFn, MetaLearner, Task, TrainState
from jax_meta.runs.progress import Progress, describe

MODEL = jax_meta.models.MLP()
LOSS_FN = jax_meta.regression(MODEL.apply)
SHORT_FIT, LONG_FIT = 32, 99
TABLE_STEPS = (0, 1, 5, 10, 32)
NETWORKS_IN_CACHE = 25  # networks to evaluate at once: 25 fit a core's cache, and take two thirds of the time of 5,000


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


class Experiment(NamedTuple):
    protocol: Protocol
    methods: dict[str, Method]
    data_key: jax.Array  # fixes the training tasks
    test_key: jax.Array  # fixes the test tasks
    seed_key: jax.Array  # fixes the networks, and the order in which they meet the tasks
    seeds: int  # networks of each kind


class Outcome(NamedTuple):
    params: Any  # the trained networks, leaves `[seeds, ...]`
    errors: dict[int, np.ndarray]  # test errors by number of shots, each `[seeds, tasks, fit_steps + 1]`
    seconds: dict[str, float]  # of compile, train and evaluate


@partial(compiled_soon, static_argnums=1)
def initial_networks(key: jax.Array, seeds: int) -> tuple[Any, jax.Array]:
    """Parameters and run keys, one for each seed: all methods start from the same networks and meet the same tasks."""

    def initial_network(seed):
        model_key, run_key = jax.random.split(jax.random.fold_in(key, seed))
        return MODEL.init(model_key, jnp.zeros((1, 1))), run_key

    return jax.vmap(initial_network)(jnp.arange(seeds))


def initial_states(method: Method, key: jax.Array, seeds: int) -> TrainState:
    return jax.vmap(partial(jax_meta.init, method.learner, method.optimizer))(*initial_networks(key, seeds))


def compile_training(method: Method, tasks: Task, states: TrainState) -> tuple[Any, float]:
    """Compiles `(tasks, states) -> (states, history)` for all seeds at once; and the seconds that it took."""
    return compile_ahead(
        jax.vmap(partial(jax_meta.fit_tasks, method.learner, method.optimizer)), tasks, states, jit=compiled_soon
    )


def train(
    method: Method, protocol: Protocol, training_set: TrainingSet, states: TrainState, tell: Tell
) -> tuple[Any, dict[str, float]]:
    """Trains all seeds at once, in equal parts each of which is told; returns params, seconds."""
    if not method.steps:
        return states.params, {"compile": 0.0, "train": 0.0}
    part = next(part for part in (2_000, 1_000, 500, 1) if method.steps % part == 0)
    begin = time.perf_counter()
    stream = task_stream(protocol, training_set, states.key)
    compiled, _ = compile_training(method, stream(0, part), states)
    start = time.perf_counter()
    for step in range(part, method.steps + 1, part):
        states, history = compiled(stream(step - part, part), states)
        jax_meta.check_finite(history, first_step=step - part)
        speed = step / (time.perf_counter() - start)
        tell(describe(Progress(step, method.steps, speed, {"loss": float(history["loss"].mean())})), step)
    return states.params, {"compile": start - begin, "train": time.perf_counter() - start}


def compile_evaluation(protocol: Protocol, params: Any, tasks: Task, fit_steps: int) -> Callable[..., jax.Array]:
    """Compiles `(params, tasks) -> errors [seeds, tasks, fit_steps + 1]`, the same fine-tuning for every method."""
    learner = jax_meta.transfer(LOSS_FN, optax.sgd(protocol.inner_learning_rate), num_steps=fit_steps)
    in_cache = max(1, NETWORKS_IN_CACHE // jax.tree.leaves(params)[0].shape[0])

    def errors(params, tasks):
        key = jax.random.key(0)  # neither the loss nor full-batch SGD draws anything
        curves = jax_meta.evaluate(learner, LOSS_FN, params, tasks, key, num_steps=fit_steps, task_batch_size=in_cache)
        return curves["loss"]

    return compile_ahead(jax.vmap(errors, in_axes=(0, None)), params, tasks, jit=compiled_soon)[0]


def run_methods(experiment: Experiment, jobs: int, begin: Begin) -> Iterator[tuple[str, Outcome]]:
    """Runs so many methods at a time, each in a thread, and yields each as it finishes; evaluations compile first."""
    protocol, chosen, data_key, test_key, seed_key, seeds = experiment
    with begin("tasks and networks", 1):
        training_set = make_training_set(protocol, data_key)
        tests = {shots: make_test_tasks(protocol, test_key, shots) for shots in protocol.test_shots}
        states = {name: initial_states(method, seed_key, seeds) for name, method in chosen.items()}
    params, stop = next(iter(states.values())).params, Event()

    def run(method: Method, states: TrainState) -> Outcome:
        with begin(method.label, method.steps) as show:

            def tell(doing: str, step: int = method.steps) -> None:
                if stop.is_set():
                    raise CancelledError
                show(doing, step)

            tell("compiles", 0)
            params, seconds = train(method, protocol, training_set, states, tell)
            tell("waits")
            evaluate = {shots: compiled[method.fit_steps, shots].result() for shots in tests}
            tell("evaluates")
            start = time.perf_counter()
            errors = {shots: np.asarray(evaluate[shots](params, tasks)) for shots, tasks in tests.items()}
            seconds["evaluate"] = time.perf_counter() - start
            return Outcome(jax.tree.map(np.asarray, params), errors, seconds)

    with ThreadPoolExecutor(jobs) as pool:
        compiled = {
            (fit_steps, shots): pool.submit(compile_evaluation, protocol, params, tasks, fit_steps)
            for fit_steps in sorted({method.fit_steps for method in chosen.values()})
            for shots, tasks in tests.items()
        }
        undrawn_last = sorted(chosen, key=lambda name: name.endswith("-published"))  # figures are drawn meanwhile
        futures = {pool.submit(run, chosen[name], states[name]): name for name in undrawn_last}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
