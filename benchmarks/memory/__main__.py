"""How much memory does a second-order meta-gradient need, and what does it cost in time to need less?

    python -m benchmarks.memory          about 25 minutes on two CPU cores

Conv4-64 on 28 x 28 images, 4 tasks, 5 ways, 1 shot, 15 queries a class, SGD, float32: what the process has resident at
its peak, and what the compiled program needs beside arguments and results, against inner steps; the latter also against
tasks and filters. Then a perceptron of eight hidden layers. The ways of `jax_meta` to keep less for the backward pass
stand beside plain JAX and, where they are installed (the extras `test` and `peers`), PyTorch and its libraries.

Each variant works in a process of its own that imports what it needs and no more: first one that compiles, then one
that finds the program in JAX's compilation cache. All must agree on the meta-gradient, take turns, and are timed
without compilation. One that is missing, fails or takes too long is reported; the others go on. It writes results.json,
table.md and memory.png, anew after each number of steps.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.harness.command import COUNT, COUNTS, make_parser, parse, positive, running
from benchmarks.harness.jax_networks import initial_weights
from benchmarks.harness.processes import Machine
from benchmarks.harness.rounds import Turns
from benchmarks.harness.workloads import Workload, conv4, save_problem, task_source
from benchmarks.memory.measure import TOLERANCE, VARIANTS, Variants, measure, measure_compiled, of_kind, perceptron
from benchmarks.memory.results import Findings, write


class Plan(NamedTuple):
    workload: Workload = conv4(4, 5)  # its inner steps are those at which tasks and filters vary
    inner_steps: tuple[int, ...] = (1, 5, 20, 100)  # each of them with all variants
    num_tasks: tuple[int, ...] = (1, 4, 16, 64)  # a meta-step to compile for, at the workload's width
    widths: tuple[int, ...] = (16, 32, 64, 128)  # filters to compile for, at the workload's tasks
    perceptron: Mapping[str, int] = {"layers": 8, "width": 256, "examples": 4096, "inner_steps": 16}  # of `in_jax.mlp`
    repeats: int = 3  # rounds after the first
    seconds: float = 10.0  # a variant takes no further turn once its turns have lasted so long

    def sizes(self) -> list[dict]:
        """Tasks and filters to compile for."""
        num_tasks, width = self.workload.num_tasks, self.workload.width
        by_tasks = [{"num_tasks": number, "width": width} for number in self.num_tasks]
        return by_tasks + [{"num_tasks": num_tasks, "width": other} for other in self.widths if other != width]


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("memory", __doc__)
    add, names = parser.add_argument, list(VARIANTS)
    add("--steps", default=Plan().inner_steps, help="numbers of inner steps", **COUNTS)
    add("--variants", nargs="+", choices=names, default=names, metavar="VARIANT", help="what is compared")
    add("--repeats", default=3, help="rounds after the first, fewer for what is slow", **COUNT)
    add("--timeout", type=positive, default=400, metavar="S", help="seconds of a compilation or a meta-gradient")
    options = parse(parser, arguments)
    jax.config.update("jax_platforms", "cpu")  # where the processes that are measured work, too
    variants = {name: variant for name, variant in VARIANTS.items() if name in options.variants}
    plan = Plan(inner_steps=tuple(sorted(set(options.steps))), repeats=options.repeats)
    run(plan, variants, Machine("cpu", os.cpu_count() or 1, options.timeout), options)


def run(plan: Plan, variants: Variants, machine: Machine, options: argparse.Namespace) -> None:
    findings, ours = Findings({}, {}, {}), of_kind(variants, "ours")
    settings = {"workload": plan.workload._asdict(), "perceptron": dict(plan.perceptron)}
    kept = f"what was finished is kept in {options.output}"
    with running(options, kept=kept) as begin, tempfile.TemporaryDirectory() as name:
        folder, turns = Path(name), Turns(plan.repeats, plan.seconds)
        for steps in plan.inner_steps:
            with begin(f"{steps} inner steps", len(variants) * (1 + plan.repeats)) as tell:
                problem, told = images(plan.workload._replace(inner_steps=steps), folder), turns._replace(tell=tell)
                findings.by_steps[steps] = measure(variants, problem, machine, folder, told, TOLERANCE * steps)
            write(options, settings, findings, variants)
        apart = folder / "sizes"  # so that nothing is found in the compilation cache
        apart.mkdir()
        with begin("tasks and filters", len(ours) * len(plan.sizes())) as tell:
            arguments = [images(plan.workload._replace(**size), folder) for size in plan.sizes()]
            for variant, records in measure_compiled(ours, arguments, machine, apart, tell).items():
                sizes = zip(plan.sizes(), records, strict=True)
                findings.sizes[variant] = [size | record for size, record in sizes]
        chosen = perceptron(ours)
        with begin("MLP", len(chosen) * (1 + plan.repeats)) as tell:
            told = turns._replace(tell=tell)
            findings.perceptron.update(measure(chosen, dict(plan.perceptron), machine, folder, told))
        write(options, settings, findings, variants)


def images(workload: Workload, folder: Path) -> dict:
    """The arguments of a variant, with weights and tasks in a file, so that no process has to make them."""
    problem = folder / f"problem-{workload.num_tasks}-{workload.width}"
    if not problem.exists():
        tasks = task_source(workload)(np.random.default_rng(1))
        save_problem(problem, initial_weights(workload), [tasks])
    return {"workload": workload._asdict(), "problem": str(problem)}


if __name__ == "__main__":
    main()
