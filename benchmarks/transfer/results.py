"""What is written: results.json, of all cells that are there; table.md and the figures, made from it."""

import argparse
from typing import Any

import numpy as np

from benchmarks.harness.results import (
    Row,
    counted,
    markdown_table,
    percent,
    read_json,
    rounded,
    write_results,
)
from benchmarks.transfer.differences import (
    ENDPOINT_STEPS,
    described,
    differences,
    endpoint,
    gap,
    gaps_by_budget,
    verdict,
)
from benchmarks.transfer.figures import draw_budgets, draw_differences, draw_rates, draw_shots, draw_steps
from benchmarks.transfer.starts import METHODS, STARTS


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
            gaps_by_budget(records), title=f"Reptile less pre-training, after {ENDPOINT_STEPS} steps"
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


def task_means(networks: list[dict], steps: str) -> np.ndarray:
    """Accuracy on each test task, mean over draws and networks: `[tasks]`."""
    return np.mean([np.mean(record["test"][steps], axis=1) for record in networks], axis=0)


def summary(records: list[dict]) -> dict[str, Any]:
    """By start, number of images and number of steps: accuracy with its interval over tasks, and the rates tried."""
    told: dict[str, Any] = {}
    for name in STARTS:
        mine = [record for record in records if record["start"] == name]
        if not mine:
            continue
        told[name] = {"label": STARTS[name].label, "methods": [methods_of(part) for part in mine[0]["spent"]]}
        for shots in dict.fromkeys(record["shots"] for record in mine):
            told[name][str(shots)] = by_steps([record for record in mine if record["shots"] == shots])
    return told


def by_steps(networks: list[dict]) -> dict[str, dict]:
    """Of one start and number of images: what its networks have together after each number of steps."""
    superclasses = np.array(networks[0]["kinds"]) != "mixed"
    return {
        steps: {
            **described(task_means(networks, steps)),
            "superclasses": rounded(float(task_means(networks, steps)[superclasses].mean()), 4),
            "draws": len(networks[0]["test"][steps][0]),
            "seeds": len(networks),
            "rate": [record["chosen"][steps] for record in networks],
            "tried": rates_tried(networks, steps),
        }
        for steps in networks[0]["test"]
    }


def rates_tried(networks: list[dict], steps: str) -> dict[str, float]:
    """The validation accuracy of each rate, mean over the networks that tried it."""
    tried = [record["rates"][steps] for record in networks]
    rates = sorted({rate for one in tried for rate in one}, key=float)
    return rounded({rate: float(np.mean([np.mean(one[rate]) for one in tried if rate in one])) for rate in rates}, 4)


def methods_of(part: dict) -> dict:
    return {name: part[name] for name in ("method", "rate", "trials", "meta_steps", "gradients", "seconds")}


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
