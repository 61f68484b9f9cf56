"""Steps a second of `fit` against devices, processes and tasks; all take turns. A group trains together, on a mesh."""

import itertools
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

import jax_meta
from benchmarks.harness.jax_networks import Program, compile_fit
from benchmarks.harness.processes import Machine, Worker, ask, at_once, free_port, receive, start
from benchmarks.harness.rounds import Record, Turns, median_seconds, take_turns
from benchmarks.harness.worker import Answer, Served
from benchmarks.harness.workloads import Workload, conv4, sine

WORKLOADS: dict[str, Callable[[int], Workload]] = {
    "sine": lambda tasks: sine(tasks, 1),
    "conv4": lambda tasks: conv4(tasks, 1),
    "tiny": lambda tasks: sine(tasks, 1, width=4),
}
"""By name, for so many tasks a meta-step; "tiny" is for trying things out."""
STEPS = {"sine": 64, "conv4": 1, "tiny": 8}  # meta-steps of one call of `fit`
TIMEOUT = 30  # seconds after which a process that no longer answers ends the others
ITEM_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
CALL = re.compile(r" = (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(")
ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
MACHINE = Machine("cpu", os.cpu_count() or 1, 600.0)


class Load(NamedTuple):
    per_device: int  # tasks of each device, in weak scaling
    per_step: int  # tasks of a meta-step, in strong scaling

    def tasks(self, scaling: str, devices: int) -> int:
        return self.per_device * devices if scaling == "weak" else self.per_step


class Case(NamedTuple):
    workload: str
    tasks: int
    devices: int

    def __str__(self) -> str:
        return f"{self.workload}, {self.tasks} tasks"


def cases(loads: dict[str, Load], counts: Sequence[int]) -> list[Case]:
    """The programs of weak and of strong scaling, each once, in the order of devices."""
    every = itertools.product(counts, loads.items(), ("weak", "strong"))
    return list(dict.fromkeys(Case(name, load.tasks(scaling, count), count) for count, (name, load), scaling in every))


def count_turns(loads: dict[str, Load], counts: Sequence[int], repeats: int) -> int:
    return len(counts) + (1 + repeats) * len(cases(loads, counts))


def measure_groups(
    loads: dict[str, Load], counts: Sequence[int], folder: Path, turns: Turns, *, across_processes: bool
) -> list[Record]:
    """A record of each workload, kind of scaling and number of devices, from 1 on, in one process or in one each."""
    built: dict[Case, Record] = {}
    with ExitStack() as stack:
        groups = {}
        for count in counts:
            turns.tell(f"{count} start{'s' * (count == 1)}")
            shape = (count, 1) if across_processes else (1, count)
            groups[count] = stack.enter_context(start_group(*shape, folder))
            for case in (case for case in cases(loads, counts) if case.devices == count):
                turns.tell(f"{case}: compile")
                built[case] = ask_all(groups[count], "build", workload=case.workload, tasks=case.tasks)

        def steps_a_second(case: Case) -> float:
            calls = max(1, round(turns.seconds / built[case]["seconds"]))
            told = ask_all(groups[case.devices], "run", workload=case.workload, tasks=case.tasks, calls=calls)
            return calls * built[case]["num_steps"] / told["seconds"]

        samples = take_turns({case: partial(steps_a_second, case) for case in built}, turns.repeats, turns.tell)
    rates = {case: statistics.median(taken) for case, taken in samples.items()}
    every = itertools.product(loads.items(), ("weak", "strong"), counts)
    return [describe(name, load, scaling, count, built, rates) for (name, load), scaling, count in every]


@contextmanager
def start_group(processes: int, devices: int, folder: Path) -> Iterator[list[Worker]]:
    """Starts processes of so many CPU devices each, on one mesh; in the end kills them."""
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        group = []
        for process in range(processes):
            order = {"processes": processes, "process": process, "address": address, "devices": devices}
            log = folder / f"{processes} processes of {devices} devices, {process}.log"
            one = start("benchmarks.scaling.measure:serve", order, MACHINE, log, install="jax-metalearn")
            group.append(stack.enter_context(one))
        at_once(receive, group)
        yield group


