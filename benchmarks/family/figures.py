"""The figures: accuracies of all learners, and the curves of the learned optimizer."""

import numpy as np
from matplotlib.figure import Figure

from benchmarks.family.entries import PROBLEMS


def measured(learners: dict[str, dict], what: str) -> list[tuple[str, dict]]:
    return [(learner, record) for learner, record in learners.items() if what in record]


def draw(told: dict) -> Figure:
    """The accuracy of each learner on each problem, inductive and transductive, with its interval."""
    images = [name for name in PROBLEMS if measured(told["problems"].get(name, {}), "accuracy")]
    columns = max(1, min(3, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(4.4 * columns, 4.6 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, images, strict=False):
        found = measured(told["problems"][name], "accuracy")
        found.sort(key=lambda named: named[1]["accuracy"]["inductive"]["mean"])
        places = np.arange(len(found))
        for kind, mark in (("inductive", "o"), ("transductive", "|")):
            values = np.array([[record["accuracy"][kind][of] for of in ("mean", "half_width")] for _, record in found])
            axes.errorbar(100 * values[:, 0], places, xerr=100 * values[:, 1], fmt=mark, label=kind, markersize=5)
        axes.set_yticks(places, [record["label"] for _, record in found])
        axes.set(title=name, xlabel="accuracy on test classes, %")
        axes.grid(alpha=0.3)
        handles = axes.get_legend_handles_labels()
    if images:
        figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


def draw_curves(records: dict[str, dict]) -> Figure:
    """Loss against steps, to twice the steps that the LSTM was trained on."""
    figure = Figure(figsize=(6.4 * len(records), 4.2), dpi=110, layout="constrained")
    for axes, (name, record) in zip(np.ravel(figure.subplots(1, len(records))), records.items(), strict=True):
        for label, curve in record["curves"].items():
            axes.plot(curve["mean"], label=label, linewidth=2.2 if label == "LSTM" else 1.2)
        horizon = (len(curve["mean"]) - 1) // 2
        axes.axvline(horizon, color="0.6", linestyle=":", label=f"trained on {horizon} steps")
        axes.set(yscale="log", xlabel="steps", ylabel="loss", title=name)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
