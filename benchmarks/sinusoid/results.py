"""What the benchmark of sines writes: the content of results.json, and table.md, made from it."""

from collections.abc import Sequence

import numpy as np

from benchmarks.harness.results import Row, markdown_table, records_table, rounded
from benchmarks.sinusoid.methods import TABLE_STEPS, Experiment, Outcome
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

PAPER_TABLE_2 = ("", 0.67, 0.38, 0.35, "")
"""MAML on 5 points at TABLE_STEPS: Finn et al., arXiv:1703.03400, Table 2 (of its appendix)."""

COMPARED = (  # pairs (first, second) whose difference in error, first minus second, is tested over seeds
    ("reptile", "maml"),
    ("fomaml", "maml"),
    ("reptile", "fomaml"),
    ("maml-published", "maml"),
    ("fomaml-published", "fomaml"),
    ("reptile", "maml-published"),
)
SECONDS = {phase: f"{{seconds[{phase}]:.2f}}" for phase in ("compile", "train", "evaluate")}


def describe(experiment: Experiment, outcomes: dict[str, Outcome]) -> dict:
    """For results.json; every error is a mean squared error after 0, 1, 2, ... steps of fine-tuning."""
    methods = {
        name: {
            "label": method.label,
            "meta_steps": method.steps,
            "seconds": rounded(outcomes[name].seconds),
            "errors_by_shots": {str(shots): describe_errors(e) for shots, e in outcomes[name].errors.items()},
        }
        for name, method in experiment.methods.items()
        if name in outcomes
    }
    return {"protocol": experiment.protocol._asdict(), "methods": methods, "differences": differences(outcomes)}


def describe_errors(errors: np.ndarray) -> dict:
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


def differences(outcomes: dict[str, Outcome]) -> list[dict]:
    """The paired differences between methods over seeds, which share networks and tasks, with 95% intervals."""
    rows = []
    for first, second in COMPARED:
        for shots, errors in outcomes[first].errors.items() if {first, second} <= outcomes.keys() else ():
            if len(errors) > 1:
                gaps = (errors - outcomes[second].errors[shots]).mean(axis=1)
                mean, half_width = (rounded(field.tolist(), 3) for field in estimate(gaps[:, TABLE_STEPS]))
                row = {"first": first, "second": second, "shots": shots, "after_steps": list(TABLE_STEPS)}
                rows.append({**row, "mean": mean, "half_width_over_seeds": half_width})
    return rows


def table(told: dict) -> str:
    protocol, methods = Protocol(**told["protocol"]), told["methods"]
    parts = [f"# Sines, protocol `{protocol.name}`\n", *cut(protocol)]
    for shots in protocol.test_shots:
        rows = [[method["label"], *error_cells(method["errors_by_shots"][str(shots)])] for method in methods.values()]
        parts += [
            f"Mean squared test error on {shots} points after so many steps of SGD: mean ± 95% interval over "
            f"{protocol.test_tasks:,} tasks (standard deviation over seeds)\n",
            markdown_table(["method", *map(str, TABLE_STEPS)], [*rows, *published_rows(protocol, shots)]),
        ]
    if told["differences"]:
        rows = [difference_row(methods, row) for row in told["differences"]]
        parts += [
            "Differences in error: mean ± 95% interval over seeds; an interval without 0 tells the two apart\n",
            markdown_table(["first - second", "points", *map(str, TABLE_STEPS)], rows),
        ]
    times = records_table(methods.values(), {"method": "{label}", **SECONDS})
    return "\n".join([*parts, "Seconds, all seeds together\n", times])


def cut(protocol: Protocol) -> list[str]:
    """What a shorter run than the protocol's leaves out, in words; nothing for a whole one."""
    whole = PROTOCOLS[protocol.name]
    if protocol.steps == whole.steps:
        return []
    return [
        f"Cut: {protocol.steps:,} meta-steps of the protocol's {whole.steps:,}, {protocol.test_tasks:,} test tasks of "
        f"{whole.test_tasks:,}. The published figures are of whole runs, and left out.\n"
    ]


def error_cells(told: dict) -> list[str]:
    columns = zip(told["mean"], told["half_width_over_tasks"], told["standard_deviation_over_seeds"], strict=True)
    cells = [f"{mean:.2f} ± {half_width:.2f} ({spread:.2f})" for mean, half_width, spread in columns]
    return [cells[step] for step in TABLE_STEPS]


def published_rows(protocol: Protocol, shots: int) -> list[Sequence[str]]:
    """The figures to compare a whole run with: the notebook's own run, or the paper's Table 2."""
    if cut(protocol) or (protocol.name == "maml" and shots != 5):
        return []
    if protocol.name == "post":
        return [[f"*{label}, the notebook's run*", *map("{:.2f}".format, row)] for label, row in NOTEBOOK.items()]
    return [["*MAML, the paper's Table 2*", *map(str, PAPER_TABLE_2)]]


def difference_row(methods: dict, row: dict) -> list[str]:
    pairs = zip(row["mean"], row["half_width_over_seeds"], strict=True)
    cells = [f"{mean:+.2f} ± {half_width:.2f}" for mean, half_width in pairs]
    return [" - ".join(methods[row[which]]["label"] for which in ("first", "second")), str(row["shots"]), *cells]


def row(told: dict) -> Row:
    shots, methods = told["protocol"]["test_shots"][0], told["methods"]
    found = [methods[name] for name in ("maml", "fomaml", "reptile") if name in methods]
    means = [(method["label"], method["errors_by_shots"][str(shots)]["mean"]) for method in found]
    errors = ", ".join(f"{label} {mean[1]:.2f} / {mean[32]:.2f}" for label, mean in means)
    whose = {"post": "post", "maml": "MAML paper"}[told["protocol"]["name"]]
    where = f"on the {whose}'s protocol, error after 1 / 32 steps on {shots} points, {told['seeds']} seeds"
    return told["seconds"] / 60, f"{where}: {errors}"
