"""Accuracy against images, steps and rate, for every start; and the difference in question against the budget."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness.results import counted

BESIDE = 1.06  # so many times as far right is each start's interval, that none hides another


def numbers(start: dict) -> list[str]:
    """The numbers of images that a start was fitted with, in order."""
    return ordered(key for key in start if key.isdigit())


def ordered(keys: Iterable[str]) -> list[str]:
    return sorted(set(keys), key=int)


def panels(keys: list[str], *, title: Callable[[str], str]) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each key, three in a row."""
    columns = max(1, min(3, len(keys)))
    rows = max(1, -(-len(keys) // columns))
    figure = Figure(figsize=(max(6.4, 4.6 * columns), 0.8 + 4 * rows), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in axes[len(keys) :]:
        panel.set_axis_off()
    for panel, key in zip(axes, keys, strict=False):
        panel.set(title=title(key))
        panel.grid(alpha=0.3)
    return figure, dict(zip(keys, axes, strict=False))


def of_images(shots: str) -> str:
    return f"{counted(int(shots), 'image')} of a class"


def of_steps(steps: str) -> str:
    return counted(int(steps), "step")


def all_shots(told: dict) -> list[str]:
    return ordered(shots for start in told["starts"].values() for shots in numbers(start))


def all_steps(told: dict) -> list[str]:
    return ordered(step for start in told["starts"].values() for shots in numbers(start) for step in start[shots])


def draw_shots(told: dict) -> Figure | None:
    """One panel for each number of steps; None with a single number of images."""
    across = all_shots(told), "images of a class"
    return draw_accuracy(told, *across, all_steps(told), of_steps, lambda shots, steps: (shots, steps))


def draw_steps(told: dict) -> Figure | None:
    """One panel for each number of images; None with a single number of steps."""
    across = all_steps(told), "steps of fine-tuning"
    return draw_accuracy(told, *across, all_shots(told), of_images, lambda steps, shots: (shots, steps))


def draw_accuracy(
    told: dict,
    across: list[str],
    name: str,
    keys: list[str],
    title: Callable[[str], str],
    cell: Callable[[str, str], tuple[str, str]],
) -> Figure | None:
    """A panel for each key; `cell(one of across, key)` is a number of images and one of steps."""
    if len(across) < 2:
        return None
    figure, axes = panels(keys, title=title)
    for key, panel in axes.items():
        lines(told, panel, {one: cell(one, key) for one in across})
        panel.set(xlabel=name, ylabel="accuracy on test classes, %")
    return with_legend(figure, axes)


def lines(told: dict, panel: Axes, cells: dict[str, tuple[str, str]]) -> None:
    """A line for each start, over the cells that it has, by images and steps."""
    for name, style in styles(told).items():
        start = told["starts"][name]
        found = {int(key): start.get(shots, {}).get(steps) for key, (shots, steps) in cells.items()}
        points = [(key, 100 * one["mean"]) for key, one in found.items() if one]
        panel.plot(*columns(points), **style)
    numbered(panel, list(cells))


def look(place: int) -> dict[str, Any]:
    """Of a line; there are ten colours, and more starts."""
    shape = {"marker": "o", "linestyle": "-"} if place < 10 else {"marker": "s", "linestyle": "--"}
    return {"color": f"C{place % 10}", "markersize": 4, **shape}


def styles(told: dict) -> dict[str, dict[str, Any]]:
    """By start, its label and its look in every figure."""
    return {
        name: {"label": start["label"], **look(place)} for place, (name, start) in enumerate(told["starts"].items())
    }


def draw_differences(told: dict) -> Figure | None:
    """Each start less pre-training on the same tasks, a panel for each number of steps; None with one of images."""
    across = all_shots(told)
    if len(across) < 2:
        return None
    figure, axes = panels(all_steps(told), title=of_steps)
    style = styles(told)
    middle = (len(told["differences"]) - 1) / 2
    for steps, panel in axes.items():
        for place, (name, by_shots) in enumerate(told["differences"].items()):
            found = {shots: one[steps] for shots, one in by_shots.items() if steps in one}
            if found:
                errorbars(panel, found, aside=BESIDE ** (place - middle), **style[name])
        against_zero(panel, "images of a class", "points more than pre-training")
        numbered(panel, across)
    return with_legend(figure, axes)


def errorbars(panel: Axes, found: dict[str, dict], *, aside: float = 1.0, **style: Any) -> None:
    """Differences in points with their intervals, `found[number]`, at so many times the number."""
    order = ordered(found)
    means, widths = ([100 * found[key][name] for key in order] for name in ("mean", "half_width"))
    panel.errorbar([aside * int(key) for key in order], means, widths, capsize=3, **style)


def against_zero(panel: Axes, across: str, upwards: str) -> None:
    panel.axhline(0, color="black", linewidth=0.8)
    panel.set(xlabel=across, ylabel=upwards)


def columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def numbered(panel: Axes, across: list[str]) -> None:
    """A logarithmic axis with the numbers that were measured."""
    panel.set_xscale("log")
    panel.set_xticks([int(key) for key in across], [f"{int(key):,}" for key in across])
    panel.minorticks_off()


def draw_rates(told: dict) -> Figure:
    """Validation accuracy after the most steps, a panel for each number of images."""
    figure, axes = panels(all_shots(told), title=of_images)
    for key, panel in axes.items():
        for name, style in styles(told).items():
            start = told["starts"][name]
            tried = start[key][max(start[key], key=int)]["tried"] if key in start else {}
            points = [(float(rate), 100 * value) for rate, value in tried.items()]
            panel.plot(*columns(sorted(points)), **style)
        panel.set(xscale="log", xlabel="rate of fine-tuning", ylabel="accuracy on validation classes, %")
    return with_legend(figure, axes)


def draw_budgets(gaps: dict[str, dict[str, dict]], *, title: str) -> Figure | None:
    """A difference against the budget, `gaps[shots][budget]`, a line for each number of images with several, if any."""
    gaps = {shots: found for shots, found in gaps.items() if len(found) > 1}
    across = ordered(budget for found in gaps.values() for budget in found)
    if len(across) < 2:
        return None
    figure, axes = panels([title], title=str)
    panel = axes[title]
    for place, shots in enumerate(ordered(gaps)):
        errorbars(panel, gaps[shots], label=of_images(shots), **look(place))
    against_zero(panel, "image gradients of each start", "points of accuracy on test classes")
    numbered(panel, across)
    return with_legend(figure, axes)


def with_legend(figure: Figure, axes: dict[str, Axes]) -> Figure:
    if axes:
        figure.legend(*next(iter(axes.values())).get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
