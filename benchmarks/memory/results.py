"""The tables, the file of results and the figure of `benchmarks.memory`, and what is read off them."""

from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness.results import Row, counted, markdown_table, rounded, write_results
from benchmarks.harness.rounds import Record, reasons
from benchmarks.memory.measure import DEFAULT, Variants, of_kind

BySteps = dict[int, dict]  # inner steps, then variant
Sizes = dict[str, list[Record]]  # variant, then one record for each size, with `num_tasks` and `width`
PEER_STEPS = 20  # the inner steps at which the leanest peer sets the mark
BY_STEPS = {
    "Peak resident MiB (seconds a meta-gradient)": "{peak_compiled_before_mib:,.0f} ({seconds:.2f})",
    "Peak resident MiB where it is compiled, too": "{peak_mib:,.0f}",
    "Temporary MiB (times the default's seconds)": "{temporary_mib:,.1f} ({times})",
}
STAGES = {  # when memory is needed
    "before": "{resident_before_mib:,.0f}",
    "peak of compilation": "{peak_before_running_mib:,.0f}",
    "after compilation": "{resident_after_compilation_mib:,.0f}",
    "peak of running": "{peak_running_mib:,.0f}",
    "compile, s": "{compile_seconds:.1f}",
}
PERCEPTRON = {
    "temporary MiB": "{temporary_mib:,.0f}",
    "seconds a meta-gradient": "{seconds:.2f}",
    "of the default's": "{times}",
}


class Findings(NamedTuple):
    by_steps: dict[int, dict]
    sizes: dict[str, list[Record]]
    perceptron: dict


def write(options: Namespace, settings: dict, findings: Findings, variants: Variants) -> None:
    content = {
        **settings,
        "variants": labels(variants),
        f"leanest_peer_at_{PEER_STEPS}_steps": mark(findings.by_steps, variants),
        "by_inner_steps": rounded(findings.by_steps),
        "by_size": rounded(findings.sizes),
        "of_the_perceptron": rounded(findings.perceptron),
    }
    write_results(options, content, tables(*findings, variants), memory=draw(findings.by_steps, variants))


def labels(variants: Variants) -> dict[str, str]:
    return {name: variant.entry.label for name, variant in variants.items()}


def row(told: dict) -> Row:
    steps, records = max(told["by_inner_steps"].items(), key=lambda item: int(item[0]))
    peaks = {name: record.get("peak_compiled_before_mib") for name, record in records.items()}
    shown = [f"{told['variants'][name]} {peak:,.0f}" for name, peak in peaks.items() if peak is not None]
    return 25, f"peak MiB of {steps} inner steps: {'; '.join(shown)}"


def mark(by_steps: BySteps, variants: Variants) -> Record | None:
    return leanest(by_steps, PEER_STEPS, variants.keys() - of_kind(variants, "ours").keys())


def leanest(by_steps: BySteps, steps: int, names: Iterable[str]) -> Record | None:
    """Which of these needs the least resident memory where nothing is compiled; None where none was measured."""
    records = {name: record for name, record in by_steps.get(steps, {}).items() if record["status"] == "measured"}
    known = {name: records[name]["peak_compiled_before_mib"] for name in names if name in records}
    if not known:
        return None
    best = min(known, key=lambda name: known[name])
    return {"variant": best, "inner_steps": steps, "peak_mib": rounded(known[best])}


def times_of_default(records: dict, name: str) -> float | None:
    """How many times the default's seconds a variant takes, in the same run."""
    known = [records.get(each, {"status": "none"}) for each in (name, DEFAULT)]
    if any(record["status"] != "measured" for record in known):
        return None
    return known[0]["seconds"] / known[1]["seconds"]


def tables(by_steps: BySteps, sizes: Sizes, perceptron: dict, variants: Variants) -> str:
    parts = [sentence(by_steps, variants)] if mark(by_steps, variants) else []
    if by_steps:
        compiled, most = of_kind(variants, "ours", "jax"), max(by_steps)
        for title, form in BY_STEPS.items():
            columns = {counted(steps, "inner step"): cell(row, form) for steps, row in by_steps.items()}
            parts.append(table(title, variants if "seconds a" in title else compiled, columns))
        stages = {stage: cell(by_steps[most], form) for stage, form in STAGES.items()}
        parts.append(table(f"Resident MiB, {counted(most, 'inner step')}", variants, stages))
    if sizes:
        parts.append(size_table(sizes, variants))
    if perceptron:
        columns = {title: cell(perceptron, form) for title, form in PERCEPTRON.items()}
        parts.append(table("MLP", {name: variants[name] for name in perceptron}, columns))
    everywhere = {f"{steps} inner steps": records for steps, records in by_steps.items()} | {"MLP": perceptron}
    return "\n".join([*parts, *reasons(everywhere, labels(variants))])


