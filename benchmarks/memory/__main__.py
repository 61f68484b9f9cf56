"""How much memory does a second-order meta-gradient need, and what does it cost in time to need less?

    python -m benchmarks.memory                        about 25 minutes on two CPU cores

Conv4-64 on 28 x 28 images, 4 tasks, 5 ways, 1 shot, 15 queries a class, SGD, float32: what the process has resident at
its peak, and what the compiled program needs beside arguments and results, against inner steps; the latter also against
tasks and filters. Then a perceptron of eight hidden layers. The ways of `jax_meta` to keep less for the backward pass
stand beside plain JAX and, where they are installed (the extras `test` and `peers`), PyTorch and its libraries. Each
variant works in a process of its own that imports what it needs and no more: first one that compiles, then one that
finds the program in JAX's compilation cache. All must agree on the meta-gradient, take turns, and are timed without
compilation. One that is missing, fails or takes too long is reported; the others go on.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.progress import Progress

from benchmarks.harness.report import environment, make_output_folder, positive, progress_bars, write_json, write_text
from benchmarks.memory.figure import draw
from benchmarks.memory.measure import TOLERANCE, Record, Tell, measure, measure_compiled
from benchmarks.memory.results import PEER_STEPS, mark, tables, tidy
from benchmarks.memory.variants import VARIANTS, Variant, perceptron
from benchmarks.peers.jax_peers import initial_weights
from benchmarks.peers.processes import Machine
from benchmarks.peers.workloads import Workload, conv4, save_problem, task_source


class Plan(NamedTuple):
    """What is measured.

    Attributes:
        workload: of images; its inner steps are those at which tasks and filters vary.
        inner_steps: each of them with all variants.
        num_tasks: tasks a meta-step to compile for, at the workload's width.
        widths: filters to compile for, at the workload's tasks.
        perceptron: the arguments of `remembering.in_jax.mlp`.
        repeats: rounds after the first.
        seconds: a variant takes no further turn once its turns have lasted so long.
    """

    workload: Workload = conv4(4, 5)
    inner_steps: tuple[int, ...] = (1, 5, 20, 100)
    num_tasks: tuple[int, ...] = (1, 4, 16, 64)
    widths: tuple[int, ...] = (16, 32, 64, 128)
    perceptron: Mapping[str, int] = {"layers": 8, "width": 256, "examples": 4096, "inner_steps": 16}
    repeats: int = 3
    seconds: float = 10.0


class Findings(NamedTuple):
    """What has been measured so far: by inner steps and variant; by variant, one a size; and by variant."""

    by_steps: dict[int, dict[str, Record]]
    sizes: dict[str, list[Record]]
    perceptron: dict[str, Record]


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    jax.config.update("jax_platforms", "cpu")  # where the processes that are measured work, too
    variants = {name: variant for name, variant in VARIANTS.items() if name in options.variants}
    plan = Plan(inner_steps=tuple(sorted(set(options.steps))), repeats=options.repeats)
    machine = Machine("cpu", os.cpu_count() or 1, options.timeout)
    try:
        run(plan, variants, machine, output)
    except KeyboardInterrupt:
        print(f"stopped; what was finished is kept in {output}")
        sys.exit(130)
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json, table.md and memory.png.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Memory and time of second-order meta-gradients through Conv4-64.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, names = parser.add_argument, list(VARIANTS)
    add("--steps", type=positive, nargs="+", default=list(Plan().inner_steps), help="numbers of inner steps")
    add("--variants", nargs="+", choices=names, default=names, metavar="VARIANT", help="any of the default ones")
    add("--repeats", type=positive, default=3, help="rounds after the first, fewer for what is slow")
    add("--timeout", type=positive, default=400, help="seconds that a compilation or a meta-gradient may take")
    add("--output", type=Path, default=Path("results/memory"), help="folder to write to; it is created")
    return parser.parse_args(arguments)


def run(plan: Plan, variants: Mapping[str, Variant], machine: Machine, output: Path) -> None:
    """Measures inner steps, sizes and the perceptron, and writes after each what is known."""
    findings = Findings({}, {}, {})
    with progress_bars() as progress, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        take_turns = partial(measure, machine=machine, folder=folder, repeats=plan.repeats, seconds=plan.seconds)
        for steps in plan.inner_steps:
            arguments = images(plan.workload._replace(inner_steps=steps), folder)
            tell = teller(progress, f"{steps} inner steps", len(variants) * (1 + plan.repeats))
            findings.by_steps[steps] = take_turns(variants, arguments, TOLERANCE * steps, tell)
            write_results(output, plan, findings, variants)
        ours = {name: variant for name, variant in variants.items() if variant.entry.kind == "ours"}
        findings.sizes.update(measure_sizes(plan, ours, machine, folder, progress))
        chosen = perceptron(ours)
        tell = teller(progress, "MLP", len(chosen) * (1 + plan.repeats))
        findings.perceptron.update(take_turns(chosen, plan.perceptron, TOLERANCE, tell))
        write_results(output, plan, findings, variants)


def teller(progress: Progress, description: str, total: int) -> Tell:
    """A new bar, and a function that moves it on."""
    bar = progress.add_task(description, total=total, status="")
    return lambda doing: progress.update(bar, advance=1, status=doing)


def images(workload: Workload, folder: Path) -> dict[str, Any]:
    """The arguments of a variant, with weights and tasks in a file, so that no process has to make them."""
    problem = folder / f"problem-{workload.num_tasks}-{workload.width}.npz"
    if not problem.exists():
        tasks = task_source(workload)(np.random.default_rng(1))
        save_problem(problem, initial_weights(workload), [tasks])
    return {"workload": workload._asdict(), "problem": str(problem)}


def measure_sizes(
    plan: Plan, variants: Mapping[str, Variant], machine: Machine, folder: Path, progress: Progress
) -> dict[str, list[Record]]:
    """Temporary memory against tasks, then against width."""
    workload = plan.workload
    sizes = [(num_tasks, workload.width) for num_tasks in plan.num_tasks]
    sizes += [(workload.num_tasks, width) for width in plan.widths if width != workload.width]
    arguments = [images(workload._replace(num_tasks=tasks, width=width), folder) for tasks, width in sizes]
    tell = teller(progress, "tasks and filters", len(variants) * len(sizes))
    apart = folder / "sizes"  # so that nothing is found in the compilation cache
    apart.mkdir()
    found = measure_compiled(variants, arguments, machine, apart, tell=tell)
    return {
        name: [
            {"num_tasks": tasks, "width": width, **record}
            for (tasks, width), record in zip(sizes, records, strict=True)
        ]
        for name, records in found.items()
    }


def write_results(output: Path, plan: Plan, findings: Findings, variants: Mapping[str, Variant]) -> None:
    """Writes results.json, table.md and memory.png."""

    def each(row: Mapping[str, Record]) -> dict[str, Record]:
        return {name: tidy(record) for name, record in row.items()}

    content = {
        **environment(),
        "workload": plan.workload._asdict(),
        "perceptron": dict(plan.perceptron),
        "variants": {name: variant.entry.label for name, variant in variants.items()},
        f"leanest_peer_at_{PEER_STEPS}_steps": mark(findings.by_steps, variants),
        "by_inner_steps": {steps: each(row) for steps, row in findings.by_steps.items()},
        "by_size": {name: [tidy(record) for record in row] for name, row in findings.sizes.items()},
        "of_the_perceptron": each(findings.perceptron),
    }
    write_json(output / "results.json", content)
    write_text(output / "table.md", tables(*findings, variants))
    draw(findings.by_steps, variants).savefig(output / "memory.png")


if __name__ == "__main__":
    main()
