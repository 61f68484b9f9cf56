"""The figures: images after a few steps, decibels against steps, and against the pixels that are given."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.fields.measure import SHOWN, SHOWN_STEPS
from benchmarks.fields.networks import SIDE
from benchmarks.fields.starts import RECIPES

GAP, WIDTH = 4, 12  # pixels between two images; inches
COLOURS = [
    "0.5",
    "0.2",
    "tab:brown",
    "tab:olive",
    "tab:cyan",
    "tab:green",
    "tab:blue",
    "tab:red",
    "tab:purple",
    "tab:orange",
    "tab:pink",
]
LINES = {"random": ":", "matched": ":", "shuffled": ":"}


def draw_images(folder: Path, names: list[str]) -> Figure:
    """Rows of starts, and for each test image columns of steps, its target last."""
    names = [name for name in names if (folder / f"{name}-0.png").exists()]
    strips = [np.asarray(Image.open(folder / f"{name}-0.png")) for name in names]
    columns, side = len(SHOWN_STEPS) + 1, SIDE + GAP
    canvas = np.full((len(names) * side, SHOWN * (columns * side + GAP), 3), 255, np.uint8)
    for row, pixels in enumerate(strips):
        for image in range(SHOWN):
            for column in range(columns):
                left = image * (columns * side + GAP) + column * side
                part = pixels[image * SIDE : (image + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
                canvas[row * side : row * side + SIDE, left : left + SIDE] = part
    tall, margin, right, top = WIDTH * 0.82 * canvas.shape[0] / canvas.shape[1], 0.17, 0.99, 0.6
    figure = Figure(figsize=(WIDTH, tall + top), dpi=110)
    axes = figure.add_axes((margin, 0, right - margin, tall / (tall + top)))
    axes.imshow(canvas, interpolation="nearest")
    places = [image * (columns * side + GAP) + column * side for image in range(SHOWN) for column in range(columns)]
    labels = [*(str(step) for step in SHOWN_STEPS), "target"] * SHOWN
    axes.set_xticks([place + SIDE / 2 for place in places], labels, fontsize=9)
    axes.set_yticks(np.arange(len(names)) * side + SIDE / 2, [RECIPES[name].label for name in names], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("steps of SGD", fontsize=10)
    return figure


def draw_steps(starts: dict[str, Any]) -> Figure:
    """Decibels against steps, with 95% intervals over images."""
    figure = Figure(figsize=(11, 5), dpi=110, layout="constrained")
    for axes, (optimizer, label) in zip(
        figure.subplots(1, 2, sharey=True), (("sgd", "SGD"), ("adam", "Adam")), strict=True
    ):
        lines(axes, {name: record["decibels"][optimizer] for name, record in starts.items()})
        axes.set_xscale("symlog", linthresh=1)
        steps = [int(step) for step in next(iter(starts.values()))["decibels"][optimizer]]
        axes.set_xticks(steps, [f"{step:,}" for step in steps], rotation=45)
        axes.minorticks_off()
        axes.set_ylim(5, 60)
        axes.set(title=f"steps of {label}, best rate for each", xlabel="steps")
    figure.axes[0].set_ylabel("decibels, test images")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def draw_pixels(starts: dict[str, Any]) -> Figure:
    """Decibels on unseen pixels against the number of those given."""
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    lines(axes, {name: record["unseen"] for name, record in starts.items()})
    axes.set_xscale("log", base=2)
    counts = [int(count) for count in next(iter(starts.values()))["unseen"]]
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set(xlabel=f"pixels given, of {SIDE * SIDE:,}", ylabel="decibels on the others, test images")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def lines(axes: Axes, curves: dict[str, dict]) -> None:
    for colour, name in zip(COLOURS, RECIPES, strict=True):
        if name in curves:
            places = np.array([int(key) for key in curves[name]])
            mean, half = (np.array([told[key] for told in curves[name].values()]) for key in ("mean", "half_width"))
            axes.plot(places, mean, LINES.get(name, "-"), color=colour, marker=".", label=RECIPES[name].label)
            axes.fill_between(places, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
    axes.grid(alpha=0.3)
