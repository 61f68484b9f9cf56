"""The methods side by side, each in a thread: a small network keeps no more than one core busy."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.harness.progress import Begin
from benchmarks.sinusoid.methods import Method, Outcome, compile_evaluation, initial_states, train
from benchmarks.sinusoid.protocol import Protocol, make_test_tasks, make_training_set
from jax_meta.runs.progress import in_words


class Experiment(NamedTuple):
    """What the command line asks for.

    Attributes:
        protocol: the protocol, of full or quick size.
        methods: what to run, by name.
        data_key: fixes the training tasks.
        test_key: fixes the test tasks.
        seed_key: fixes the networks, and the order in which they meet the tasks.
        seeds: networks of each kind.
    """

    protocol: Protocol
    methods: dict[str, Method]
    data_key: jax.Array
    test_key: jax.Array
    seed_key: jax.Array
    seeds: int


class Stopped(Exception):  # noqa: N818 - a wish of the user, not an error
    """Ends a method between two parts of its training."""


@contextmanager
def in_threads(experiment: Experiment, jobs: int, begin: Begin) -> Iterator[dict[Future[Outcome], str]]:
    """Yields the methods at work, by future; those that are not finished in the end are stopped."""
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield start_methods(experiment, pool, begin, stop)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def start_methods(
    experiment: Experiment, pool: ThreadPoolExecutor, begin: Begin, stop: threading.Event
) -> dict[Future[Outcome], str]:
    """Queues the methods, and before them the compilation of the evaluations that they share."""
    protocol, chosen, data_key, test_key, seed_key, seeds = experiment
    training_set = make_training_set(protocol, data_key)
    tests = {shots: make_test_tasks(protocol, test_key, shots) for shots in protocol.test_shots}
    states = {name: initial_states(method, seed_key, seeds) for name, method in chosen.items()}
    params = next(iter(states.values())).params
    compiled = {
        (fit_steps, shots): pool.submit(compile_evaluation, protocol, params, tasks, fit_steps)
        for fit_steps in sorted({method.fit_steps for method in chosen.values()})
        for shots, tasks in tests.items()
    }

    def run(name: str) -> Outcome:
        method = chosen[name]
        with begin(method.label, method.steps) as show:

            def tell(doing: str, step: int = method.steps) -> None:
                if stop.is_set():
                    raise Stopped
                show(doing, step)

            tell("compiles", 0)
            report = in_words(lambda doing, now: tell(doing, now.step))
            params, seconds = train(method, protocol, training_set, states[name], report)
            tell("waits")
            evaluate = {shots: compiled[method.fit_steps, shots].result() for shots in tests}
            tell("evaluates")
            start = time.perf_counter()
            errors = {shots: np.asarray(evaluate[shots](params, tasks)) for shots, tasks in tests.items()}
            seconds["evaluate"] = time.perf_counter() - start
            return Outcome(jax.tree.map(np.asarray, params), errors, seconds)

    return {pool.submit(run, name): name for name in chosen}
