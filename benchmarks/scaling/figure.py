"""The figure of the benchmark of scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.scaling.measure import Record
from benchmarks.scaling.networks import NETWORKS
from benchmarks.scaling.paper import Machine, Work, efficiency

STYLES = {"weak": "o-", "strong": "s--"}


def draw(told: Mapping[str, Any], cores: int, machine: Machine, works: Mapping[str, Work], devices: int) -> Figure:
    """A panel for each part that was measured, and one for each network of the model on paper."""
    panels = [part for part in ("devices", "processes", "batches") if part in told]
    networks = list(works) if "paper" in told else []
    rows = [row for row in (panels, networks) if row]
    figure = Figure(figsize=(4.4 * max(map(len, rows)), 3.7 * len(rows)), dpi=110, layout="constrained")
    for part, row in zip(figure.subfigures(len(rows), 1, squeeze=False).ravel(), rows, strict=True):
        for axes, name in zip(part.subplots(1, len(row), squeeze=False).ravel(), row, strict=True):
            if row is networks:
                draw_paper(axes, name, told["paper"], machine, works[name], devices)
            elif name == "batches":
                draw_batches(axes, told[name])
            else:
                draw_groups(axes, told[name], name, cores)
    return figure


def draw_groups(axes: Axes, records: Sequence[Record], what: str, cores: int) -> None:
    """Efficiency against devices or processes, and the most that the cores allow."""
    counts = sorted({record["devices"] for record in records})
    axes.plot(
        counts, [min(1, cores / count) for count in counts], ":", color="black", label=f"all that {cores} cores allow"
    )
    names = list(dict.fromkeys(record["workload"] for record in records))
    for name in names:
        for scaling, style in STYLES.items():
            line = [record for record in records if (record["workload"], record["scaling"]) == (name, scaling)]
            x, y = ([record[column] for record in line] for column in ("devices", "efficiency"))
            axes.plot(x, y, style, color=f"C{names.index(name)}", markersize=4, label=f"{name}, {scaling}")
    axes.set_title("CPU devices of one process" if what == "devices" else "processes, loopback address", fontsize=10)
    finish(axes, what, counts)


def draw_batches(axes: Axes, records: Sequence[Record]) -> None:
    """Tasks a second against tasks a step."""
    for name in dict.fromkeys(record["workload"] for record in records):
        line = [record for record in records if record["workload"] == name]
        x, y = ([record[column] for record in line] for column in ("tasks_per_step", "tasks_per_second"))
        axes.loglog(x, y, "o-", markersize=4, label=name)
    axes.set_title("one device", fontsize=10)
    axes.set_xlabel("tasks a step")
    axes.set_ylabel("tasks/s")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)


def draw_paper(axes: Axes, name: str, records: Sequence[Record], machine: Machine, work: Work, most: int) -> None:
    """Efficiency against devices, in powers of 2, for every number of tasks a step."""
    numbers = 2 ** np.arange(most.bit_length())
    for record in (record for record in records if record["network"] == name):
        tasks = record["tasks_per_step"]
        axes.plot(numbers, efficiency(machine, work, tasks, numbers), ".-", label=f"{tasks:,} tasks a step")
    axes.axhline(0.5, color="black", linestyle=":", linewidth=1)
    axes.set_title(f"on paper: {NETWORKS[name].title}", fontsize=10)
    finish(axes, "devices", [2**power for power in range(0, most.bit_length(), 3)])


def finish(axes: Axes, what: str, ticks: Sequence[int]) -> None:
    """Axes of an efficiency."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.15)
    axes.set_xlabel(what)
    axes.set_ylabel("efficiency")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