def sentence(by_steps: BySteps, variants: Variants) -> str:
    """The leanest peer at 20 steps beside the leanest of ours at the most steps."""
    found = {
        "peer": mark(by_steps, variants),
        "of jax_meta": leanest(by_steps, max(by_steps), of_kind(variants, "ours")),
    }
    told = [
        f"the leanest {who} at {one['inner_steps']} inner steps ({variants[one['variant']].entry.label}) needs "
        f"{one['peak_mib']:,.0f} MiB"
        for who, one in found.items()
        if one
    ]
    return f"With programs found in the compilation cache, {', and '.join(told)}.\n"


def table(title: str, variants: Variants, columns: dict[str, Callable[[str], str]]) -> str:
    """A row for each variant: its label, and what the columns' functions say of its name."""
    rows = [[variant.entry.label, *(tell(name) for tell in columns.values())] for name, variant in variants.items()]
    return markdown_table([title, *columns], rows)


def cell(records: dict, form: str) -> Callable[[str], str]:
    """A column of this format, which may ask for `times` of the default's seconds; or why there are no numbers."""

    def tell(name: str) -> str:
        if records[name]["status"] != "measured":
            return records[name]["status"].split(":")[0]
        times = times_of_default(records, name) if "{times}" in form else None
        told = {"times": "" if times is None else f"{times:.2f} x", **records[name]}
        try:
            return form.format(**told).removesuffix(" ()")
        except TypeError:  # None, as the seconds of what is not compiled
            return ""

    return tell


def size_table(sizes: Sizes, variants: Variants) -> str:
    names = [f"{record['num_tasks']} x {record['width']}" for record in next(iter(sizes.values()))]
    at_size = ({name: records[place] for name, records in sizes.items()} for place in range(len(names)))
    columns = {name: cell(records, "{temporary_mib:,.1f}") for name, records in zip(names, at_size, strict=True)}
    return table("Temporary MiB, tasks x filters", {name: variants[name] for name in sizes}, columns)


def draw(by_steps: BySteps, variants: Variants) -> Figure:
    """Peak resident memory of all, and temporary memory of `jax_meta`, against inner steps; the mark of a peer."""
    peer, figure = mark(by_steps, variants), Figure(figsize=(13, 5.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3)
    told = (
        ("Peak resident MiB, found in the compilation cache", variants, "peak_compiled_before_mib"),
        ("Peak resident MiB, compiled in the process", variants, "peak_mib"),
        ("Temporary MiB of the compiled program", of_kind(variants, "ours"), "temporary_mib"),
    )
    for panel, (title, chosen, key) in zip(panels, told, strict=True):
        draw_panel(panel, by_steps, chosen, key)
        panel.set_title(title, fontsize=10)
    if peer:
        label = f"leanest peer at {peer['inner_steps']} steps: {peer['peak_mib']:,.0f} MiB"
        for panel in panels[:2]:
            panel.axhline(peer["peak_mib"], color="black", linewidth=0.8, linestyle=":", label=label)
            panel.set_ylim(panels[1].get_ylim())
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_panel(panel: Axes, by_steps: BySteps, variants: Variants, key: str) -> None:
    for place, (name, variant) in enumerate(variants.items()):
        known = {steps: row[name][key] for steps, row in by_steps.items() if row[name]["status"] == "measured"}
        style, label = "o-" if variant.entry.kind == "ours" else "s--", variant.entry.label
        panel.loglog(list(known), list(known.values()), style, color=f"C{place}", markersize=4, label=label)
    panel.set_xlabel("inner steps")
    panel.set_xticks(list(by_steps), [str(steps) for steps in by_steps])
    panel.minorticks_off()
    low, high = panel.get_ylim()
    ticks = [base * 10**power for power in range(7) for base in (1, 2, 5) if low <= base * 10**power <= high]
    panel.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    panel.grid(alpha=0.3)
