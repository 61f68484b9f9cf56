"""What is written: results.json, of all cells that are there; table.md and the figures, made from it."""

import argparse
from typing import Any

import numpy as np

from benchmarks.harness.results import (
    Row,
    counted,
    estimated,
    markdown_table,
    percent,
    read_json,
    rounded,
    write_results,
)
from benchmarks.transfer.figures import draw_budgets, draw_differences, draw_rates, draw_shots, draw_steps
from benchmarks.transfer.starts import METHODS, STARTS

BASELINE, QUESTION = "pretrain", "reptile"
ENDPOINT_STEPS, ENDPOINT_SHOTS = 200, (100, 500)
LEAST = 0.005  # a difference that is smaller does not matter


def write(options: argparse.Namespace) -> None:
    """Everything, from the cells that the folder has."""
    records = [read_json(path) for path in sorted(options.output.glob("cells/*/*.json"))]
    if not records:
        return
    content = {"seconds": rounded(seconds(records), 4), "budgets": by_budget(records)}
    largest = next(iter(content["budgets"].values()))
    figures = {
        "shots": draw_shots(largest),
        "differences": draw_differences(largest),
        "steps": draw_steps(largest),
        "rates": draw_rates(largest),
        "budgets": draw_budgets(
            gaps_by_budget(content["budgets"]), title=f"Reptile less pre-training, after {ENDPOINT_STEPS} steps"
        ),
    }
    write_results(options, content, table(content), **{name: figure for name, figure in figures.items() if figure})


def by_budget(records: list[dict]) -> dict[str, dict]:
    """The largest first; what is not trained belongs to each of them, with the numbers of images that it has."""
    budgets = sorted({record["budget"] for record in records} - {0}, reverse=True) or [0]
    told = {}
    for budget in budgets:
        shots = {record["shots"] for record in records if record["budget"] == budget}
        mine = [record for record in records if record["budget"] in (0, budget) and record["shots"] in shots]
        told[str(budget)] = {"starts": summary(mine), "differences": differences(mine)}
    return told


def seconds(records: list[dict]) -> dict[str, float]:
    """Of a core: what the starts and what fine-tuning took."""
    methods = {
        (part["method"], record["seed"], part["gradients"]): part["seconds"]
        for record in records
        for part in record["spent"]
    }
    return {"starts": sum(methods.values()), "fine_tuning": sum(record["seconds"] for record in records)}


def task_means(records: list[dict], start: str, shots: int, steps: str) -> np.ndarray:
    """Accuracy on each test task, mean over draws and seeds: `[tasks]`."""
    found = [record["test"][steps] for record in records if (record["start"], record["shots"]) == (start, shots)]
    return np.mean([np.mean(tasks, axis=1) for tasks in found], axis=0)


def summary(records: list[dict]) -> dict[str, Any]:
    """By start, number of images and number of steps: accuracy with its interval over tasks, and the rates tried."""
    told: dict[str, Any] = {}
    for name in STARTS:
        mine = [record for record in records if record["start"] == name]
        if not mine:
            continue
        told[name] = {"label": STARTS[name].label, "methods": [methods_of(part) for part in mine[0]["spent"]]}
        for record in mine:
            for steps in record["test"]:
                told[name].setdefault(str(record["shots"]), {})[steps] = {
                    **described(task_means(mine, name, record["shots"], steps)),
                    "superclasses": superclass_mean(mine, name, record, steps),
                    "draws": len(record["test"][steps][0]),
                    "seeds": sum(other["shots"] == record["shots"] for other in mine),
                    "rate": [other["chosen"][steps] for other in mine if other["shots"] == record["shots"]],
                    "tried": rounded({rate: float(np.mean(of)) for rate, of in record["rates"][steps].items()}, 4),
                }
    return told


def methods_of(part: dict) -> dict:
    return {name: part[name] for name in ("method", "rate", "trials", "meta_steps", "gradients", "seconds")}


