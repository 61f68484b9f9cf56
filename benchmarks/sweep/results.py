"""What the sweep found: numbers, a table and a figure. A diverged network is counted, and never averaged in."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import jax_meta
from benchmarks.harness.results import Column, Row, counted, markdown_table, records_table, rounded
from benchmarks.sweep.networks import Grid

META_STEPS = 20_000
SHOWN_STEPS = (0, 1, 5, 10)
DRAWN_STEPS = (1, 5, 10)
HIGHEST_DRAWN, MOST_TICKS = 6.0, 12
DIVERGED = 100.0
"""A mean error above this counts as diverged, as one that is not finite: to answer 0 everywhere costs 4.4."""


def describe_grid(grid: Grid, losses: np.ndarray, errors: np.ndarray) -> list[dict]:
    return [
        {
            "outer_learning_rate": rounded(float(outer_learning_rate)),
            "step_size": rounded(float(step_size)),
            "seeds_with_finite_training": int(np.isfinite(losses[:, row, column]).all(axis=-1).sum()),
            **describe_seeds(errors[:, row, column]),
        }
        for row, outer_learning_rate in enumerate(grid.outer_learning_rates)
        for column, step_size in enumerate(grid.step_sizes)
    ]


def describe_seeds(errors: np.ndarray) -> dict:
    """Mean and half-width of its 95% interval over the seeds of `[seeds, inner steps + 1]`; None where one diverged."""
    sound = np.isfinite(errors) & (errors < DIVERGED)
    all_sound = sound.all(axis=0)  # the mean of the seeds that did not diverge would hide those that did
    estimate = jax_meta.estimate(np.where(all_sound, errors.astype(np.float64), 0.0))
    return {
        "seeds_not_diverged": sound.sum(axis=0).tolist(),
        "mean": or_none(estimate.mean, all_sound),
        "half_width": or_none(estimate.half_width, all_sound),
        "seed_means": [or_none(seed_errors, np.isfinite(seed_errors)) for seed_errors in errors],
    }


def or_none(values: Any, kept: np.ndarray) -> list[float | None]:
    """The values that are kept, rounded, and None for the others."""
    return [rounded(float(value)) if keep else None for value, keep in zip(values, kept, strict=True)]


def table(told: dict) -> str:
    speed, last, cut = told["throughput"], SHOWN_STEPS[-1], told["meta_steps"] < META_STEPS
    trained = f"Trained for {told['meta_steps']:,} meta-steps of {told['tasks_per_meta_step']} tasks"
    trained += f", cut: by default it is {META_STEPS:,}" if cut else ""
    errors: dict[str, Column] = {
        "inner step size": "{step_size:g}",
        "outer learning rate": "{outer_learning_rate:g}",
        **{f"after {step}": partial(interval, step=step) for step in SHOWN_STEPS},
        "seeds finite in training": "{seeds_with_finite_training}",
        f"not diverged after {last}": f"{{seeds_not_diverged[{last}]}}",
    }
    steps = speed["networks"] * speed["meta_steps"]
    ways = [
        ("at once", speed["compile_seconds_at_once"], speed["seconds_at_once"], speed["times_as_fast"]),
        ("one after the other", speed["compile_seconds_one"], speed["seconds_one_after_the_other"], 1.0),
    ]
    header = ["networks", "compile, s", "seconds", "meta-steps of a network per second", "times as fast"]
    numbers = [[f"{c:.2f}", f"{s:.2f}", f"{steps / s:,.0f}", f"{times:.2f}"] for _, c, s, times in ways]
    cells = [[f"{speed['networks']} {way[0]}", *row] for way, row in zip(ways, numbers, strict=True)]
    tables = records_table(told["settings"], errors), markdown_table(header, cells)
    return "\n".join([f"{trained}; errors on {told['test_tasks']:,} new sines.\n", *tables])


def interval(row: dict, step: int) -> str:
    """The error after so many inner steps, as `mean ± half_width`, or a dash where a seed diverged."""
    mean, half_width = row["mean"][step], row["half_width"][step]
    return "—" if mean is None else f"{mean:.2f} ± {half_width:.2f}"


def draw(rows: list[dict], seeds: int) -> Figure:
    rates = list(dict.fromkeys(row["outer_learning_rate"] for row in rows))
    figure = Figure(figsize=(1 + 5.4 * len(rates), 4.2), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for axes, rate in zip(panels, rates, strict=True):
        chosen = sorted((row for row in rows if row["outer_learning_rate"] == rate), key=lambda row: row["step_size"])
        axes.set(title=f"{seeds} seeds; outer learning rate {rate:g}", xlabel="inner step size", xscale="log")
        axes.grid(alpha=0.25, which="both")
        for height, step in enumerate(DRAWN_STEPS):
            draw_curve(axes, chosen, step, cross_height=0.97 - 0.05 * height)
        if len(chosen) <= MOST_TICKS:
            sizes = [row["step_size"] for row in chosen]
            axes.set_xticks(sizes, labels=[f"{size:g}" for size in sizes])
            axes.set_xticks([], minor=True)
    panels[0].set(ylabel="mean squared test error", ylim=(0, HIGHEST_DRAWN))
    handles, labels = panels[0].get_legend_handles_labels()
    title = "mean and 95% interval over seeds; × where a seed diverged"
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=len(labels))
    return figure


def draw_curve(axes: Any, rows: list[dict], step: int, *, cross_height: float) -> None:
    """One curve and its band; a gap, with a cross near the upper edge, where a seed diverged."""
    sizes = [row["step_size"] for row in rows]
    mean, half_width = (np.array([row[name][step] for row in rows], float) for name in ("mean", "half_width"))
    (line,) = axes.plot(sizes, mean, "o-", markersize=3, label=f"after {counted(step, 'step')}")
    axes.fill_between(sizes, mean - half_width, mean + half_width, color=line.get_color(), alpha=0.25, linewidth=0)
    gaps = [size for size, value in zip(sizes, mean, strict=True) if np.isnan(value)]
    above = axes.get_xaxis_transform()
    axes.plot(gaps, [cross_height] * len(gaps), "x", color=line.get_color(), transform=above)


def row(told: dict) -> Row:
    speed, last = told["throughput"], SHOWN_STEPS[-1]
    best = min((row for row in told["settings"] if row["mean"][last]), key=lambda row: row["mean"][last])
    times = f"{speed['networks']} in one call are {speed['times_as_fast']:.2f} times as fast as one after the other"
    error = f"step size {best['step_size']:g}, with an error of {interval(best, last)} after {last} steps"
    return 2, f"{times}; {error}"
