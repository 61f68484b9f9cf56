"""What is written: results.json, of all cells of a share that are there; table.md and the figure, made from it."""

import argparse
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
from benchmarks.multi_shot.measure import KINDS
from benchmarks.multi_shot.protocol import DRAWS, READINGS, SHOWN, STEPS
from benchmarks.multi_shot.starts import PUBLISHED_GRADIENTS, STARTS, Start

BASELINE = "fine-tuning"
AS_PUBLISHED = "batch-20"  # the reading in which starts are compared


def write(options: argparse.Namespace) -> None:
    """Everything, from the cells that the folder has of this share, or of the largest, and of what is not trained."""
    shares = sorted((float(path.name) for path in (options.output / "cells").iterdir()), reverse=True)
    share = options.share if options.share in shares else shares[0]
    folders = [options.output / "cells" / f"{one:g}" for one in sorted({0.0, share})]
    records = [read_json(path) for folder in folders for path in sorted(folder.glob("*.json"))]
    content = {
        "seconds": rounded(seconds(records), 4),
        "published_gradients": PUBLISHED_GRADIENTS,
        "starts": summary(records),
    }
    figures = {"trend": draw_trend(content["starts"])} if any(record["points"] for record in records) else {}
    write_results(options, content, table(content), **figures)


def seconds(records: list[dict]) -> float:
    """Of all training, by the clock, counted once for the readings that share it; and of all tests, of a core. The two
    are alike where the command has one core."""
    training = {(one["start"], one["batch"], one["seed"]): one["seconds"]["training"] for one in records}
    return sum(training.values()) + sum(one["seconds"]["testing"] for one in records)


def summary(records: list[dict]) -> dict[str, Any]:
    """By start and reading."""
    told: dict[str, Any] = {}
    for start in STARTS:
        for name in READINGS:
            mine = [one for one in records if (one["start"], one["reading"]) == (start, name)]
            if mine:
                baseline = [one for one in records if (one["start"], one["reading"]) == (BASELINE, name)]
                told.setdefault(start, {})[name] = described(mine) | less(mine, baseline)
    return told


def less(records: list[dict], baseline: list[dict]) -> dict:
    """Accuracy after all steps less that of joint training on the same alphabets, by the seeds that both have."""
    of_seed = {one["seed"]: np.array(one["accuracy"][str(STEPS)]) for one in baseline}
    pairs = [(np.array(one["accuracy"][str(STEPS)]), of_seed.get(one["seed"])) for one in records]
    gaps = [mine - other for mine, other in pairs if other is not None]
    return {"less_joint": estimated(np.concatenate(gaps))} if gaps and records[0]["start"] != BASELINE else {}


def described(records: list[dict]) -> dict:
    """The last point, with the mean of each seed, and the way there."""
    first, last = records[0], np.array([record["accuracy"][str(STEPS)] for record in records])
    return {
        "batch": first["batch"],
        "seeds": len(records),
        "alphabets": last.shape[1],
        **point(records),
        "seed_means": rounded(last.mean(axis=1).tolist(), 4),
        "on_the_way": [point([record["points"][place] for record in records]) for place in range(len(first["points"]))],
    }


def point(records: list[dict]) -> dict:
    """Accuracies after some steps, with their interval over the alphabets of all seeds."""
    return {
        "gradients": records[0]["gradients"],
        "rates": [record["rate"] for record in records],
        **{
            kind: {
                str(step): estimated(np.concatenate([record[kind][str(step)] for record in records])) for step in SHOWN
            }
            for kind in KINDS
            if all(kind in record for record in records)
        },
        "area": rounded(float(np.mean([record["area"] for record in records])), 4),
    }


def table(told: dict) -> str:
    header = ["start", "batch", "rate", *(counted(step, "step") for step in SHOWN[1:]), "less joint training"]
    header += ["each seed", "published", "transductive", "area under the loss", "image gradients before"]
    rows = [start_row(start, *found) for start, readings in told["starts"].items() for found in readings.items()]
    first = next(iter(next(iter(told["starts"].values())).values()))
    tested = f"{counted(first['alphabets'], 'test alphabet')} of each seed"
    return (
        f"# Alphabets as tasks\n\nAccuracy in % on held-out drawings after so many steps of SGD, {tested}, mean ± 95% "
        f"interval over alphabets; each drawing under {DRAWS} random maps, classified by running averages and so "
        f"inductively. A *tuned* rate is the best on the validation alphabets, of each seed. From *less joint "
        f"training* on, which is on the same alphabets, all is after {STEPS} steps; *transductive* is by the "
        f"statistics of the held-out drawings together.\n\n{markdown_table(header, rows)}{trend_part(told['starts'])}"
    )


