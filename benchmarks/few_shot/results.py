"""What an image benchmark leaves behind: results.json, table.md and curves.png."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.few_shot.protocol import Protocol
from benchmarks.harness.index import Row
from benchmarks.harness.report import environment, markdown_table, rounded, write_json, write_text
from jax_meta import estimate
from jax_meta.plots import plot_learning_curve
from jax_meta.runs.plot import plot_line
from jax_meta.runs.records import columns

PUBLISHED = {
    ("omniglot", "maml"): {(5, 1): "98.7 ± 0.4", (5, 5): "99.9 ± 0.1", (20, 1): "95.8 ± 0.3", (20, 5): "98.9 ± 0.2"},
    ("omniglot", "maml, dense"): {(5, 1): "89.7 ± 1.1", (5, 5): "97.5 ± 0.6"},
    ("omniglot", "fomaml"): {(5, 1): "98.3 ± 0.5", (5, 5): "99.2 ± 0.2", (20, 1): "89.4 ± 0.5", (20, 5): "97.9 ± 0.1"},
    ("omniglot", "reptile"): {(5, 1): "97.68", (5, 5): "99.48", (20, 1): "89.43", (20, 5): "97.12"},
    ("omniglot", "reptile, inductive"): {(5, 1): "95.39", (5, 5): "98.90", (20, 1): "88.14", (20, 5): "96.65"},
    ("miniimagenet", "maml"): {(5, 1): "48.70", (5, 5): "63.11"},
    ("miniimagenet", "fomaml"): {(5, 1): "48.07", (5, 5): "63.15"},
    ("miniimagenet", "reptile"): {(5, 1): "49.97", (5, 5): "65.99"},
    ("cifar_fs", "maml"): {(5, 1): "58.9 ± 1.9", (5, 5): "71.5 ± 1.0"},
}
"""Per cent, transductive unless it says otherwise: Finn et al., arXiv:1703.03400, table 1; Nichol et al.,
arXiv:1803.02999, tables 1 and 2 (first-order MAML there, too); Bertinetto et al., arXiv:1805.08136, table 1."""

HEADER = ("Algorithm, protocol", "Task", "Inner steps", "Transductive, %", "Published", "Inductive, %", "Published")
ACCURACY = "test_accuracy_after_inner_steps"
SHOWN_STEPS = (0, 1, 3, 5, 10, 20, 50)


def published(protocol: Protocol, algorithm: str, kind: str) -> str:
    """The papers' figure for this setting, or a dash."""
    name = algorithm + (", dense" if protocol.model == "dense" else "") + (", inductive" if kind == "inductive" else "")
    return PUBLISHED.get((protocol.dataset, name), {}).get((protocol.ways, protocol.shots), "—")


def table(protocol: Protocol, algorithm: str, accuracies: dict[str, np.ndarray]) -> str:
    """A row for some of the inner steps; the published figures are beside the step that their papers report."""
    estimates = {kind: estimate(100 * values) for kind, values in accuracies.items()}
    label = f"{algorithm}, {protocol.name}" + (f", {protocol.model}" if protocol.model != "conv4" else "")
    rows = []
    for step in (step for step in SHOWN_STEPS if step <= protocol.test_steps):
        row = [label, describe_task(protocol), str(step)]
        for kind in ("transductive", "inductive"):
            mean, half_width = (field[step] for field in estimates[kind])
            reported = step == reported_step(protocol)
            row += [f"{mean:.2f} ± {half_width:.2f}", published(protocol, algorithm, kind) if reported else ""]
        rows.append(row)
    return markdown_table(HEADER, rows)


def reported_step(protocol: Protocol) -> int:
    """After how many inner steps the papers report: Reptile 50; MAML 3 at 5 ways of Omniglot, 5 at 20, else 10."""
    if protocol.test_steps == 50:
        return 50
    if protocol.dataset == "omniglot":
        return 3 if protocol.ways < 20 else 5
    return 10


def describe_task(protocol: Protocol) -> str:
    """The data set, the ways and the shots."""
    return f"{protocol.dataset} {protocol.ways}-way {protocol.shots}-shot"


def write_results(
    folder: Path,
    protocol: Protocol,
    algorithm: str,
    seed: int,
    records: Sequence[dict[str, Any]],
    accuracies: dict[str, np.ndarray],
    seconds: dict[str, float],
) -> None:
    """Writes the three files."""
    content: dict[str, Any] = {
        **environment(),
        "algorithm": algorithm,
        "seed": seed,
        "protocol": protocol._asdict(),
        "seconds": rounded(seconds, 4),
        ACCURACY: {kind: describe(values) for kind, values in accuracies.items()},
    }
    write_json(folder / "results.json", content)
    write_text(folder / "table.md", table(protocol, algorithm, accuracies))
    draw(protocol, algorithm, records, accuracies, seconds).savefig(folder / "curves.png", dpi=110)


def describe(accuracies: np.ndarray) -> dict[str, Any]:
    """Mean and 95% interval over tasks, 0 to 1, after 0, 1, 2, ... inner steps."""
    mean, half_width = estimate(accuracies)
    return {"mean": rounded(mean.tolist()), "half_width": rounded(half_width.tolist(), 3), "tasks": len(accuracies)}


def draw(
    protocol: Protocol,
    algorithm: str,
    records: Sequence[dict[str, Any]],
    accuracies: dict[str, np.ndarray],
    seconds: dict[str, float],
) -> Figure:
    """Left: accuracy while training. Right: accuracy on test tasks after each inner step, with its interval."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = {"accuracy": "training tasks, after adaptation", "val_accuracy": "validation tasks, transductive"}
    for index, (name, label) in enumerate(labels.items()):
        steps, values = columns(records)[name]
        plot_line(left, steps, 100 * values, color=f"C{index}", label=label)
    left.set(xlabel=f"meta-steps ({seconds['training'] / 60:.0f} minutes in all)", ylabel="accuracy, %")
    left.set_title(f"{algorithm}, {describe_task(protocol)}: training")
    for kind, values in accuracies.items():
        plot_learning_curve(right, *(100 * field for field in estimate(values)), label=kind)
    right.set(xlabel="inner steps", ylabel="accuracy, %", title=f"{protocol.test_tasks:,} test tasks, 95% interval")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    return figure


def row(told: Mapping[str, Any]) -> Row:
    """The line of benchmarks/README.md."""
    protocol, algorithm = Protocol(**told["protocol"]), told["algorithm"]
    step = reported_step(protocol)
    after = {kind: (100 * v["mean"][step], 100 * v["half_width"][step]) for kind, v in told[ACCURACY].items()}
    accuracies = ", ".join(f"{mean:.1f} ± {half:.1f}% {kind}" for kind, (mean, half) in sorted(after.items())[::-1])
    return Row(
        f"How well does {algorithm} learn {describe_task(protocol)}?",
        sum(told["seconds"].values()) / 60,
        f"{accuracies}, after {protocol.steps:,} meta-steps of {protocol.tasks} tasks",
    )
