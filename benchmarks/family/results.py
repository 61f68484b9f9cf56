"""What is written: results.json, of all cells that are there; table.md and the figures, made from it."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.family.entries import PROBLEMS
from benchmarks.family.figures import draw, draw_curves, measured
from benchmarks.family.images import TRIAL
from benchmarks.family.optimizers import HORIZON
from benchmarks.family.published import BUDGETS, PUBLISHED, SINES
from benchmarks.family.sines import POINTS, SHOWN
from benchmarks.harness.results import Row, markdown_table, percent, read_json, save_figure, write_results
from jax_meta import estimate

Records = dict[str, dict[str, dict]]  # by problem and learner
FIRST_OF_DIFFERENCES = "maml"
CURVES = ("quadratics", "small-networks")
KEPT = ("right", "problem", "curves", "budget_seconds")  # in the cells alone
CURVE_STEPS = (20, 50, 100, 200)


def write(options: argparse.Namespace) -> None:
    """Everything, from the cells that the folder has."""
    records = read(options.output / "cells")
    content = {"seconds_to_train": options.seconds, "problems": summary(records)}
    write_results(options, content, table(content), family=draw(content))
    if found := {name: records[name]["lstm_optimizer"] for name in CURVES if name in records}:
        save_figure(options.output / "learned_optimizer.png", draw_curves(found))


def read(folder: Path) -> Records:
    records: Records = {}
    for path in sorted(folder.glob("*/*.json")):
        records.setdefault(path.parent.name, {})[path.stem] = read_json(path)
    return records


def summary(records: Records) -> Records:
    """The records without what only their cells need to keep, and with each learner's difference to MAML."""
    told: Records = {}
    for problem, learners in records.items():
        first = learners.get(FIRST_OF_DIFFERENCES, {}).get("right")
        for learner, record in learners.items():
            short = {name: value for name, value in record.items() if name not in KEPT}
            if "curves" in record:
                short["loss_after_steps"] = {name: losses(curve) for name, curve in record["curves"].items()}
                if "with_relu" in record:
                    short["with_relu"] = losses(record["with_relu"])
            if first and "right" in record and learner != FIRST_OF_DIFFERENCES:
                short["more_than_maml"] = difference(record["right"], first, PROBLEMS[problem].ways)
            told.setdefault(problem, {})[learner] = short
    return told


def losses(curve: dict) -> dict[str, float]:
    """The mean loss after some of the steps."""
    return {str(step): curve["mean"][step] for step in CURVE_STEPS}


def difference(right: dict, first: dict, ways: int) -> dict:
    """Accuracy less MAML's on the same tasks, with its 95% interval."""
    found = {}
    for kind, values in right.items():
        mean, half_width = estimate((np.array(values) - np.array(first[kind])) / ways)
        found[kind] = {"mean": round(float(mean), 5), "half_width": round(float(half_width), 5)}
    return found


def table(told: dict) -> str:
    problems = told["problems"]

    def done(names: Iterable[str], what: str) -> list[str]:
        return [name for name in names if measured(problems.get(name, {}), what)]

    parts = ["# The family of learners\n"]
    parts += [sines_table(name, problems[name]) for name in done(POINTS, "error_after_steps")]
    parts += [images_table(name, problems[name], told["seconds_to_train"]) for name in done(PROBLEMS, "accuracy")]
    parts += [memory_table(problems[name]) for name in done(["inner-steps"], "mebibytes_by_steps")]
    parts += [curves_table(name, problems[name]["lstm_optimizer"]) for name in done(CURVES, "loss_after_steps")]
    return "\n".join([*parts, failures(problems)])


def sines_table(name: str, learners: dict[str, dict]) -> str:
    """The best after one step first; a learner that diverges there last."""

    def order(named: tuple[str, dict]) -> float:
        error = named[1]["error_after_steps"]["1"]
        return error["mean"] if error else np.inf

    rows = []
    for learner, record in sorted(measured(learners, "error_after_steps"), key=order):
        errors = [error_cell(record["error_after_steps"][str(step)]) for step in SHOWN]
        time = f"{record['microseconds_a_meta_step']:,.0f}"
        published = SINES.get(learner, {}).get(name, "")
        errors.insert(2, published)
        rows.append([record["label"], *errors, time, f"{record['meta_parameters']:,}"])
    steps = [f"{step} steps" if step != 1 else "1 step" for step in SHOWN]
    header = ["learner", *steps[:2], "published", *steps[2:], "µs a meta-step", "meta-parameters"]
    first = measured(learners, "error_after_steps")[0][1]
    return (
        f"## Sines, {POINTS[name]} points\n\nMean squared error on 1,000 test sines, mean of 10 networks of "
        f"{first['meta_steps']:,} meta-steps of 25 sines ± 95% interval over sines (± over networks). *Published* is "
        "after 1 step and 60,000 to 70,000 meta-steps.\n\n" + markdown_table(header, rows)
    )


