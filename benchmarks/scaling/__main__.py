"""How do meta-steps scale over devices: measured on CPU devices, processes or a GPU, and on paper?

    python -m benchmarks.scaling         about five minutes on two CPU cores
    python -m benchmarks.scaling --workloads sine --repeats 3        two minutes
    python -m benchmarks.scaling --parts paper --flop-rate 1e14      seconds

On CPU, second-order MAML through `jax_meta.fit` runs on 1, 2, 4, 8 devices of one process, and in 1, 2, 4 processes of
one device each, which talk over the loopback address: with as many tasks on every device (weak scaling), and with as
many tasks in every step (strong scaling). These devices share the machine's cores, so they show what spreading costs
and not what more devices gain. On a GPU, the tasks of a step grow until its memory is full. The bytes that are
all-reduced are read from the compiled program. The model on paper, in benchmarks/scaling/paper.py, has its assumptions
as options. It writes results.json, table.md and scaling.png, at the end.
"""

import argparse
import os
import tempfile
from pathlib import Path

import jax

from benchmarks.harness.command import COUNT, COUNTS, NUMBER, Begin, make_parser, parse, running
from benchmarks.harness.processes import WorkerError
from benchmarks.harness.rounds import Turns
from benchmarks.scaling.measure import WORKLOADS, Load, count_turns, measure_batches, measure_groups, powers_of_four
from benchmarks.scaling.paper import NETWORKS, Machine, Work, work_of
from benchmarks.scaling.results import on_paper, write

PARTS = ("devices", "processes", "batches", "paper")
LOADS = {"sine": Load(32, 64), "conv4": Load(1, 4), "tiny": Load(2, 4)}
FLOP_RATE, BANDWIDTH, LATENCY = 1e13, 2.5e10, 5e-6
"""An accelerator that achieves 10 TFLOP/s, with a network card of 200 Gbit/s to itself, and 5 µs a message."""


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    machine = Machine(options.flop_rate, options.bandwidth, options.latency, options.reduction)
    networks = options.networks if "paper" in options.parts else []
    with running(options, kept="nothing was written") as begin:
        works = {name: work_of(NETWORKS[name], options.inner_steps) for name in networks}
        try:
            told = measure_all(options, machine, works, begin)
        except WorkerError as error:
            raise SystemExit(f"a process of the measurement {error}") from None
        write(options, told, os.cpu_count() or 1, machine, works)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser("scaling", __doc__, repeats=5, seconds=0.5)
    add = parser.add_argument_group("what is measured").add_argument
    parts = "devices, processes and paper on CPU, otherwise batches and paper"
    add("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}; default: {parts}")
    names, trained = ["sine", "conv4"], f"what is trained, of {', '.join(WORKLOADS)}"
    add("--workloads", nargs="+", choices=WORKLOADS, default=names, metavar="WORKLOAD", help=trained)
    add("--devices", default=[1, 2, 4, 8], help="CPU devices of one process", **COUNTS)
    add("--processes", default=[1, 2, 4], help="processes of one CPU device each", **COUNTS)
    add("--tasks-per-device", help="in weak scaling; default: 32 on sines and 1 on images", **COUNT)
    add("--tasks-per-step", help="in strong scaling; default: 64 on sines and 4 on images", **COUNT)
    add("--max-tasks", default=4096, help="most tasks a step of the part batches: 1, 4, 16, ...", **COUNT)
    add, networks = parser.add_argument_group("the model on paper").add_argument, list(NETWORKS)
    add("--networks", nargs="+", choices=networks, default=networks, metavar="NETWORK", help="any of these")
    add("--inner-steps", default=1, help="inner steps of second-order MAML", **COUNT)
    add("--paper-tasks", default=[4, 32, 512, 4096], help="tasks a step", **COUNTS)
    add("--paper-devices", default=[8, 64, 512], help="numbers of devices", **COUNTS)
    add("--flop-rate", default=FLOP_RATE, help="FLOP/s that a device achieves, not its peak", **NUMBER)
    add("--bandwidth", default=BANDWIDTH, help="bytes/s of a link in each direction", **NUMBER)
    add("--latency", default=LATENCY, help="seconds until a message arrives", **NUMBER)
    add("--reduction", choices=("ring", "tree"), default="ring", help="the kind of all-reduce")
    options = parse(parser, arguments)
    if options.parts is None:
        options.parts = ["devices", "processes", "paper"] if jax.default_backend() == "cpu" else ["batches", "paper"]
    for name in ("devices", "processes"):
        counts = sorted(set(getattr(options, name)))
        if counts[0] != 1:
            parser.error(f"--{name} needs 1 among its numbers, against which the others are measured")
        setattr(options, name, counts)
    return options


def measure_all(options: argparse.Namespace, machine: Machine, works: dict[str, Work], begin: Begin) -> dict:
    given = {"per_device": options.tasks_per_device, "per_step": options.tasks_per_step}
    changed = {name: value for name, value in given.items() if value}
    loads = {name: LOADS[name]._replace(**changed) for name in options.workloads}
    turns = Turns(options.repeats, options.seconds)
    told: dict = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what in (what for what in ("devices", "processes") if what in options.parts):
            counts, across = getattr(options, what), what == "processes"
            with begin(what, count_turns(loads, counts, options.repeats)) as tell:
                reported = turns._replace(tell=tell)
                told[what] = measure_groups(loads, counts, folder, reported, across_processes=across)
    if "batches" in options.parts:
        most = len(options.workloads) * len(powers_of_four(options.max_tasks))
        with begin("batches", most * (options.repeats + 2)) as tell:
            told["batches"] = measure_batches(options.workloads, options.max_tasks, turns._replace(tell=tell))
    if "paper" in options.parts:
        told["paper"] = on_paper(machine, works, options.paper_tasks, options.paper_devices)
    return told


if __name__ == "__main__":
    main()
