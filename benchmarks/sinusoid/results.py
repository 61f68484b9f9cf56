"""The sine benchmark's numbers: what goes into results.json and table.md."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.index import Row
from benchmarks.harness.results import markdown_table, records_table, rounded
from benchmarks.sinusoid.methods import TABLE_STEPS, Method, Outcome
from benchmarks.sinusoid.protocol import PROTOCOLS, Protocol
from jax_meta import estimate

NOTEBOOK = {
    "Random": (4.505, 4.330, 4.167, 4.293, 4.348),
    "Transfer": (4.476, 4.457, 4.392, 4.361, 4.609),
    "MAML": (4.50, 1.85, 0.94, 0.88, 0.86),
    "First-order MAML": (4.49, 2.44, 1.72, 1.69, 1.65),
    "Reptile": (4.52, 1.86, 0.82, 0.72, 0.62),
}
"""The post's notebook run as it stands, support gradient and all, at TABLE_STEPS: 5 models (the first two: 1)."""

PAPER_TABLE_2 = (None, 0.67, 0.38, 0.35, None)
"""MAML on 5 points at TABLE_STEPS: Finn et al., arXiv:1703.03400, Table 2 (of its appendix)."""

COMPARED = (
    ("reptile", "maml"),
    ("fomaml", "maml"),
    ("reptile", "fomaml"),
    ("maml-published", "maml"),
    ("fomaml-published", "fomaml"),
    ("reptile", "maml-published"),
)
"""Pairs (first, second) whose difference in error, first minus second, is tested over seeds."""


def describe_outcome(method: Method, outcome: Outcome) -> dict[str, Any]:
    """One method in results.json; every error is a mean squared error after 0, 1, 2, ... steps of fine-tuning."""
    return {
        "label": method.label,
        "meta_steps": method.steps,
        "seconds": rounded(outcome.seconds, 3),
        "errors_by_shots": {str(shots): describe_errors(errors) for shots, errors in outcome.errors.items()},
    }


def describe_errors(errors: np.ndarray) -> dict[str, Any]:
    """Errors `[seeds, tasks, steps + 1]`: their mean, its 95% interval over tasks, and the spread between seeds."""
    mean, half_width = estimate(errors.mean(axis=0))
    seeds = errors.mean(axis=1)
    spread = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else np.zeros_like(seeds[0])
    return {
        "mean": rounded(mean.tolist()),
        "half_width_over_tasks": rounded(half_width.tolist(), 3),
        "standard_deviation_over_seeds": rounded(spread.tolist(), 3),
        "seed_means_after": {str(step): rounded(seeds[:, step].tolist()) for step in TABLE_STEPS},
    }


def differences(outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """The paired differences between methods over seeds, which share networks and tasks, with 95% intervals."""
    rows = []
    for first, second in COMPARED:
        if first not in outcomes or second not in outcomes:
            continue
        for shots, errors in outcomes[first].errors.items():
            gaps = (errors - outcomes[second].errors[shots]).mean(axis=1)
            if len(gaps) < 2:
                continue
            mean, half_width = estimate(gaps[:, TABLE_STEPS])
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "shots": shots,
                    "after_steps": list(TABLE_STEPS),
                    "mean": rounded(mean.tolist(), 3),
                    "half_width_over_seeds": rounded(half_width.tolist(), 3),
                }
            )
    return rows


def results_table(protocol: Protocol, chosen: Mapping[str, Method], outcomes: Mapping[str, Outcome]) -> str:
    """table.md: the errors of every finished method, the published figures, the differences and the times."""
    labels = {name: chosen[name].label for name in outcomes}
    parts = [f"# Sines, protocol `{protocol.name}`\n", *cut(protocol)]
    for shots in protocol.test_shots:
        rows = [error_row(labels[name], outcome.errors[shots]) for name, outcome in outcomes.items()]
        parts += [
            f"Mean squared test error on {shots} points after so many steps of SGD: mean ± 95% interval over "
            f"{protocol.test_tasks:,} tasks (standard deviation over seeds)\n",
            markdown_table(["method", *map(str, TABLE_STEPS)], [*rows, *published_rows(protocol, shots)]),
        ]
    rows = [difference_row(labels, row) for row in differences(outcomes)]
    if rows:
        parts += [
            "Differences in error: mean ± 95% interval over seeds; an interval without 0 tells the two apart\n",
            markdown_table(["first - second", "points", *map(str, TABLE_STEPS)], rows),
        ]
    seconds = [{"method": labels[name], **outcome.seconds} for name, outcome in outcomes.items()]
    phases = {phase: f"{{{phase}:.2f}}" for phase in ("compile", "train", "evaluate")}
    return "\n".join(
        [*parts, "Seconds, all seeds together\n", records_table(seconds, {"method": "{method}", **phases})]
    )


def cut(protocol: Protocol) -> list[str]:
    """What a shorter run than the protocol's leaves out, in words; nothing for a whole one."""
    whole = PROTOCOLS[protocol.name]
    if protocol == whole:
        return []
    return [
        f"Cut: {protocol.steps:,} meta-steps of the protocol's {whole.steps:,}, {protocol.test_tasks:,} test tasks of "
        f"{whole.test_tasks:,}. The published figures are of whole runs, and left out.\n"
    ]


def error_row(label: str, errors: np.ndarray) -> list[str]:
    """One method's errors in the table."""
    told = describe_errors(errors)
    columns = ("mean", "half_width_over_tasks", "standard_deviation_over_seeds")
    cells = [[told[column][step] for column in columns] for step in TABLE_STEPS]
    return [label, *(f"{mean:.2f} ± {half_width:.2f} ({spread:.2f})" for mean, half_width, spread in cells)]


def published_rows(protocol: Protocol, shots: int) -> list[list[str]]:
    """The figures to compare a whole run with: the notebook's own run, or the paper's Table 2."""
    if cut(protocol):
        return []
    if protocol.name == "post":
        return [[f"*{label}, the notebook's run*", *map("{:.2f}".format, row)] for label, row in NOTEBOOK.items()]
    if shots != 5:
        return []
    return [["*MAML, the paper's Table 2*", *("" if value is None else f"{value:.2f}" for value in PAPER_TABLE_2)]]


def difference_row(labels: Mapping[str, str], row: Mapping[str, Any]) -> list[str]:
    """One pair's differences in the table."""
    pairs = zip(row["mean"], row["half_width_over_seeds"], strict=True)
    cells = [f"{mean:+.2f} ± {half_width:.2f}" for mean, half_width in pairs]
    return [f"{labels[row['first']]} - {labels[row['second']]}", str(row["shots"]), *cells]


def row(told: Mapping[str, Any]) -> Row:
    """The line of benchmarks/README.md."""
    shots, methods = told["protocol"]["test_shots"][0], told["methods"]
    found = [methods[name] for name in ("maml", "fomaml", "reptile") if name in methods]
    means = [(method["label"], method["errors_by_shots"][str(shots)]["mean"]) for method in found]
    whose = {"post": "post", "maml": "MAML paper"}[told["protocol"]["name"]]
    return Row(
        f"How well are new sines learned, on the {whose}'s protocol?",
        told["seconds"] / 60,
        f"error after 1 / 32 steps on {shots} points, {told['seeds']} seeds: "
        + ", ".join(f"{label} {mean[1]:.2f} / {mean[32]:.2f}" for label, mean in means),
    )