def error_cell(error: dict | None) -> str:
    if error is None:
        return "diverges"
    digits = 2 if error["mean"] >= 0.1 else 4
    over_tasks, over_seeds = (error[f"half_width_over_{what}"] for what in ("tasks", "seeds"))
    return f"{error['mean']:.{digits}f} ± {over_tasks:.{digits}f} (± {over_seeds:.{digits}f})"


def images_table(name: str, learners: dict[str, dict], seconds: float) -> str:
    """The best inductive accuracy first."""
    found = measured(learners, "accuracy")
    rows = [
        image_row(learner, record, name)
        for learner, record in sorted(found, key=lambda named: -named[1]["accuracy"]["inductive"]["mean"])
    ]
    header = ["learner", "inductive, %", "transductive, %", "more than MAML", "published, %"]
    header += ["meta-steps", "ms each", "MiB", "meta-parameters", "rate"]
    problem = PROBLEMS[name]
    network = "Conv4-64, stride, mean" if problem.dataset == "omniglot" else "Conv4-32, pooling"
    return (
        f"## {problem.dataset}, {problem.ways}-way {problem.shots}-shot\n\n{network}; {seconds:g} s of one core to "
        "train; 1,000 test tasks of one query a class, mean ± 95% interval over tasks. *More than MAML* is inductive, "
        "on the same tasks. *Rate* is the inner learning rate, or Adam's where there is none: the best of three on 100 "
        "validation tasks. MiB are a meta-step's intermediate results.\n\n"
        + markdown_table(header, rows)
        + budgets(name, learners)
    )


def budgets(problem: str, learners: dict[str, dict]) -> str:
    """What the published figures were trained for."""
    known = [learner for learner in learners if problem in PUBLISHED.get(learner, {})]
    told = [f"{learners[learner].get('label', learner)} {BUDGETS[learner]}" for learner in known]
    return f"\nPublished for: {'; '.join(told)}.\n" if told else ""


def image_row(learner: str, record: dict, problem: str) -> list[str]:
    more, rate = record.get("more_than_maml"), record["rate"] or record["outer_rate"]
    return [
        record["label"],
        percent(record["accuracy"]["inductive"]),
        percent(record["accuracy"]["transductive"]),
        percent(more["inductive"], "+") if more else "",
        PUBLISHED.get(learner, {}).get(problem, ""),
        f"{record['meta_steps']:,} of {record['tasks']}",
        f"{record['milliseconds_a_meta_step']:.3g}",
        f"{record['temporary_mebibytes']:.0f}",
        f"{record['meta_parameters']:,}",
        f"{rate:.2g}",
    ]


def memory_table(learners: dict[str, dict]) -> str:
    found = measured(learners, "mebibytes_by_steps")
    steps = list(found[0][1]["mebibytes_by_steps"])
    rows = [[record["label"], *(f"{record['mebibytes_by_steps'][step]:.0f}" for step in steps)] for _, record in found]
    header = ["learner", *(f"{step} inner steps" for step in steps)]
    return "## Memory\n\nMiB of a meta-step's intermediate results, Omniglot 5-way 1-shot, 4 tasks one by one.\n\n" + (
        markdown_table(header, rows)
    )


def curves_table(name: str, record: dict) -> str:
    """Losses of the LSTM and of the others; and of the LSTM on networks of another kind."""
    found = record["loss_after_steps"] | ({"LSTM, on ReLU": record["with_relu"]} if "with_relu" in record else {})
    rows = [[label, *(f"{after[str(step)]:.2g}" for step in CURVE_STEPS)] for label, after in found.items()]
    return (
        f"## The learned optimizer: {name}\n\nMean loss; the LSTM was trained on {HORIZON} steps of other functions, "
        f"{record['meta_steps']:,} meta-steps of {record['tasks']}, and the others have the step size beside them, the "
        f"best of {len(record['rates'])} there.\n\n"
        + markdown_table(["optimizer", *(f"{step} steps" for step in CURVE_STEPS)], rows)
    )


def failures(problems: Records) -> str:
    """Cells that failed, each with the reason; or nothing."""
    found = [
        f"- {learner}, {problem}: {record['failed']}\n"
        for problem, learners in problems.items()
        for learner, record in measured(learners, "failed")
    ]
    return "".join(["## Failed\n\n", *found]) if found else ""


def row(told: dict) -> Row:
    """The minutes that all cells took, and the best of each problem."""
    problems = told["problems"]
    best: list[str] = []
    for name in PROBLEMS:
        found = measured(problems.get(name, {}), "accuracy")
        if found:
            top = max((record for _, record in found), key=lambda record: record["accuracy"]["inductive"]["mean"])
            best.append(f"{name} {top['label']} {100 * top['accuracy']['inductive']['mean']:.1f}%")
    seconds = sum(spent(record) for learners in problems.values() for record in learners.values())
    return seconds / 60 / 2, f"best for the time, inductive: {', '.join(best)}"


def spent(record: dict[str, Any]) -> float:
    """Seconds of a core, with the trials."""
    seconds = record.get("seconds", {})
    trials = record["trials"] if isinstance(record.get("trials"), list) else []
    return sum(seconds.values()) + len(trials) * TRIAL * seconds.get("train", 0.0)
