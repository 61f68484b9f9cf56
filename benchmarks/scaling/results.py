"""The tables and the file of results of `benchmarks.scaling`."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.index import Row
from benchmarks.harness.results import Column, records_table, rounded, save_figure, write_results
from benchmarks.harness.rounds import Record
from benchmarks.scaling.figure import draw
from benchmarks.scaling.networks import NETWORKS
from benchmarks.scaling.paper import Machine, Work, efficiency, most_devices, reduction_seconds, step_seconds

PLACES = {"devices": "CPU devices of one process", "processes": "Processes of one CPU device on the loopback address"}
SETTINGS = (
    *("parts", "workloads", "devices", "processes", "tasks_per_device", "tasks_per_step", "max_tasks", "seconds"),
    *("repeats", "networks", "inner_steps", "paper_tasks", "paper_devices", "flop_rate", "bandwidth", "latency"),
    "reduction",
)


def write(options: Namespace, told: Mapping[str, Any], cores: int, machine: Machine, works: Mapping[str, Work]) -> None:
    """Writes results.json, table.md and scaling.png."""
    settings = {name: getattr(options, name) for name in SETTINGS}
    tables = make_tables(told, cores, machine, options.paper_devices)
    write_results(options, {"cores": cores, "settings": settings, **rounded(told)}, tables)
    figure = draw(told, cores, machine, works, max(options.paper_devices))
    save_figure(options.output / "scaling.png", figure)


def row(told: Mapping[str, Any]) -> Row:
    """The line of benchmarks/README.md."""
    strong = {
        (record["workload"], what): f"{record['workload']} {record['efficiency']:.2f} on 2 {what}"
        for what in ("devices", "processes")
        for record in told.get(what, ())
        if record["scaling"] == "strong" and record["devices"] == 2
    }
    return Row(
        "How do meta-steps scale over devices and processes?",
        5,
        f"efficiency with as many tasks in every step: {', '.join(strong.values())}",
    )


def on_paper(machine: Machine, works: Mapping[str, Work], tasks: Sequence[int], devices: Sequence[int]) -> list[Record]:
    """A record of each network and number of tasks a step."""
    return [
        {
            "network": name,
            "tasks_per_step": count,
            "flop_per_task": work.flop_per_task,
            "reduced_bytes": work.reduced_bytes,
            "microseconds_of_a_task": 1e6 * float(step_seconds(machine, work, 1, 1)),
            "microseconds_of_reductions": [
                1e6 * float(reduction_seconds(machine, work.reduced_bytes, number)) for number in devices
            ],
            "efficiency": [float(efficiency(machine, work, count, number)) for number in devices],
            "most_devices_at_half": most_devices(machine, work, count),
        }
        for name, work in works.items()
        for count in tasks
    ]


def make_tables(told: Mapping[str, Any], cores: int, machine: Machine, devices: Sequence[int]) -> str:
    """All tables, each under a line that says what it is."""
    parts = [
        f"{place}, on {cores} cores. Efficiency: tasks a second of each, as a fraction of what one does by itself; one "
        "by itself may already use all cores, as large products do.\n\n" + group_table(told[what], what, cores)
        for what, place in PLACES.items()
        if what in told
    ]
    if "batches" in told:
        parts.append("One device, by the tasks of a step:\n\n" + batch_table(told["batches"]))
    if "paper" in told:
        parts.append(
            f"On paper: {machine.flop_per_second:.3g} FLOP/s a device, links of {machine.bandwidth:.3g} bytes/s and "
            f"{1e6 * machine.latency:.3g} µs, a {machine.reduction} all-reduce that nothing hides; the tasks of a step "
            "stay the same.\n\n" + paper_table(told["paper"], devices)
        )
    return "\n".join(parts)


def group_table(records: Sequence[Record], what: str, cores: int) -> str:
    """One row for each workload, kind of scaling and number of devices."""
    columns: dict[str, Column] = {
        "workload": "{workload}",
        "scaling": "{scaling}",
        what: "{devices}",
        "tasks a step": "{tasks_per_step}",
        "steps/s": "{steps_per_second:,.4g}",
        "tasks/s": lambda record: f"{record['steps_per_second'] * record['tasks_per_step']:,.4g}",
        "efficiency": "{efficiency:.2f}",
        f"at best on {cores} cores": lambda record: f"{min(1.0, cores / record['devices']):.2f}",
        "all-reduced, bytes a step": lambda record: f"{record['collective_bytes'].get('all-reduce', 0):,}",
        "compile, s": "{compile_seconds:.1f}",
    }
    return records_table(records, columns)


def batch_table(records: Sequence[Record]) -> str:
    """One row for each workload and number of tasks."""
    columns: dict[str, Column] = {
        "workload": "{workload}",
        "tasks a step": "{tasks_per_step:,}",
        "steps/s": "{steps_per_second:,.4g}",
        "tasks/s": "{tasks_per_second:,.4g}",
    }
    return records_table(records, columns)


def paper_table(records: Sequence[Record], devices: Sequence[int]) -> str:
    """One row for each network and number of tasks a step; the efficiency on each number of devices."""
    places = list(enumerate(devices))
    columns: dict[str, Column] = {
        "network": lambda record: NETWORKS[record["network"]].title,
        "tasks a step": "{tasks_per_step:,}",
        "GFLOP a task": lambda record: f"{record['flop_per_task'] / 1e9:,.4g}",
        "reduced, KB": lambda record: f"{record['reduced_bytes'] / 1e3:,.1f}",
        "a task, µs": "{microseconds_of_a_task:,.4g}",
        **{f"reduction on {number}, µs": f"{{microseconds_of_reductions[{at}]:,.0f}}" for at, number in places},
        **{f"efficiency on {number}": f"{{efficiency[{at}]:.2g}}" for at, number in places},
        "at least one half up to, devices": "{most_devices_at_half:,}",
    }
    return records_table(records, columns)