def ask_all(group: Sequence[Worker], do: str, **request: Any) -> Record:
    """Has all processes do the same, which they can only do together; the first one's answer."""
    return at_once(partial(ask, do=do, **request), group)[0]


def describe(
    name: str, load: Load, scaling: str, count: int, built: dict[Case, Record], rates: dict[Case, float]
) -> Record:
    case, alone = (Case(name, load.tasks(scaling, number), number) for number in (count, 1))
    return {
        "workload": name,
        "scaling": scaling,
        "devices": count,
        "tasks_per_step": case.tasks,
        "steps_per_second": rates[case],
        "efficiency": rates[case] * case.tasks / (count * rates[alone] * alone.tasks),
        "compile_seconds": built[case]["compile_seconds"],
        "collective_bytes": built[case]["collective_bytes"],
    }


def measure_batches(names: Sequence[str], most_tasks: int, turns: Turns) -> list[Record]:
    """A record of each workload and number of tasks a step, 1, 4, 16, ..., on one device, until its memory is full."""
    programs: dict[Case, Program] = {}
    for name in names:
        for case in (Case(name, tasks, 1) for tasks in powers_of_four(most_tasks)):
            turns.tell(f"{case}: compile")
            try:
                program = compile_program(name, case.tasks, None)
                timed(program, 1)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                break
            programs[case] = program
    calls = {case: max(1, round(turns.seconds / timed(program, 1))) for case, program in programs.items()}
    runs = {case: partial(timed, program, calls[case]) for case, program in programs.items()}
    taken = median_seconds(runs, turns.repeats, turns.tell)
    rates = {case: calls[case] * program.num_steps / taken[case] for case, program in programs.items()}
    return [
        {"workload": name, "tasks_per_step": tasks, "steps_per_second": rate, "tasks_per_second": rate * tasks}
        for (name, tasks, _), rate in rates.items()
    ]


def powers_of_four(most: int) -> list[int]:
    return [4**power for power in range(most.bit_length()) if 4**power <= most]


def compile_program(name: str, num_tasks: int, mesh: Mesh | None) -> Program:
    return compile_fit(WORKLOADS[name](num_tasks), STEPS[name], mesh=mesh)


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of every collective in a compiled program's text, by kind; those in a loop count once."""
    totals = Counter[str]()
    for results, kind in CALL.findall(text):
        for dtype, shape in ARRAY.findall(results):
            totals[kind] += ITEM_BYTES[dtype] * prod(int(size) for size in shape.split(",") if size)
    return dict(totals)


def timed(program: Program, calls: int) -> float:
    """Seconds of so many calls, one after the other; FloatingPointError if they trained to NaN."""
    start = time.perf_counter()
    for _ in range(calls):
        _, history = jax.block_until_ready(program.run())
    seconds = time.perf_counter() - start
    jax_meta.check_finite(history)
    return seconds


def serve(processes: int, process: int, address: str, devices: int) -> Served:
    """What a process of a group does: it makes so many CPU devices, joins the others, compiles and runs with them."""
    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        patience: dict = {"heartbeat_timeout_seconds": TIMEOUT, "shutdown_timeout_seconds": TIMEOUT}
        jax.distributed.initialize(address, processes, process, **patience)
    mesh = jax.make_mesh((jax.device_count(),), ("tasks",))  # all devices of all processes
    programs: dict[tuple[str, int], Program] = {}

    def build(workload: str, tasks: int) -> Answer:
        program = programs[workload, tasks] = compile_program(workload, tasks, mesh)
        timed(program, 1)  # to warm up
        return {
            "compile_seconds": program.compile_seconds,
            "num_steps": program.num_steps,
            "collective_bytes": collective_bytes(program.compiled.as_text() or ""),
            "seconds": timed(program, 1),
        }

    def run(workload: str, tasks: int, calls: int) -> Answer:
        return {"seconds": timed(programs[workload, tasks], calls)}

    return {"device": f"{jax.devices()[0].device_kind}, {jax.device_count()} devices"}, {"build": build, "run": run}
