"""The figure."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness.rounds import Record
from benchmarks.memory.variants import Variant, of_kind

STYLES: dict[str, dict[str, Any]] = {
    "vmap": {"color": "C3", "linestyle": ":"},
    "none": {"color": "C3"},
    "steps": {"color": "C1"},
    "blocks": {"color": "C4"},
    "mixed": {"color": "C0"},
    "mixed-updates": {"color": "C9"},
    "mixed-blocks": {"color": "C2"},
    "naive": {"color": "0.2", "linestyle": "--", "marker": "s"},
    "torch": {"color": "0.4", "linestyle": "--", "marker": "^"},
    "higher": {"color": "0.55", "linestyle": "--", "marker": "v"},
    "learn2learn": {"color": "0.7", "linestyle": "--", "marker": "D"},
}


def draw(
    by_steps: Mapping[int, Mapping[str, Record]], variants: Mapping[str, Variant], leanest: Record | None
) -> Figure:
    """Peak resident memory of all, and temporary memory of `jax_meta`, against inner steps; the mark of a peer."""
    figure = Figure(figsize=(13, 5.4), dpi=110, layout="constrained")
    first, second, third = figure.subplots(1, 3)
    draw_panel(first, by_steps, variants, "peak_compiled_before_mib")
    draw_panel(second, by_steps, variants, "peak_mib")
    draw_panel(third, by_steps, of_kind(variants, "ours"), "temporary_mib")
    first.set_title("Peak resident MiB, found in the compilation cache", fontsize=10)
    second.set_title("Peak resident MiB, compiled in the process", fontsize=10)
    third.set_title("Temporary MiB of the compiled program", fontsize=10)
    if leanest:
        label = f"leanest peer at {leanest['inner_steps']} steps: {leanest['peak_mib']:,.0f} MiB"
        for panel in (first, second):
            panel.axhline(leanest["peak_mib"], color="black", linewidth=0.8, linestyle=":", label=label)
            panel.set_ylim(second.get_ylim())
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_panel(
    panel: Axes, by_steps: Mapping[int, Mapping[str, Record]], variants: Mapping[str, Variant], key: str
) -> None:
    """A line for each variant, through what was measured."""
    for name, variant in variants.items():
        known = {steps: row[name][key] for steps, row in by_steps.items() if row[name]["status"] == "measured"}
        style = {"marker": "o", "color": "black", "markersize": 4, **STYLES.get(name, {})}
        panel.loglog(list(known), list(known.values()), label=variant.entry.label, **style)
    panel.set_xlabel("inner steps")
    panel.set_xticks(list(by_steps), [str(steps) for steps in by_steps])
    panel.minorticks_off()
    low, high = panel.get_ylim()
    ticks = [base * 10**power for power in range(7) for base in (1, 2, 5) if low <= base * 10**power <= high]
    panel.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    panel.grid(alpha=0.3)
