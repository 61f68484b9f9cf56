"""The tables, the file of results and the figure of `benchmarks.scaling`."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness.results import Column, Row, records_table, rounded, write_results
from benchmarks.harness.rounds import Record
from benchmarks.scaling.paper import NETWORKS, Machine, Work, efficiency, most_devices, reduction_seconds, step_seconds

PLACES = {"devices": "CPU devices of one process", "processes": "Processes of one CPU device on the loopback address"}
STYLES = {"weak": "o-", "strong": "s--"}
BATCHES = {
    "workload": "{workload}",
    "tasks a step": "{tasks_per_step:,}",
    "steps/s": "{steps_per_second:,.4g}",
    "tasks/s": "{tasks_per_second:,.4g}",
}


def write(options: Namespace, told: dict, cores: int, machine: Machine, works: dict[str, Work]) -> None:
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "command")}
    figure = draw(told, cores, machine, works, max(options.paper_devices))
    tables = make_tables(told, cores, machine, options.paper_devices)
    write_results(options, {"cores": cores, "settings": settings, **rounded(told)}, tables, scaling=figure)


def row(told: dict) -> Row:
    strong = [
        f"{record['workload']} {record['efficiency']:.2f} on 2 {what}"
        for what in PLACES
        for record in told.get(what, ())
        if record["scaling"] == "strong" and record["devices"] == 2
    ]
    return 5, f"efficiency with as many tasks in every step: {', '.join(strong)}"


def on_paper(machine: Machine, works: dict[str, Work], tasks: Sequence[int], devices: Sequence[int]) -> list[Record]:
    return [
        {
            "network": name,
            "tasks_per_step": count,
            "flop_per_task": work.flop_per_task,
            "reduced_bytes": work.reduced_bytes,
            "microseconds_of_a_task": 1e6 * float(step_seconds(machine, work, 1, 1)),
            "microseconds_of_reductions": (1e6 * reduction_seconds(machine, work.reduced_bytes, devices)).tolist(),
            "efficiency": efficiency(machine, work, count, np.array(devices)).tolist(),
            "most_devices_at_half": most_devices(machine, work, count),
        }
        for name, work in works.items()
        for count in tasks
    ]


def make_tables(told: dict, cores: int, machine: Machine, devices: Sequence[int]) -> str:
    parts = [
        f"{place}, on {cores} cores. Efficiency: tasks a second of each, as a fraction of what one does by itself; one "
        "by itself may already use all cores, as large products do.\n\n"
        + records_table(told[what], group_columns(what, cores))
        for what, place in PLACES.items()
        if what in told
    ]
    if "batches" in told:
        parts.append("One device, by the tasks of a step:\n\n" + records_table(told["batches"], BATCHES))
    if "paper" in told:
        parts.append(
            f"On paper: {machine.flop_per_second:.3g} FLOP/s a device, links of {machine.bandwidth:.3g} bytes/s and "
            f"{1e6 * machine.latency:.3g} µs, a {machine.reduction} all-reduce that nothing hides; the tasks of a step "
            "stay the same.\n\n" + records_table(told["paper"], paper_columns(devices))
        )
    return "\n".join(parts)


def group_columns(what: str, cores: int) -> dict[str, Column]:
    """Of one row for each workload, kind of scaling and number of devices."""
    return {
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


def paper_columns(devices: Sequence[int]) -> dict[str, Column]:
    """Of one row for each network and number of tasks a step; the efficiency on each number of devices."""
    places = list(enumerate(devices))
    return {
        "network": lambda record: NETWORKS[record["network"]].title,
        "tasks a step": "{tasks_per_step:,}",
        "GFLOP a task": lambda record: f"{record['flop_per_task'] / 1e9:,.4g}",
        "reduced, KB": lambda record: f"{record['reduced_bytes'] / 1e3:,.1f}",
        "a task, µs": "{microseconds_of_a_task:,.4g}",
        **{f"reduction on {number}, µs": f"{{microseconds_of_reductions[{at}]:,.0f}}" for at, number in places},
        **{f"efficiency on {number}": f"{{efficiency[{at}]:.2g}}" for at, number in places},
        "at least one half up to, devices": "{most_devices_at_half:,}",
    }


def draw(told: dict, cores: int, machine: Machine, works: dict[str, Work], devices: int) -> Figure:
    """A panel for each part that was measured, and one for each network of the model on paper."""
    panels = [part for part in (*PLACES, "batches") if part in told]
    networks = list(works) if "paper" in told else []
    rows = [row for row in (panels, networks) if row]
    figure = Figure(figsize=(4.4 * max(map(len, rows)), 3.7 * len(rows)), dpi=110, layout="constrained")
    for part, row in zip(figure.subfigures(len(rows), 1, squeeze=False).ravel(), rows, strict=True):
        for axes, name in zip(part.subplots(1, len(row), squeeze=False).ravel(), row, strict=True):
            if row is networks:
                tasks = [record["tasks_per_step"] for record in told["paper"] if record["network"] == name]
                draw_paper(axes, name, tasks, machine, works[name], devices)
            elif name == "batches":
                draw_batches(axes, told[name])
            else:
                draw_groups(axes, told[name], name, cores)
            axes.grid(alpha=0.25)
            axes.legend(fontsize=8)
    return figure


def plot(axes: Axes, records: Sequence[Record], x: str, y: str, *style: str, **options: Any) -> None:
    axes.plot([record[x] for record in records], [record[y] for record in records], *style, markersize=4, **options)


def draw_groups(axes: Axes, records: Sequence[Record], what: str, cores: int) -> None:
    counts = sorted({record["devices"] for record in records})
    allowed = [min(1, cores / count) for count in counts]
    axes.plot(counts, allowed, ":", color="black", label=f"all that {cores} cores allow")
    for index, name in enumerate(dict.fromkeys(record["workload"] for record in records)):
        for scaling, style in STYLES.items():
            line = [record for record in records if (record["workload"], record["scaling"]) == (name, scaling)]
            plot(axes, line, "devices", "efficiency", style, color=f"C{index}", label=f"{name}, {scaling}")
    axes.set_title("CPU devices of one process" if what == "devices" else "processes, loopback address", fontsize=10)
    efficiency_axes(axes, what, counts)


def draw_batches(axes: Axes, records: Sequence[Record]) -> None:
    for name in dict.fromkeys(record["workload"] for record in records):
        line = [record for record in records if record["workload"] == name]
        plot(axes, line, "tasks_per_step", "tasks_per_second", "o-", label=name)
    axes.set_title("one device", fontsize=10)
    axes.set(xlabel="tasks a step", ylabel="tasks/s", xscale="log", yscale="log")


def draw_paper(axes: Axes, name: str, tasks: Sequence[int], machine: Machine, work: Work, most: int) -> None:
    numbers = 2 ** np.arange(most.bit_length())
    for count in tasks:
        axes.plot(numbers, efficiency(machine, work, count, numbers), ".-", label=f"{count:,} tasks a step")
    axes.axhline(0.5, color="black", linestyle=":", linewidth=1)
    axes.set_title(f"on paper: {NETWORKS[name].title}", fontsize=10)
    efficiency_axes(axes, "devices", numbers[::3].tolist())


def efficiency_axes(axes: Axes, what: str, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel=what, ylabel="efficiency", ylim=(0, 1.15))
