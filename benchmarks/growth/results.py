"""The tables and the figure of the benchmark of growth."""

import numpy as np
from matplotlib.figure import Figure

from benchmarks.harness.results import Column, Row, markdown_table, records_table

LABELS = {
    "tasks": "tasks a meta-step",
    "inner_steps": "inner steps",
    "shots": "shots, and as many queries",
    "width": "width of both hidden layers",
}
EXPONENTS: dict[str, Column] = {
    "varied": "{label}",
    "from": "{values[0]:,}",
    "to": lambda scan: f"{scan['values'][-1]:,}",
    "µs a meta-step, least": "{microseconds[0]:,.1f}",
    "most": lambda scan: f"{scan['microseconds'][-1]:,.1f}",
    "fitted from": "{fit[lowest]:,.0f}",
    "exponent": "{fit[exponent]:.2f}",
}


def make_tables(told: dict) -> str:
    scans, profiles = told["scans"], told["profiles"]
    parts = {
        "Exponents, fitted over the upper half of each range": exponent_table(scans),
        "Every size": scan_table(scans),
        "The parts of a meta-step, each the difference of two programs, µs": split_table(told["split"]),
    }
    for name, column in (("part", "microseconds_by_part"), ("kind of operation", "microseconds_by_kind")):
        if profiles:
            parts[f"Shares of a traced run, by {name}"] = profile_table(profiles, name, column)
    return "\n".join(f"{title}:\n\n{table}" for title, table in parts.items())


def exponent_table(scans: dict) -> str:
    return records_table([{"label": LABELS[name], **scan} for name, scan in scans.items()], EXPONENTS)


def scan_table(scans: dict) -> str:
    header = ["varied", "value", "µs a meta-step", "exponent from the value before", "compile, s"]
    rows = []
    for name, scan in scans.items():
        slopes = ["", *(f"{slope:.2f}" for slope in scan["local_exponents"])]
        sizes = zip(scan["values"], scan["microseconds"], slopes, scan["compile_seconds"], strict=True)
        rows += [[LABELS[name], f"{value:,}", f"{us:,.1f}", slope, f"{s:.2f}"] for value, us, slope, s in sizes]
    return markdown_table(header, rows)


def split_table(split: dict) -> str:
    """One row for each part, one column for each case: microseconds, and the share of the whole."""
    parts = list(next(iter(split.values()))["microseconds_of_parts"])
    wholes = {case: told["microseconds_of_programs"][parts[-1]] for case, told in split.items()}

    def cell(case, part):
        microseconds = split[case]["microseconds_of_parts"][part]
        return f"{microseconds:,.1f} ({100 * microseconds / wholes[case]:.0f}%)"

    rows = [[part, *(cell(case, part) for case in split)] for part in parts]
    return markdown_table(["part", *split], [*rows, ["all", *(f"{whole:,.1f}" for whole in wholes.values())]])


def profile_table(profiles: dict, name: str, column: str) -> str:
    """One row for each part or kind, one column for each case: the share of the operations' time."""

    def share(told, kind):
        return f"{100 * told[column].get(kind, 0.0) / sum(told[column].values()):.0f}%"

    kinds = dict.fromkeys(kind for told in profiles.values() for kind in told[column])
    rows = [[kind, *(share(told, kind) for told in profiles.values())] for kind in kinds]
    counts = (f"{told['operations_a_meta_step']:.0f}" for told in profiles.values())
    return markdown_table([name, *profiles], [*rows, ["operations a meta-step", *counts]])


def draw(scans: dict) -> Figure:
    """Time per meta-step against each quantity, with the fitted power law over the values it was fitted to."""
    figure = Figure(figsize=(9.6, 7.2), dpi=110, layout="constrained")
    panels = figure.subplots(2, 2, sharey=True).ravel()
    for axes, (name, scan) in zip(panels, scans.items(), strict=True):
        values, fit = np.array(scan["values"]), scan["fit"]
        axes.loglog(values, scan["microseconds"], "o-", markersize=4, label="measured")
        fitted = fit["constant"] * values ** fit["exponent"]
        used = values >= fit["lowest"]
        (line,) = axes.plot(values[used], fitted[used], "--", linewidth=2, label=f"exponent {fit['exponent']:.2f}")
        axes.plot(values[~used], fitted[~used], ":", color=line.get_color(), linewidth=1)
        axes.set_xlabel(LABELS[name])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_formatter("")
        axes.grid(alpha=0.25, which="both")
        axes.legend(loc="upper left")
    panels[0].set_ylim(bottom=min(min(scan["microseconds"]) for scan in scans.values()) / 1.5)
    for axes in panels[::2]:
        axes.set_ylabel("µs a meta-step")
    return figure


def row(told: dict) -> Row:
    exponents = [f"{name.replace('_', ' ')} {scan['fit']['exponent']:.2f}" for name, scan in told["scans"].items()]
    return 4, f"the exponents are: {', '.join(exponents)}"
