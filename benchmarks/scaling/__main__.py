"""How meta-steps scale over devices: measured on CPU devices, processes or a GPU, and on paper.

    python -m benchmarks.scaling                   about five minutes on two CPU cores
    python -m benchmarks.scaling --workloads sine --repeats 3 --seconds 0.2           about two minutes
    python -m benchmarks.scaling --parts paper --flop-rate 1e14 --bandwidth 1e11      seconds

On CPU, second-order MAML through `jax_meta.fit` runs on 1, 2, 4, 8 devices of one process, and in 1, 2, 4 processes of
one device each, which talk over the loopback address: with as many tasks on every device (weak scaling), and with as
many tasks in every step (strong scaling). These devices share the machine's cores, so they show what spreading costs
and not what more devices gain. On a GPU, the tasks of a step grow until its memory is full. The bytes that are
all-reduced are read from the compiled program. The model on paper, in `spreading/paper.py`, has its assumptions as
options.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks.harness.report import (
    environment,
    make_output_folder,
    positive,
    positive_number,
    progress_bars,
    rounded,
    write_json,
    write_text,
)
from benchmarks.peers.processes import PeerError
from benchmarks.scaling.figure import draw
from benchmarks.scaling.measure import Load, measure_batches, measure_groups, powers_of_four, turns
from benchmarks.scaling.networks import NETWORKS, work_of
from benchmarks.scaling.paper import Machine, Work
from benchmarks.scaling.results import make_tables, on_paper
from benchmarks.scaling.training import WORKLOADS

PARTS = ("devices", "processes", "batches", "paper")
LOADS = {"sine": Load(32, 64), "conv4": Load(1, 4), "tiny": Load(2, 4)}
FLOP_RATE, BANDWIDTH, LATENCY = 1e13, 2.5e10, 5e-6
"""An accelerator that achieves 10 TFLOP/s, with a network card of 200 Gbit/s to itself, and 5 µs a message."""


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    machine = Machine(options.flop_rate, options.bandwidth, options.latency, options.reduction)
    networks = options.networks if "paper" in options.parts else []
    works = {name: work_of(NETWORKS[name], options.inner_steps) for name in networks}
    try:
        told = measure_all(options, machine, works)
    except PeerError as error:
        raise SystemExit(f"a process of the measurement {error}") from None
    cores = os.cpu_count() or 1
    write_results(output, options, told, cores, machine, works)
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json, table.md and scaling.png.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Steps a second and efficiency of meta-steps against devices, measured and on paper."
    )
    add_measured(parser.add_argument_group("what is measured").add_argument)
    add_paper(parser.add_argument_group("the model on paper").add_argument)
    parser.add_argument(
        "--output", type=Path, default=Path("results/scaling"), help="folder to write to; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if options.parts is None:
        options.parts = ["devices", "processes", "paper"] if jax.default_backend() == "cpu" else ["batches", "paper"]
    for name in ("devices", "processes"):
        counts = sorted(set(getattr(options, name)))
        if counts[0] != 1:
            parser.error(f"--{name} needs 1 among its numbers, against which the others are measured")
        setattr(options, name, counts)
    return options


def add_measured(add: Callable[..., Any]) -> None:
    """Options of the measurements."""
    add(
        "--parts",
        nargs="+",
        choices=PARTS,
        help="what to do; default: devices, processes and paper on CPU, otherwise batches and paper",
    )
    add(
        "--workloads",
        nargs="+",
        choices=list(WORKLOADS),
        default=["sine", "conv4"],
        help="what is trained; default: %(default)s",
    )
    add(
        "--devices",
        type=positive,
        nargs="+",
        default=[1, 2, 4, 8],
        help="CPU devices of one process; default: %(default)s",
    )
    add(
        "--processes",
        type=positive,
        nargs="+",
        default=[1, 2, 4],
        help="processes of one CPU device each; default: %(default)s",
    )
    add("--tasks-per-device", type=positive, help="in weak scaling; default: 32 on sines and 1 on images")
    add("--tasks-per-step", type=positive, help="in strong scaling; default: 64 on sines and 4 on images")
    add(
        "--max-tasks",
        type=positive,
        default=4096,
        help="most tasks a step of the part batches: 1, 4, 16, ...; default: %(default)s",
    )
    add(
        "--seconds",
        type=positive_number,
        default=0.5,
        help="the length of a turn, at least one call of fit; default: %(default)s",
    )
    add(
        "--repeats",
        type=positive,
        default=5,
        help="rounds in which all take turns; medians are reported; default: %(default)s",
    )


def add_paper(add: Callable[..., Any]) -> None:
    """Options of the model on paper."""
    add("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="networks; default: %(default)s")
    add("--inner-steps", type=positive, default=1, help="inner steps of second-order MAML; default: %(default)s")
    add(
        "--paper-tasks", type=positive, nargs="+", default=[4, 32, 512, 4096], help="tasks a step; default: %(default)s"
    )
    add(
        "--paper-devices",
        type=positive,
        nargs="+",
        default=[8, 64, 512],
        help="numbers of devices; default: %(default)s",
    )
    add(
        "--flop-rate",
        type=positive_number,
        default=FLOP_RATE,
        help="FLOP/s that a device achieves, not its peak; default: %(default)s",
    )
    add(
        "--bandwidth",
        type=positive_number,
        default=BANDWIDTH,
        help="bytes/s of a link in each direction; default: %(default)s",
    )
    add(
        "--latency", type=positive_number, default=LATENCY, help="seconds until a message arrives; default: %(default)s"
    )
    add("--reduction", choices=("ring", "tree"), default="ring", help="the kind of all-reduce; default: %(default)s")


def measure_all(options: argparse.Namespace, machine: Machine, works: dict[str, Work]) -> dict[str, Any]:
    """The records of every part, with a bar."""
    given = {"per_device": options.tasks_per_device, "per_step": options.tasks_per_step}
    changed = {name: value for name, value in given.items() if value}
    loads = {name: LOADS[name]._replace(**changed) for name in options.workloads}
    told: dict[str, Any] = {}
    with progress_bars() as bars, tempfile.TemporaryDirectory() as folder:

        def stage(name: str, total: int):
            bar = bars.add_task(name, total=total, status="")
            return lambda status: bars.update(bar, advance=1, status=status)

        turn = {"seconds": options.seconds, "repeats": options.repeats}
        for what in ("devices", "processes"):
            if what in options.parts:
                counts = getattr(options, what)
                tell = stage(what, turns(loads, counts, options.repeats))
                across = what == "processes"
                told[what] = measure_groups(
                    loads, counts, across_processes=across, folder=Path(folder), tell=tell, **turn
                )
        if "batches" in options.parts:
            most = len(options.workloads) * len(powers_of_four(options.max_tasks))
            tell = stage("batches", most * (options.repeats + 2))
            told["batches"] = measure_batches(options.workloads, options.max_tasks, tell=tell, **turn)
    if "paper" in options.parts:
        told["paper"] = on_paper(machine, works, options.paper_tasks, options.paper_devices)
    return told


def write_results(
    output: Path,
    options: argparse.Namespace,
    told: dict[str, Any],
    cores: int,
    machine: Machine,
    works: dict[str, Work],
) -> None:
    """Writes results.json, table.md and scaling.png."""
    settings = {name: value for name, value in vars(options).items() if name != "output"}
    records = {part: [rounded_numbers(record) for record in told[part]] for part in told}
    write_json(output / "results.json", {**environment(), "cores": cores, "settings": settings, **records})
    write_text(output / "table.md", make_tables(told, cores, machine, options.paper_devices))
    draw(told, cores, machine, works, max(options.paper_devices)).savefig(output / "scaling.png")


def rounded_numbers(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose fractions have five significant digits; whole numbers stay as they are."""
    return {name: rounded(value) if isinstance(value, float | list) else value for name, value in record.items()}


if __name__ == "__main__":
    main()
