"""How much more accurate a start is than pre-training on the same tasks, and what that says of the question."""

from typing import Any

import numpy as np

from benchmarks.harness.results import estimated, rounded
from benchmarks.transfer.starts import STARTS

BASELINE, QUESTION = "pretrain", "reptile"
ENDPOINT_STEPS, ENDPOINT_SHOTS = 200, (100, 500)
LEAST = 0.005  # a difference that is smaller does not matter


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


def gaps_by_budget(records: list[dict]) -> dict[str, dict[str, dict]]:
    """The question's difference after the endpoint's steps, by images of a class and by budget, the smallest first; by
    the seeds that all its budgets have, so that those are all that differs."""
    told: dict[str, dict[str, dict]] = {}
    budgets = sorted({record["budget"] for record in records} - {0})
    for shots in sorted({record["shots"] for record in records}):
        found = {budget: by_seed for budget in budgets if (by_seed := both(records, budget, shots))}
        seeds = set.intersection(*map(set, found.values())) if found else set()
        for budget, by_seed in found.items():
            mine = {"differences": differences([one for seed in seeds for one in by_seed[seed]])}
            if one := gap(mine, QUESTION, str(shots), str(ENDPOINT_STEPS)):
                told.setdefault(str(shots), {})[str(budget)] = one
    return told


def both(records: list[dict], budget: int, shots: int) -> dict[int, list[dict]]:
    """By seed, the records of the question's two starts, where both are there."""
    by_seed: dict[int, list[dict]] = {}
    for record in records:
        if (record["budget"], record["shots"]) == (budget, shots) and record["start"] in (BASELINE, QUESTION):
            by_seed.setdefault(record["seed"], []).append(record)
    return {seed: pair for seed, pair in by_seed.items() if len(pair) == 2}