def superclass_mean(records: list[dict], name: str, record: dict, steps: str) -> float:
    mine = np.array(record["kinds"]) != "mixed"
    return rounded(float(task_means(records, name, record["shots"], steps)[mine].mean()), 4)


def described(values: np.ndarray) -> dict:
    return {**estimated(values), "tasks": len(values)}


def differences(records: list[dict]) -> dict[str, Any]:
    """By start, images and steps: accuracy less that of pre-training on the same tasks, by the seeds that both have."""
    by_cell = {(record["start"], record["shots"], record["seed"]): record for record in records}
    told: dict[str, Any] = {}
    for name in STARTS:
        for shots in sorted({record["shots"] for record in records}):
            seeds = [seed for start, k, seed in by_cell if (start, k) == (name, shots)]
            both = [seed for seed in seeds if (BASELINE, shots, seed) in by_cell]
            if name == BASELINE or not both:
                continue
            pairs = [(by_cell[name, shots, seed], by_cell[BASELINE, shots, seed]) for seed in both]
            for steps in pairs[0][0]["test"]:
                gaps = [paired(*pair, steps) for pair in pairs if steps in pair[1]["test"]]
                if gaps:
                    of_seeds = [rounded(float(gap.mean()), 4) for gap in gaps]
                    found = {**described(np.mean(gaps, axis=0)), "of_seeds": of_seeds}
                    told.setdefault(name, {}).setdefault(str(shots), {})[steps] = found
    return told


def paired(record: dict, baseline: dict, steps: str) -> np.ndarray:
    """The difference on each task; raises ValueError where the two are not of the same tasks."""
    if tested_on(record, steps) != tested_on(baseline, steps):
        raise ValueError(f"{record['start']} was tested on other tasks than {baseline['start']}: use another --output.")
    return np.mean(record["test"][steps], axis=1) - np.mean(baseline["test"][steps], axis=1)


def tested_on(record: dict, steps: str) -> tuple[list[str], list[int]]:
    """The kind of each task, and its draws."""
    return record["kinds"], [len(draws) for draws in record["test"][steps]]


def verdict(difference: dict) -> str:
    """What the endpoint says, by the rule that was fixed before the test."""
    low, high = difference["mean"] - difference["half_width"], difference["mean"] + difference["half_width"]
    if low > 0 and difference["mean"] >= LEAST:
        return "Reptile is the better start"
    if high < 0 and difference["mean"] <= -LEAST:
        return "pre-training is the better start"
    return "the two cannot be told apart"


def gap(told: dict, start: str, shots: str, steps: str) -> dict | None:
    """Of a budget, a start's difference from pre-training; None where it is not measured."""
    return told["differences"].get(start, {}).get(shots, {}).get(steps)


def endpoint(told: dict) -> dict[int, dict]:
    """Of a budget, the differences that the question is about, by images of a class; only those that are measured."""
    found = {shots: gap(told, QUESTION, str(shots), str(ENDPOINT_STEPS)) for shots in ENDPOINT_SHOTS}
    return {shots: one for shots, one in found.items() if one}


