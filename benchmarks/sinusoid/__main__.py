"""The post "Paper repro: Deep Metalearning using MAML and Reptile", whole: every figure and number, by one command.

    python -m benchmarks.sinusoid                      the post's protocol, five seeds of each method
    python -m benchmarks.sinusoid --seeds 50           enough seeds to tell the methods apart
    python -m benchmarks.sinusoid --protocol maml      the MAML paper's protocol, with its Table 2
    python -m benchmarks.sinusoid --quick              seconds, for a first look

It writes results.json, table.md and the figures. Expected errors after 1 / 32 steps on the post's protocol, the means
of 50 seeds: MAML 1.5 / 0.65, first-order MAML 2.4 / 1.2, Reptile 1.9 / 0.6. Single seeds of MAML differ from these by
up to 0.8, of first-order MAML by up to 1.2.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.progress import Progress, TaskID

from benchmarks.harness.report import environment, make_output_folder, positive, progress_bars, write_json, write_text
from benchmarks.sinusoid import methods as sine_methods
from benchmarks.sinusoid.figures import FIGURES, Draw, Scene, make_scene
from benchmarks.sinusoid.methods import Method, Outcome
from benchmarks.sinusoid.protocol import PROTOCOLS, Protocol, make_test_tasks, make_training_set, quick
from benchmarks.sinusoid.results import describe_outcome, differences, results_table
from jax_meta.runs import progress as progress_of_run

METHODS = tuple(sine_methods.methods(PROTOCOLS["post"]))


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


def main(arguments: list[str] | None = None) -> None:
    """The command: checks what can be checked, runs, and says where the results are."""
    start = time.perf_counter()
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    experiment = make_experiment(options)
    print(f"protocol: {json.dumps(experiment.protocol._asdict())}")
    outcomes: dict[str, Outcome] = {}
    try:
        missing = run(experiment, options, outcomes, start)
    except KeyboardInterrupt:
        print(f"stopped; finished, and kept in {output}: {', '.join(outcomes) or 'no method yet'}")
        sys.exit(130)
    except FloatingPointError as error:
        sys.exit(f"{error}\nfinished, and kept in {output}: {', '.join(outcomes) or 'no method yet'}")
    print((output / "table.md").read_text(encoding="utf-8"))
    if missing:
        print(f"Not drawn, since --methods leaves out what they show: {', '.join(missing)}.")
    print(f"{output} holds results.json, table.md and {len(FIGURES) - len(missing)} figures.")


def run(
    experiment: Experiment, options: argparse.Namespace, outcomes: dict[str, Outcome], start: float
) -> dict[str, Draw]:
    """Runs the methods side by side; fills `outcomes`, writes each result and draws each figure as soon as it can be.

    Returns the figures that lack a method.
    """
    stop = threading.Event()
    with progress_bars() as progress, ThreadPoolExecutor(options.jobs) as pool:
        try:
            futures = start_methods(experiment, pool, progress, stop)
            scene = make_scene(experiment.protocol, options.seed, outcomes)
            pending = draw_ready(scene, options, FIGURES)
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                write_results(options, experiment, outcomes, time.perf_counter() - start)
                pending = draw_ready(scene, options, pending)
            write_results(options, experiment, outcomes, time.perf_counter() - start)
            return pending
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Trains and evaluates every method of the post on sines; writes results.json, table.md, figures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--protocol", choices=PROTOCOLS, default="post", help="the post's, or the MAML paper's")
    add("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD", help="any of the default ones")
    add("--seeds", type=positive, default=5, help="networks of each kind, trained in one vmap")
    add("--seed", type=int, default=0, help="fixes tasks, networks and order")
    add("--output", type=Path, default=Path("results/sinusoid"), help="folder to write to; it is created")
    add("--format", choices=("png", "svg", "pdf"), default="png", help="of the figures")
    add("--jobs", type=positive, default=default_jobs(), help="methods to run side by side")
    add("--quick", action="store_true", help="a small run of a few seconds, for a first look")
    return parser.parse_args(arguments)


def default_jobs() -> int:
    """A method a core on a CPU, since a small network keeps only one busy; one at a time on an accelerator."""
    return os.cpu_count() or 1 if jax.default_backend() == "cpu" else 1


def make_experiment(options: argparse.Namespace) -> Experiment:
    """Everything that the numbers depend on."""
    protocol = quick(PROTOCOLS[options.protocol]) if options.quick else PROTOCOLS[options.protocol]
    chosen = {name: method for name, method in sine_methods.methods(protocol).items() if name in options.methods}
    data_key, test_key, seed_key = jax.random.split(jax.random.key(options.seed), 3)
    return Experiment(protocol, chosen, data_key, test_key, seed_key, options.seeds)


def start_methods(
    experiment: Experiment, pool: ThreadPoolExecutor, progress: Progress, stop: threading.Event
) -> dict[Future[Outcome], str]:
    """Queues the methods, and before them the compilation of the evaluations that they share."""
    protocol, chosen, data_key, test_key, seed_key, seeds = experiment
    training_set = make_training_set(protocol, data_key)
    tests = {shots: make_test_tasks(protocol, test_key, shots) for shots in protocol.test_shots}
    states = {name: sine_methods.initial_states(method, seed_key, seeds) for name, method in chosen.items()}
    params = next(iter(states.values())).params
    compiled = {
        (fit_steps, shots): pool.submit(sine_methods.compile_evaluation, protocol, params, tasks, fit_steps)
        for fit_steps in sorted({method.fit_steps for method in chosen.values()})
        for shots, tasks in tests.items()
    }

    def run(name: str, bar: TaskID) -> Outcome:
        method = chosen[name]

        def tell(status: str, step: int | None = None) -> None:
            if stop.is_set():
                raise Stopped
            progress.update(bar, status=status, completed=step)

        def report(now: progress_of_run.Progress) -> None:
            tell(f"{now.steps_per_second:,.0f} steps/s", now.step)

        tell("compiles")
        params, seconds = sine_methods.train(method, protocol, training_set, states[name], report)
        tell("waits")
        evaluate = {shots: compiled[method.fit_steps, shots].result() for shots in tests}
        tell("evaluates")
        begin = time.perf_counter()
        errors = {shots: np.asarray(evaluate[shots](params, tasks)) for shots, tasks in tests.items()}
        tell("finished")
        return Outcome(jax.tree.map(np.asarray, params), errors, {**seconds, "evaluate": time.perf_counter() - begin})

    bars = {name: progress.add_task(method.label, total=method.steps, status="") for name, method in chosen.items()}
    return {pool.submit(run, name, bar): name for name, bar in bars.items()}


def draw_ready(scene: Scene, options: argparse.Namespace, pending: Mapping[str, Draw]) -> dict[str, Draw]:
    """Draws the figures whose methods are all finished; returns the others."""
    later = {}
    for name, draw in pending.items():
        if set(draw.needs) <= set(scene.outcomes):
            draw.figure(scene).savefig(options.output / f"{name}.{options.format}")
        else:
            later[name] = draw
    return later


def write_results(
    options: argparse.Namespace, experiment: Experiment, outcomes: Mapping[str, Outcome], seconds: float
) -> None:
    """Writes results.json and table.md for the methods finished so far."""
    chosen = experiment.methods
    ordered = {name: outcomes[name] for name in chosen if name in outcomes}
    content = {
        **environment(),
        "protocol": experiment.protocol._asdict(),
        **{name: getattr(options, name) for name in ("seeds", "seed", "quick", "jobs")},
        "seconds": round(seconds, 1),
        "methods": {name: describe_outcome(chosen[name], outcome) for name, outcome in ordered.items()},
        "differences": differences(ordered),
    }
    write_json(options.output / "results.json", content)
    write_text(options.output / "table.md", results_table(experiment.protocol, chosen, ordered))


if __name__ == "__main__":
    main()
