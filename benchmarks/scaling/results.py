"""The tables of the benchmark of scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.index import Row
from benchmarks.harness.report import markdown_table
from benchmarks.scaling.measure import Record
from benchmarks.scaling.networks import NETWORKS
from benchmarks.scaling.paper import Machine, Work, efficiency, most_devices, reduction_seconds, step_seconds


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


def group_table(records: Sequence[Record], what: str, cores: int) -> str:
    """One row for each workload, kind of scaling and number of devices."""
    header = [
        "workload",
        "scaling",
        what,
        "tasks a step",
        "steps/s",
        "tasks/s",
        "efficiency",
        f"at best on {cores} cores",
        "all-reduced, bytes a step",
        "compile, s",
    ]
    rows = [
        [
            record["workload"],
            record["scaling"],
            str(record["devices"]),
            str(record["tasks_per_step"]),
            f"{record['steps_per_second']:,.4g}",
            f"{record['steps_per_second'] * record['tasks_per_step']:,.4g}",
            f"{record['efficiency']:.2f}",
            f"{min(1.0, cores / record['devices']):.2f}",
            f"{record['collective_bytes'].get('all-reduce', 0):,}",
            f"{record['compile_seconds']:.1f}",
        ]
        for record in records
    ]
    return markdown_table(header, rows)


def batch_table(records: Sequence[Record]) -> str:
    """One row for each workload and number of tasks."""
    header = ["workload", "tasks a step", "steps/s", "tasks/s"]
    rows = [
        [
            record["workload"],
            f"{record['tasks_per_step']:,}",
            f"{record['steps_per_second']:,.4g}",
            f"{record['tasks_per_second']:,.4g}",
        ]
        for record in records
    ]
    return markdown_table(header, rows)


def paper_table(records: Sequence[Record], devices: Sequence[int]) -> str:
    """One row for each network and number of tasks a step; the efficiency on each number of devices."""
    header = ["network", "tasks a step", "GFLOP a task", "reduced, KB", "a task, µs"]
    header += [f"reduction on {number}, µs" for number in devices] + [f"efficiency on {number}" for number in devices]
    rows = [
        [
            NETWORKS[record["network"]].title,
            f"{record['tasks_per_step']:,}",
            f"{record['flop_per_task'] / 1e9:,.4g}",
            f"{record['reduced_bytes'] / 1e3:,.1f}",
            f"{record['microseconds_of_a_task']:,.4g}",
            *(f"{value:,.0f}" for value in record["microseconds_of_reductions"]),
            *(f"{value:.2g}" for value in record["efficiency"]),
            f"{record['most_devices_at_half']:,}",
        ]
        for record in records
    ]
    return markdown_table([*header, "at least one half up to, devices"], rows)


def make_tables(told: Mapping[str, Any], cores: int, machine: Machine, devices: Sequence[int]) -> str:
    """All tables, each under a line that says what it is."""
    parts = []
    places = {
        "devices": "CPU devices of one process",
        "processes": "Processes of one CPU device on the loopback address",
    }
    for what, place in places.items():
        if what in told:
            parts.append(
                f"{place}, on {cores} cores. Efficiency: tasks a second of each, as a fraction of what one does by "
                "itself; one by itself may already use all cores, as large products do.\n\n"
                + group_table(told[what], what, cores)
            )
    if "batches" in told:
        parts.append("One device, by the tasks of a step:\n\n" + batch_table(told["batches"]))
    if "paper" in told:
        parts.append(
            f"On paper: {machine.flop_per_second:.3g} FLOP/s a device, links of {machine.bandwidth:.3g} bytes/s and "
            f"{1e6 * machine.latency:.3g} µs, a {machine.reduction} all-reduce that nothing hides; the tasks of a step "
            "stay the same.\n\n" + paper_table(told["paper"], devices)
        )
    return "\n".join(parts)


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
