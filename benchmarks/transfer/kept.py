"""Starts on disk: each is trained once, after the trials of its method's rate, and found again."""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.progress import Begin
from benchmarks.harness.rates import best_rate, search
from benchmarks.harness.results import read_json, rounded, write_json
from benchmarks.transfer.fine_tuning import RATES, SPARE, Data, fitted, places, tasks_of
from benchmarks.transfer.starts import METHODS, STARTS, Train, parts_of, random_start, trainer, tuned_as
from jax_meta.datasets import Splits

TRIAL = 0.1  # of the budget, that a trial of a method's rate has, from the first seed's random start
TRIAL_SHOTS, TRIAL_STEPS, TRIAL_RATES = 100, 50, (0.03, 0.1)  # with which it is fine-tuned on validation tasks


class Work(NamedTuple):
    """What the cells need."""

    options: argparse.Namespace
    splits: Splits
    trainers: dict[str, Train]
    begin: Begin


def start_of(work: Work, name: str, budget: int, seed: int) -> tuple[Any, list[dict]]:
    """The start, and what its methods were; the random one is where all others begin."""
    body, spent = random_start(seed), []
    for place, (method, part) in enumerate(STARTS[name].methods):
        done = "-".join(f"{other}{share:g}" for other, share in STARTS[name].methods[: place + 1])
        path = work.options.output / "starts" / str(budget) / f"{done}-{seed}.npz"
        if not path.with_suffix(".json").exists():
            train(work, path, method, body, part * budget, budget, seed)
        body = read(path, body, averaged=STARTS[name].averaged)
        spent.append(read_json(path.with_suffix(".json")))
    return body, spent


def train(work: Work, path: Path, method: str, body: Any, gradients: float, budget: int, seed: int) -> None:
    """A method's part of the budget, from a body; the figures beside the file are written last."""
    rate, trials = chosen_rate(work, method, budget)
    clock = time.process_time()
    with work.begin(f"training {path.stem}", parts_of(METHODS[method], gradients)) as tell:
        found = trainer_of(work, method)(body, rate, gradients, seed, tell)
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves: dict = flat(found.body) | {f"averaged/{key}": leaf for key, leaf in flat(found.averaged).items()}
    np.savez(path, **leaves)
    record = {"method": method, "rate": rate, "trials": trials, "meta_steps": found.meta_steps}
    record |= {"gradients": found.meta_steps * METHODS[method].cost}
    write_json(path.with_suffix(".json"), record | {"seconds": rounded(time.process_time() - clock, 4)})


def read(path: Path, body: Any, *, averaged: bool) -> Any:
    with np.load(path) as arrays:
        return unflat({key: jnp.asarray(arrays[f"averaged/{key}" if averaged else key]) for key in flat(body)})


def trainer_of(work: Work, method: str) -> Train:
    if method not in work.trainers:
        work.trainers[method] = trainer(METHODS[method], work.splits.train)
    return work.trainers[method]


def chosen_rate(work: Work, method: str, budget: int) -> tuple[float, dict]:
    """The best of a method's rates, and the score of each; where it is at an edge of those, also of the next."""
    method = tuned_as(method)
    path = work.options.output / "cells" / str(budget) / "trials" / f"{method}.json"
    scores = read_json(path) if path.exists() else {}

    def score(rate: float) -> list[float]:
        if f"{rate:g}" not in scores:
            scores[f"{rate:g}"] = rounded(trial(work, method, rate, TRIAL * budget), 4)
            write_json(path, scores)
        return [scores[f"{rate:g}"]]

    tried = search(score, RATES, METHODS[method].rates)
    return best_rate(tried), {f"{rate:g}": one for rate, [one] in tried.items()}


def trial(work: Work, method: str, rate: float, gradients: float) -> float:
    """Accuracy on validation tasks of what a method makes of the first seed's random start."""
    options: dict = {"count": work.options.validation_tasks, "draws": 1, "spare": SPARE["val"]}
    validation = tasks_of(work.splits.val, "val", TRIAL_SHOTS, **options)
    with work.begin(f"trial of {method} with {rate:g}", parts_of(METHODS[method], gradients)) as tell:
        found = trainer_of(work, method)(random_start(0), rate, gradients, 0, tell)
        return max(trial_score(found.body, validation, fine) for fine in TRIAL_RATES)


def trial_score(body: Any, validation: list[list[Data]], rate: float) -> float:
    found = [np.mean(fitted(body, *numbered, rate, TRIAL_STEPS)) for numbered in places(validation)]
    return float(np.nan_to_num(np.mean(found)))


def flat(body: Any) -> dict[str, np.ndarray]:
    return {f"{layer}.{name}": np.asarray(leaf) for layer, leaves in body.items() for name, leaf in leaves.items()}


def unflat(leaves: dict[str, jax.Array]) -> Any:
    body: dict[str, dict[str, jax.Array]] = {}
    for key, leaf in leaves.items():
        layer, name = key.split(".")
        body.setdefault(layer, {})[name] = leaf
    return body
