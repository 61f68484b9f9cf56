"""The tables, the file of results and the figure of `benchmarks.peers`."""

import importlib.metadata
from argparse import Namespace
from contextlib import suppress

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.harness.results import Row, markdown_table, rounded, write_results
from benchmarks.harness.rounds import Record, reasons
from benchmarks.peers.measure import ratio
from benchmarks.peers.peer import Entry

Records = dict[str, dict]  # workload, then peer
COLOURS = {"ours": "C3", "jax": "C0", "compiled": "C1", "eager": "0.5"}
KINDS = {"ours": "jax_meta", "jax": "plain JAX", "compiled": "PyTorch, compiled", "eager": "PyTorch, eager"}
GROUPS = {"Second order": "meta-steps", "First order": "meta-steps", "Relatives": "meta-steps", "Adaptation": "tasks"}
RIVALS = {  # what `jax_meta` is compared with: the kinds of peers, by title
    "best of all peers": ("jax", "compiled", "eager"),
    "best of plain JAX": ("jax",),
    "best of eager PyTorch": ("eager",),
    "torch.compile": ("compiled",),
}


def write(options: Namespace, records: Records, peers: dict[str, Entry]) -> None:
    devices = {record["device"] for row in records.values() for record in row.values() if "device" in record}
    content = {
        "devices": sorted(devices),
        "threads": options.threads,
        "repeats": options.repeats,
        "seconds_a_turn": options.seconds,
        "peer_versions": versions(peers),
        "peers": {name: entry.label for name, entry in peers.items()},
        "workloads": {
            workload: {
                "ratios_of_jax_meta": {title: best_rival(row, peers, kinds) for title, kinds in RIVALS.items()},
                "peers": rounded(row),
            }
            for workload, row in records.items()
        },
    }
    write_results(options, content, tables(records, peers), peers=draw(records, peers))


def row(told: dict) -> Row:
    against = "best of all peers"
    found = {name: row["ratios_of_jax_meta"].get(against) for name, row in told["workloads"].items()}
    ratios = ", ".join(f"{name} {best['ratio']:g} x" for name, best in found.items() if best)
    turns = told["repeats"] + 5  # with those that find how long a turn is
    measured = [record for row in told["workloads"].values() for record in row["peers"].values() if "median" in record]
    seconds = [
        record["startup_seconds"] + record["first_call_seconds"] + turns * record["steps_a_turn"] / record["median"]
        for record in measured
    ]
    return sum(seconds) / 60, f"against the {against}: {ratios}"


def versions(peers: dict[str, Entry]) -> dict[str, str]:
    found = {}
    for package in sorted({package for entry in peers.values() for package in entry.install.split()}):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def best_rival(row: dict, peers: dict[str, Entry], kinds: tuple[str, ...]) -> Record | None:
    """The fastest peer of these kinds, and how many times as fast `jax_meta` is; None where one was not measured."""
    measured = {name: record for name, record in row.items() if record["status"] == "measured"}
    candidates = [name for name in measured if peers[name].kind in kinds]
    ours = [name for name in measured if peers[name].kind == "ours"]
    if not candidates or not ours:
        return None
    best = max(candidates, key=lambda name: measured[name]["median"])
    return {"peer": best, "ratio": ratio(row, ours[0], best)}


def tables(records: Records, peers: dict[str, Entry]) -> str:
    """Markdown: speed, then ratios, for each kind of gradient; seconds before the first turn; who took no part."""
    parts = []
    for title, unit in GROUPS.items():
        chosen = {name: row for name, row in records.items() if group(name) == title}
        if chosen:
            names = [name.removesuffix("-first-order").removeprefix("adapt-") for name in chosen]
            taking_part = [name for name in peers if any(name in row for row in chosen.values())]
            speeds = [[peers[name].label, *(cell(row.get(name)) for row in chosen.values())] for name in taking_part]
            ratios = []
            for rival, kinds in RIVALS.items():
                best = [best_rival(row, peers, kinds) for row in chosen.values()]
                ratios.append([rival, *(f"{one['ratio']:.3g} x" if one else "" for one in best)])
            parts.append(markdown_table([f"{title}, {unit}/s", *names], speeds))
            parts.append(markdown_table([f"{title}, jax_meta against", *names], ratios))
    labels = {name: entry.label for name, entry in peers.items()}
    return "\n".join([*parts, start_table(records, peers), *reasons(records, labels)])


def group(workload: str) -> str:
    if workload.startswith("adapt-"):
        return "Adaptation"
    if workload.endswith(("-anil", "-protonet")):
        return "Relatives"
    return "First order" if workload.endswith("-first-order") else "Second order"


def cell(record: Record | None) -> str:
    """A median, or the first word of why there is none."""
    if record is None:
        return ""
    if record["status"] == "measured":
        return f"{rounded(record['median'], 3):,.12g}"
    return record["status"].split(":")[0]


def start_table(records: Records, peers: dict[str, Entry]) -> str:
    """Seconds before the first turn: the largest of all workloads."""

    def largest(name: str, key: str) -> str:
        known = [row[name][key] for row in records.values() if "first_call_seconds" in row.get(name, ())]
        return f"{max(known):.1f}" if known else ""

    keys = ("startup_seconds", "first_call_seconds")
    rows = [[entry.label, *(largest(name, key) for key in keys)] for name, entry in peers.items()]
    return markdown_table(["Apart from that, at most", "start, s", "compile and first calls, s"], rows)


def draw(records: Records, peers: dict[str, Entry]) -> Figure:
    columns = min(len(records), 3)
    rows = -(-len(records) // columns)
    size = (2.3 + 2.2 * columns, 0.9 + rows * (0.7 + 0.22 * len(peers)))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(records) :]:
        panel.set_axis_off()
    for panel, (workload, row) in zip(panels.flat, records.items(), strict=False):
        draw_panel(panel, row, peers)
        panel.set_title(workload.replace("-first-order", "\nfirst order"), fontsize=9)
    for kind in dict.fromkeys(entry.kind for entry in peers.values()):
        panels[0, 0].plot([], [], "o", color=COLOURS.get(kind), label=KINDS.get(kind, kind))
    units = " or ".join(dict.fromkeys(GROUPS[group(workload)] for workload in records))
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, title=f"{units} a second", title_fontsize=9)
    return figure


def draw_panel(panel: Axes, row: dict, peers: dict[str, Entry]) -> None:
    """One workload; a peer that was not measured has a row without a point."""
    for place, (name, entry) in enumerate(peers.items()):
        if row.get(name, {}).get("status") == "measured":
            point = (row[name]["median"], place)
            panel.plot(*point, "o", color=COLOURS.get(entry.kind))
            panel.annotate(cell(row[name]), point, (0, 4), textcoords="offset points", fontsize=7, ha="center")
    panel.set_xscale("log")
    panel.xaxis.set_minor_formatter(NullFormatter())  # names of less than a decade stand on one another
    panel.margins(x=0.25)
    panel.set_yticks(range(len(peers)), [entry.label for entry in peers.values()], fontsize=8)
    panel.set_ylim(len(peers) - 0.5, -0.7)
    panel.tick_params(axis="x", labelsize=7)
    panel.grid(axis="x", alpha=0.3)
