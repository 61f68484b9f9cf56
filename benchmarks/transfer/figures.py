"""The figures: accuracy against images of a class, and against the rate of fine-tuning, for every start."""

from matplotlib.figure import Figure


def numbers(start: dict) -> list[str]:
    """The numbers of images that a start was fitted with, in order."""
    return sorted((key for key in start if key.isdigit()), key=int)


def panels(told: dict, keys: list[str], *, title: str) -> tuple[Figure, dict]:
    figure = Figure(figsize=(max(6.4, 4.6 * len(keys)), 4.8), dpi=110, layout="constrained")
    axes = figure.subplots(1, max(1, len(keys)), squeeze=False)[0]
    for panel, key in zip(axes, keys, strict=False):
        panel.set(title=title.format(key))
        panel.grid(alpha=0.3)
    return figure, dict(zip(keys, axes, strict=False))


def draw_shots(told: dict) -> Figure:
    """One panel for each number of steps."""
    starts = told["starts"]
    steps = sorted({one for start in starts.values() for key in numbers(start) for one in start[key]}, key=int)
    figure, axes = panels(told, steps, title="{} steps")
    for key, panel in axes.items():
        for start in starts.values():
            found = [(int(shots), start[shots][key]) for shots in numbers(start) if key in start[shots]]
            values = [100 * one["mean"] for _, one in found]
            panel.plot([shots for shots, _ in found], values, marker="o", markersize=4, label=start["label"])
        shown = sorted({int(shots) for start in starts.values() for shots in numbers(start)})
        panel.set(xscale="log", xlabel="images of a class", ylabel="accuracy on test classes, %")
        panel.set_xticks(shown, [str(one) for one in shown])
        panel.minorticks_off()
    return with_legend(figure, axes)


def draw_rates(told: dict) -> Figure:
    """Validation accuracy after the most steps, a panel for each number of images."""
    starts = told["starts"]
    keys = sorted({shots for start in starts.values() for shots in numbers(start)}, key=int)
    figure, axes = panels(told, keys, title="{} images of a class")
    for key, panel in axes.items():
        for start in starts.values():
            if key not in start:
                continue
            tried = start[key][max(start[key], key=int)]["tried"]
            points = sorted((float(rate), 100 * value) for rate, value in tried.items())
            panel.plot(*zip(*points, strict=True), marker="o", markersize=4, label=start["label"])
        panel.set(xscale="log", xlabel="rate of fine-tuning", ylabel="accuracy on validation classes, %")
    return with_legend(figure, axes)


def with_legend(figure: Figure, axes: dict) -> Figure:
    if axes:
        figure.legend(*next(iter(axes.values())).get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
