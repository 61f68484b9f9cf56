"""How well do MAML, first-order MAML, Reptile and transfer learning learn new sines from a few points?

The post "Paper repro: Deep Metalearning using MAML and Reptile", whole: every figure and number, by one command. On two
CPU cores it takes half a minute, with fifty seeds two minutes, on the MAML paper's protocol three.

    python -m benchmarks.sinusoid                      the post's protocol, five seeds of each method
    python -m benchmarks.sinusoid --seeds 50           enough seeds to tell the methods apart
    python -m benchmarks.sinusoid --protocol maml      the MAML paper's protocol, with its Table 2
    python -m benchmarks.sinusoid --quick              seconds, for a first look

It writes results.json, table.md and the figures. Expected errors after 1 / 32 steps on the post's protocol, the means
of 50 seeds: MAML 1.5 / 0.66, first-order MAML 2.4 / 1.2, Reptile 1.9 / 0.6. Single seeds of MAML differ from these by
up to 0.8, of first-order MAML by up to 1.2. How long a meta-step takes is measured by `benchmarks.sinusoid.speed`.
"""

import argparse
import os
import time
from functools import cache, partial

import jax

from benchmarks.harness.command import COUNT, Begin, make_parser, parse, running
from benchmarks.harness.results import in_words, save_figure, write_results
from benchmarks.sinusoid.figures import FIGURES, make_scene
from benchmarks.sinusoid.methods import Experiment, Outcome, methods, run_methods
from benchmarks.sinusoid.protocol import PROTOCOLS, quick
from benchmarks.sinusoid.results import describe, table

METHODS = tuple(methods(PROTOCOLS["post"]))


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    outcomes: dict[str, Outcome] = {}
    with running(options, outcomes) as begin:
        experiment = make_experiment(options)
        print(f"protocol: {in_words(experiment.protocol._asdict())}", flush=True)
        missing = run(experiment, options, outcomes, begin)
    if missing:
        print(f"Not drawn, since --methods leaves out what they show: {', '.join(missing)}.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser("sinusoid", __doc__)
    add = parser.add_argument
    # a method a core on a CPU, since a small network keeps only one busy; one at a time on an accelerator
    jobs = os.cpu_count() or 1 if jax.default_backend() == "cpu" else 1
    add("--protocol", choices=PROTOCOLS, default="post", help="the post's, or the MAML paper's")
    add("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD", help="any of the default ones")
    add("--seeds", default=5, help="networks of each kind, trained in one vmap", **COUNT)
    add("--seed", type=int, default=0, help="fixes tasks, networks and order")
    add("--format", choices=("png", "svg", "pdf"), default="png", help="of the figures")
    add("--jobs", default=jobs, help="methods to run side by side", **COUNT)
    add("--quick", action="store_true", help="a small run of a few seconds, for a first look")
    return parse(parser, arguments)


def make_experiment(options: argparse.Namespace) -> Experiment:
    protocol = quick(PROTOCOLS[options.protocol]) if options.quick else PROTOCOLS[options.protocol]
    chosen = {name: method for name, method in methods(protocol).items() if name in options.methods}
    data_key, test_key, seed_key = jax.random.split(jax.random.key(options.seed), 3)
    return Experiment(protocol, chosen, data_key, test_key, seed_key, options.seeds)


def run(experiment: Experiment, options: argparse.Namespace, outcomes: dict[str, Outcome], begin: Begin) -> list[str]:
    """Fills `outcomes`, writes each result and draws each figure as soon as it can be; returns those that cannot."""
    start = time.perf_counter()
    pending = dict(FIGURES)
    scene = cache(partial(make_scene, experiment.protocol, options.seed, outcomes))  # while the methods are at work

    def draw_ready() -> None:
        for name in [name for name, (shown, _) in pending.items() if outcomes.keys() >= set(shown)]:
            save_figure(options.output / f"{name}.{options.format}", pending.pop(name)[1](scene()))

    settings = {name: getattr(options, name) for name in ("seeds", "seed", "quick", "jobs")}
    for name, outcome in run_methods(experiment, options.jobs, begin):
        outcomes[name] = outcome
        draw_ready()
        seconds = round(time.perf_counter() - start, 1)
        content = {**settings, "seconds": seconds, **describe(experiment, outcomes)}
        write_results(options, content, table(content))
    return list(pending)


if __name__ == "__main__":
    main()
