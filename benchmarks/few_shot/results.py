"""What the benchmark of images writes: table.md and curves.png, made from the content of results.json."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.few_shot.protocol import Protocol, make_protocol
from benchmarks.harness.results import Row, estimated, markdown_table
from jax_meta.plots import plot_learning_curve
from jax_meta.runs.plot import plot_line
from jax_meta.runs.progress import duration
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

SHOWN_STEPS = (0, 1, 3, 5, 10, 20, 50)
FEW_POINTS = 10  # curves of no more points are drawn with a mark at each: one point alone is no line


def published(protocol: Protocol, algorithm: str, kind: str) -> str:
    """The papers' figure for this setting, or a dash."""
    name = algorithm + (", dense" if protocol.model == "dense" else "") + (", inductive" if kind == "inductive" else "")
    return PUBLISHED.get((protocol.dataset, name), {}).get((protocol.ways, protocol.shots), "—")


def table(told: dict) -> str:
    """Published figures stand beside the step that their papers report; a run that was cut says so, above and there."""
    protocol, algorithm = Protocol(**told["protocol"]), told["algorithm"]
    label = f"{algorithm}, {protocol.name}" + (f", {protocol.model}" if protocol.model != "conv4" else "")
    rows = []
    for step in (step for step in SHOWN_STEPS if step <= protocol.test_steps):
        row = [label, describe_task(protocol), str(step)]
        for kind in ("transductive", "inductive"):
            reported = step == reported_step(protocol)
            row += [percent(told, kind, step), published(protocol, algorithm, kind) if reported else ""]
        rows.append(row)
    whole = cut(protocol, algorithm)
    beside = "Published, of whole runs" if whole else "Published"
    header = ("Algorithm, protocol", "Task", "Inner steps", "Transductive, %", beside, "Inductive, %", beside)
    budget = f"Trained for {meta_steps(protocol)}, in {duration(told['seconds']['training'])}. "
    budget += f"Cut: the protocol has {meta_steps(whole)}. " if whole else ""
    papers = make_whole(protocol, algorithm, "reptile" if algorithm == "reptile" else "maml")
    return f"{budget}The papers' full budget is {meta_steps(papers)}.\n\n{markdown_table(header, rows)}"


def cut(protocol: Protocol, algorithm: str) -> Protocol | None:
    """The protocol as it is whole, if this run is shorter."""
    whole = make_whole(protocol, algorithm, protocol.name)
    return whole if protocol.steps < whole.steps or protocol.tasks < whole.tasks else None


def make_whole(protocol: Protocol, algorithm: str, name: str) -> Protocol:
    return make_protocol(protocol.dataset, name, algorithm=algorithm, ways=protocol.ways, shots=protocol.shots)


def meta_steps(protocol: Protocol) -> str:
    return f"{protocol.steps:,} meta-steps of {protocol.tasks} tasks"


def describe_task(protocol: Protocol) -> str:
    return f"{protocol.dataset} {protocol.ways}-way {protocol.shots}-shot"


def percent(told: dict, kind: str, step: int, digits: int = 2) -> str:
    accuracy = told["test_accuracy_after_inner_steps"][kind]
    return " ± ".join(f"{100 * accuracy[field][step]:.{digits}f}" for field in ("mean", "half_width"))


def reported_step(protocol: Protocol) -> int:
    """After how many inner steps the papers report: Reptile 50; MAML 3 at 5 ways of Omniglot, 5 at 20, else 10."""
    if protocol.test_steps == 50:
        return 50
    if protocol.dataset == "omniglot":
        return 3 if protocol.ways < 20 else 5
    return 10


def describe(accuracies: np.ndarray) -> dict:
    """Mean and 95% interval over tasks, 0 to 1, after 0, 1, 2, ... inner steps."""
    return {**estimated(accuracies), "tasks": len(accuracies)}


def draw(told: dict, records: Sequence[dict]) -> Figure:
    """Left: accuracy while training. Right: accuracy on test tasks after each inner step, with its interval."""
    protocol = Protocol(**told["protocol"])
    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    found = columns(records)
    labels = {"accuracy": "training tasks, after adaptation", "val_accuracy": "validation tasks, transductive"}
    for index, name in enumerate(name for name in labels if name in found):
        steps, values = found[name]
        plot_line(left, steps, 100 * values, color=f"C{index}", label=labels[name])
    for line in left.lines:
        line.set_marker("o" if len(line.get_xdata()) <= FEW_POINTS else "")
    left.set(xlabel=f"meta-steps ({duration(told['seconds']['training'])} in all)", ylabel="accuracy, %")
    left.set_title(f"{told['algorithm']}, {describe_task(protocol)}: training")
    for kind, accuracy in told["test_accuracy_after_inner_steps"].items():
        mean, half_width = (100 * np.array(accuracy[field]) for field in ("mean", "half_width"))
        plot_learning_curve(right, mean, half_width, label=kind)
    right.set(xlabel="inner steps", ylabel="accuracy, %", title=f"{protocol.test_tasks:,} test tasks, 95% interval")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="lower right")
    return figure


def row(told: dict) -> Row:
    protocol = Protocol(**told["protocol"])
    after = [f"{percent(told, kind, reported_step(protocol), 1)}% {kind}" for kind in ("transductive", "inductive")]
    answer = f"{told['algorithm']}, {describe_task(protocol)}: {', '.join(after)}, after {meta_steps(protocol)}"
    return sum(told["seconds"].values()) / 60, answer
