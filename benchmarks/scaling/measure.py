"""Steps a second against devices, processes and tasks; all take turns."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.convolution.timing import take_turns
from benchmarks.scaling.processes import Group, ask_all, start_group
from benchmarks.scaling.training import Program, compile_program, timed

Record = dict[str, Any]
Tell = Callable[[str], None]


class Load(NamedTuple):
    """The tasks of a workload.

    Attributes:
        per_device: tasks of each device, in weak scaling.
        per_step: tasks of a meta-step, in strong scaling.
    """

    per_device: int
    per_step: int


def measure_groups(
    loads: Mapping[str, Load],
    counts: Sequence[int],
    *,
    across_processes: bool,
    seconds: float,
    repeats: int,
    folder: Path,
    tell: Tell = lambda doing: None,
) -> list[Record]:
    """A record of each workload, kind of scaling and number of devices.

    Args:
        loads: the tasks of the workloads, by name.
        counts: numbers of devices, from 1 on.
        across_processes: whether each device has a process of its own; otherwise all are in one.
        seconds: about how long a turn lasts.
        repeats: rounds in which all take turns; medians are reported.
        folder: for logs.
        tell: is called with what is going on.
    """
    what = "processes" if across_processes else "devices"
    built: dict[Any, Record] = {}
    with ExitStack() as stack:
        groups: dict[int, Group] = {}
        for count in counts:
            tell(f"{count} {what}: starts")
            shape = (count, 1) if across_processes else (1, count)
            groups[count] = stack.enter_context(start_group(*shape, folder))
            for name, load in loads.items():
                for tasks in dict.fromkeys((load.per_device * count, load.per_step)):
                    tell(f"{count} {what}: {name}")
                    told = ask_all(groups[count], do="build", workload=name, tasks=tasks)
                    built[name, tasks, count] = {**told, "samples": []}
        for round_ in range(repeats):
            for (name, tasks, count), record in built.items():
                tell(f"round {round_ + 1}/{repeats}")
                take_turn(groups[count], name, tasks, record, seconds)
    return [
        describe(name, load, scaling, count, built)
        for name, load in loads.items()
        for scaling in ("weak", "strong")
        for count in counts
    ]


def turns(loads: Mapping[str, Load], counts: Sequence[int], repeats: int) -> int:
    """How often `measure_groups` tells what is going on."""
    programs = {(name, tasks, n) for name, load in loads.items() for n in counts for tasks in (load[0] * n, load[1])}
    return len(counts) + (1 + repeats) * len(programs)


def take_turn(group: Group, name: str, tasks: int, record: Record, seconds: float) -> None:
    """Adds a sample of steps a second to a record."""
    calls = max(1, round(seconds / record["seconds"]))
    told = ask_all(group, do="run", workload=name, tasks=tasks, calls=calls)
    record["samples"].append(calls * record["num_steps"] / told["seconds"])


def tasks_of(load: Load, scaling: str, count: int) -> int:
    """The tasks of a meta-step."""
    return load.per_device * count if scaling == "weak" else load.per_step


def describe(name: str, load: Load, scaling: str, count: int, built: Mapping[Any, Record]) -> Record:
    """Steps a second, and the tasks a second of each device as a fraction of what one device does by itself."""
    tasks, tasks_alone = (tasks_of(load, scaling, number) for number in (count, 1))
    record = built[name, tasks, count]
    rate = statistics.median(record["samples"])
    rate_alone = statistics.median(built[name, tasks_alone, 1]["samples"])
    return {
        "workload": name,
        "scaling": scaling,
        "devices": count,
        "tasks_per_step": tasks,
        "steps_per_second": rate,
        "efficiency": rate * tasks / (count * rate_alone * tasks_alone),
        "compile_seconds": record["compile_seconds"],
        "collective_bytes": record["collective_bytes"],
    }


def measure_batches(
    names: Sequence[str], most_tasks: int, *, seconds: float, repeats: int, tell: Tell = lambda doing: None
) -> list[Record]:
    """A record of each workload and number of tasks a step, 1, 4, 16, ..., on one device, until its memory is full."""
    programs: dict[Any, Program] = {}
    for name in names:
        for tasks in powers_of_four(most_tasks):
            tell(f"{name}: {tasks} tasks")
            try:
                programs[name, tasks] = compile_program(name, tasks, None)
                timed(programs[name, tasks], 1)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                programs.pop((name, tasks), None)
                break
    calls = {key: max(1, round(seconds / timed(program, 1))) for key, program in programs.items()}

    def repeated(key):
        def run():
            tell(f"{key[0]}: {key[1]} tasks")
            return timed(programs[key], calls[key])

        return run

    taken = take_turns({key: repeated(key) for key in programs}, repeats)
    return [describe_batch(key, calls[key] * programs[key].num_steps / taken[key]) for key in programs]


def describe_batch(key: tuple[str, int], rate: float) -> Record:
    """One row of the throughput."""
    name, tasks = key
    return {"workload": name, "tasks_per_step": tasks, "steps_per_second": rate, "tasks_per_second": rate * tasks}


def powers_of_four(most: int) -> list[int]:
    """1, 4, 16 and so on, up to `most`."""
    return [4**power for power in range(most.bit_length()) if 4**power <= most]
