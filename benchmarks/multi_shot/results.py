"""What is written: results.json, of all cells that are there, and table.md, made from it."""

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
from benchmarks.multi_shot.measure import DRAWS, KINDS, READINGS, SHOWN, STEPS
from benchmarks.multi_shot.starts import STARTS


def write(options: argparse.Namespace) -> None:
    """Everything, from the cells that the folder has."""
    paths = sorted((options.output / "cells").glob("*.json"))
    records = [read_json(path) for path in paths]
    content = {"seconds": rounded(sum(sum(one["seconds"].values()) for one in records), 4), "starts": summary(records)}
    write_results(options, content, table(content))


def summary(records: list[dict]) -> dict[str, Any]:
    """By start and reading."""
    told: dict[str, Any] = {}
    for start in STARTS:
        for name, reading in READINGS.items():
            mine = [one for one in records if one["start"] == start and one["reading"] == reading._asdict()]
            if mine:
                told.setdefault(start, {})[name] = described(mine, reading._asdict())
    return told


def described(records: list[dict], reading: dict) -> dict:
    """Accuracies after some steps with their interval over alphabets, and the mean of each seed after the last."""
    last = np.array([record["accuracy"][str(STEPS)] for record in records])
    return {
        **reading,
        "gradients": records[0]["gradients"],
        "seeds": len(records),
        "alphabets": last.shape[1],
        **{
            kind: {str(step): interval(records, kind, step) for step in SHOWN}
            for kind in KINDS
            if all(kind in record for record in records)
        },
        "seed_means": rounded(last.mean(axis=1).tolist(), 4),
        "area": rounded(float(np.mean([record["area"] for record in records])), 4),
    }


def interval(records: list[dict], kind: str, step: int) -> dict[str, float]:
    return estimated(np.array([record[kind][str(step)] for record in records]).reshape(-1))


def table(told: dict) -> str:
    header = ["start", "batch", "rate", *(counted(step, "step") for step in SHOWN[1:]), "each seed", "published"]
    header += ["transductive", "area under the loss", "image gradients before"]
    rows = [start_row(start, found) for start, readings in told["starts"].items() for found in readings.values()]
    first = next(iter(next(iter(told["starts"].values())).values()))
    tested = f"{counted(first['alphabets'], 'test alphabet')} of each seed"
    return (
        f"# Alphabets as tasks\n\nAccuracy in % on held-out drawings after so many steps of SGD, {tested}, mean ± 95% "
        f"interval over alphabets; each drawing under {DRAWS} random maps, classified by running averages and so "
        f"inductively. *Each seed*, *published* and *transductive* are after {STEPS} steps; the last is by the "
        "statistics of the held-out drawings together.\n\n" + markdown_table(header, rows)
    )


def start_row(start: str, found: dict) -> list[str]:
    cells = [percent(found["accuracy"][str(step)]) for step in SHOWN[1:]]
    seeds = ", ".join(f"{100 * mean:.1f}" for mean in found["seed_means"])
    ends = [
        f"{STARTS[start].published:.1f}" if STARTS[start].published else "",
        percent(found["transductive"][str(STEPS)]) if "transductive" in found else "",
    ]
    ends += [f"{found['area']:.2f}", f"{found['gradients']:,}"]
    return [STARTS[start].label, str(found["batch"]), f"{found['rate']:g}", *cells, seeds, *ends]


def row(told: dict) -> Row:
    """The minutes on two cores, and what comes of no pre-training in each reading."""
    found = [
        f"{reading['batch']} at rate {reading['rate']:g} {100 * reading['accuracy'][str(STEPS)]['mean']:.1f}%"
        for reading in told["starts"]["none"].values()
    ]
    return told["seconds"] / 60 / 2, f"no pre-training, held-out, by batch: {', '.join(found)}; published 51.0%"