def gaps_by_budget(budgets: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """The question's difference after the endpoint's steps, by images of a class and by budget, the smallest first."""
    told: dict[str, dict[str, dict]] = {}
    for budget in sorted(budgets, key=int):
        for shots in budgets[budget]["differences"].get(QUESTION, {}):
            if one := gap(budgets[budget], QUESTION, shots, str(ENDPOINT_STEPS)):
                told.setdefault(shots, {})[budget] = one
    return told


def table(told: dict) -> str:
    parts = ["# Starts for transfer\n", endpoint_part(told["budgets"])]
    for budget, mine in told["budgets"].items():
        shots = sorted({int(key) for start in mine["starts"].values() for key in start if key.isdigit()}, reverse=True)
        parts += [f"## A budget of {int(budget):,} image gradients\n", training_part(mine)]
        parts += [shots_part(mine, str(number)) for number in shots]
    return "\n".join(parts)


def endpoint_part(budgets: dict[str, dict]) -> str:
    lines = [
        f"- {int(budget):,} image gradients, {shots} images a class: {percent(gap, '+')} points, "
        f"{counted(gap['tasks'], 'task')}, {by_network(gap)}: {verdict(gap)}.\n"
        for budget, told in budgets.items()
        for shots, gap in endpoint(told).items()
    ]
    return (
        f"## The endpoint\n\nAccuracy from Reptile less that from pre-training, after {ENDPOINT_STEPS} steps, on the "
        "same tasks, with its 95% interval over tasks.\n\n" + ("".join(lines) or "Not measured.\n")
    )


def by_network(gap: dict) -> str:
    """The difference of each pair of networks, where there are several."""
    if len(gap["of_seeds"]) == 1:
        return "one pair of networks"
    return f"pairs of networks {', '.join(f'{100 * one:+.1f}' for one in gap['of_seeds'])}"


def training_part(told: dict) -> str:
    rows: dict = {}  # a start that is used twice, averaged or with its head alone, is trained once
    for start in told["starts"].values():
        for method in start["methods"]:
            tried = ", ".join(f"{rate}: {100 * score:.1f}" for rate, score in method["trials"].items())
            used = f"{method['gradients']:,}", f"{method['meta_steps']:,}", f"{method['seconds']:.0f}"
            label = METHODS[method["method"]].label
            rows.setdefault((label, used), [label, *used, f"{method['rate']:g}", tried])
    header = ["method", "image gradients", "meta-steps", "s of a core", "rate", "validation accuracy by rate, %"]
    return "### How the starts were trained\n\n" + markdown_table(header, rows.values())


def shots_part(told: dict, shots: str) -> str:
    found = {name: start[shots] for name, start in told["starts"].items() if shots in start}
    steps = sorted({number for start in found.values() for number in start}, key=int)
    number = next(iter(next(iter(found.values())).values()))
    header = [
        "start",
        "networks",
        *(counted(int(one), "step") for one in steps),
        f"less pre-training, {steps[-1]} steps",
    ]
    header += [f"superclasses, {steps[-1]} steps", "rates"]
    rows = [start_row(told, name, shots, steps) for name in found]
    return (
        f"### {counted(int(shots), 'image')} a class\n\nAccuracy in %, {counted(number['tasks'], 'test task')}, "
        f"{counted(number['draws'], 'draw')} of the images of each, mean ± "
        "95% interval over tasks; differences by the networks that both have. The rates are those chosen on validation "
        "tasks, of each network.\n\n" + markdown_table(header, rows)
    )


def start_row(told: dict, name: str, shots: str, steps: list[str]) -> list[str]:
    start, found = told["starts"][name], told["starts"][name][shots]
    difference = gap(told, name, shots, steps[-1])
    cells = [percent(found[one]) if one in found else "" for one in steps]
    rates = ", ".join("/".join(f"{rate:g}" for rate in found[one]["rate"]) for one in steps if one in found)
    last = f"{100 * found[steps[-1]]['superclasses']:.1f}" if steps[-1] in found else ""
    networks = str(found[steps[-1]]["seeds"]) if steps[-1] in found else ""
    return [start["label"], networks, *cells, percent(difference, "+") if difference else "", last, rates]


def row(told: dict) -> Row:
    """The minutes on two cores, and the endpoint."""
    found = [
        f"{percent(difference, '+')} points with {shots} images a class after {int(budget):,} image gradients each "
        f"({verdict(difference)})"
        for budget, mine in told["budgets"].items()
        for shots, difference in endpoint(mine).items()
    ]
    return sum(told["seconds"].values()) / 60 / 2, f"Reptile less pre-training: {'; '.join(found)}"