def start_row(start: str, reading: str, found: dict) -> list[str]:
    cells = [percent(found["accuracy"][str(step)]) for step in SHOWN[1:]]
    seeds = ", ".join(f"{100 * mean:.1f}" for mean in found["seed_means"])
    published = STARTS[start].published if not READINGS[reading].tuned else None
    ends = [
        f"{published:.1f}" if published else "",
        percent(found["transductive"][str(STEPS)]) if "transductive" in found else "",
    ]
    ends += [f"{found['area']:.2f}", f"{found['gradients']:,}"]
    difference = percent(found["less_joint"], "+") if "less_joint" in found else ""
    return [STARTS[start].label, str(found["batch"]), rate(reading, found), *cells, difference, seeds, *ends]


def rate(reading: str, found: dict) -> str:
    """What was chosen for each seed, or what all have."""
    if READINGS[reading].tuned:
        return f"tuned: {'/'.join(f'{one:g}' for one in found['rates'])}"
    return f"{found['rates'][0]:g}"


def trend_part(starts: dict) -> str:
    """Accuracy after all steps, against what the start was given; empty where none was trained."""
    rows = [
        [STARTS[name].label, rate(reading, one), f"{one['gradients']:,}", percent(one["accuracy"][str(STEPS)])]
        for name, readings in starts.items()
        for reading, found in readings.items()
        if found["on_the_way"]
        for one in [*found["on_the_way"], found]
    ]
    if not rows:
        return ""
    header = ["start", "rate", "image gradients before", f"{STEPS} steps"]
    return f"\n## On the way\n\n{markdown_table(header, rows)}"


def draw_trend(starts: dict) -> Figure:
    """Accuracy after all steps against the gradients before, at the papers' rate, and at the end at a tuned one."""
    figure = Figure(figsize=(7.2, 5.2), dpi=110, layout="constrained")
    panel = figure.subplots()
    for place, (name, readings) in enumerate(starts.items()):
        if AS_PUBLISHED in readings:
            draw_way(panel, STARTS[name], readings[AS_PUBLISHED], f"C{place}")
        if "tuned" in readings:
            draw_end(panel, readings["tuned"], f"C{place}")
    panel.plot([], [], "*", color="black", markersize=10, label="as published")
    panel.plot([], [], "D--", color="black", markersize=7, fillstyle="none", label="rate chosen on validation")
    panel.set(xscale="log", xlabel="gradients of single images before", ylabel="held-out accuracy, %")
    panel.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_way(panel: Axes, start: Start, found: dict, colour: str) -> None:
    """The way of a start, or the height of one that is not trained; and what was published of its end."""
    if not found["gradients"]:
        panel.axhline(last_accuracy(found), linestyle=":", color=colour, label=start.label)
        return
    way = [*found["on_the_way"], found]
    heights = [last_accuracy(one) for one in way]
    panel.plot([one["gradients"] for one in way], heights, "o-", markersize=4, color=colour, label=start.label)
    if start.published:
        panel.plot(PUBLISHED_GRADIENTS, start.published, "*", color=colour, markersize=10)


def draw_end(panel: Axes, found: dict, colour: str) -> None:
    """What a start comes to at a rate of its own."""
    if not found["gradients"]:
        panel.axhline(last_accuracy(found), linestyle="--", color=colour)
        return
    panel.plot(found["gradients"], last_accuracy(found), "D", markersize=7, fillstyle="none", color=colour)


def last_accuracy(found: dict) -> float:
    return 100 * found["accuracy"][str(STEPS)]["mean"]


def row(told: dict) -> Row:
    """The minutes on two cores, what comes of no pre-training in each reading, and of the starts as published."""
    none = [
        f"{reading['batch']} at rate {reading['rates'][0]:g} {last_accuracy(reading):.1f}%"
        for name, reading in told["starts"]["none"].items()
        if not READINGS[name].tuned
    ]
    trained = [
        f"{STARTS[name].label} {last_accuracy(readings[AS_PUBLISHED]):.1f}%"
        for name, readings in told["starts"].items()
        if readings.get(AS_PUBLISHED, {}).get("gradients")
    ]
    found = f"no pre-training, held-out, by batch: {', '.join(none)}; published 51.0%"
    return told["seconds"] / 60 / 2, "; ".join([found, *trained])
