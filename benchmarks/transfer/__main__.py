"""Does a start from Reptile fine-tune better than one from pre-training, for the same number of gradients?

    python -m benchmarks.transfer                                        the plan: about thirty hours of a CPU core
    python -m benchmarks.transfer --budget 150000 --seeds 1 --shots 100 5          a pilot at a tenth of the budget
    python -m benchmarks.transfer --starts random pretrain reptile                 some of the starts

A residual network of 0.3 million parameters on CIFAR-100, split by superclass as FC100. A start is trained on 60
classes for `--budget` gradients of single images, whatever its method; its own rate is the best of three after a tenth
of the budget, each fine-tuned on validation tasks. Then it is fitted to tasks of five unseen classes, with 5 to 500
images of each, by SGD with momentum whose rate falls to 0 as a cosine; that rate is chosen for every start, number of
images and number of steps on validation tasks, from one grid. All starts get the same tasks, minibatches and
augmentation. The endpoint, fixed before the test: accuracy from Reptile less that from pre-training after 200 steps,
with 100 and 500 images of a class.

--data is a folder with cifar-100-python.tar.gz, or with a folder cifar100 in it. It writes a file a cell to cells/ and
the starts to starts/, and from all that are there results.json, table.md, shots.png and rates.png. What is there is not
done again; a cell that was stopped begins anew.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jax_meta
from benchmarks.harness.command import COUNT, COUNTS, Begin, add_data, make_parser, parse, running
from benchmarks.harness.results import rounded, write_json
from benchmarks.transfer.fine_tuning import best_rate, fitted, measure, places, tasks_of
from benchmarks.transfer.results import write
from benchmarks.transfer.starts import METHODS, STARTS, Train, parts_of, random_start, trainer, tuned_as
from jax_meta.datasets import Splits

TRIAL = 0.1  # of the budget, that a trial of a method's rate has
TRIAL_SHOTS, TRIAL_STEPS, TRIAL_RATES = 100, 50, (0.03, 0.1)  # with which it is fine-tuned on validation tasks
SPARE = {"val": 100, "test": 400}  # training images of a class that serve as queries where they are not fitted


class Work(NamedTuple):
    """What the cells need."""

    options: argparse.Namespace
    splits: Splits
    trainers: dict[str, Train]
    begin: Begin


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    finished: list[str] = []
    with running(options, finished) as begin:
        place = options.data / "cifar100" if (options.data / "cifar100").is_dir() else options.data
        work = Work(options, jax_meta.datasets.load_cifar100(place, split="fc100"), {}, begin)
        for name, path, seed, shots in cells(options):
            if not path.exists():
                keep(path, {"start": name, "seed": seed, "shots": shots, **cell(work, name, seed, shots)})
                finished.append(f"{name} with {shots} images a class")
            write(options)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("transfer", __doc__)
    add = parser.add_argument
    add("--budget", default=1_500_000, help="gradients of single images that each start is trained for", **COUNT)
    add("--seeds", default=3, help="networks of each start", **COUNT)
    add("--starts", nargs="+", choices=STARTS, default=list(STARTS), metavar="START", help="in this order")
    add("--shots", default=[100, 500, 5, 20], help="images of a class, in this order", **COUNTS)
    add("--steps", default=[200, 50, 10], help="of fine-tuning", **COUNTS)
    add("--validation-tasks", default=4, help="that rates are chosen on", **COUNT)
    add("--test-tasks", default=16, help="four superclasses, and others of random classes", **COUNT)
    add("--draws", default=1, help="of the images of each test task", **COUNT)
    add_data(parser)
    return parse(parser, arguments)


def cells(options: argparse.Namespace) -> Iterator[tuple[str, Path, int, int]]:
    """All of one seed and one number of images before the next."""
    for seed in range(options.seeds):
        for shots in options.shots:
            for name in options.starts:
                yield name, options.output / "cells" / f"{name}-{shots}-{seed}.json", seed, shots


def keep(path: Path, record: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def cell(work: Work, name: str, seed: int, shots: int) -> dict:
    """One start, fitted to all tasks with so many images of a class."""
    options = work.options
    body, spent = start_of(work, name, seed)
    validation = tasks_of(work.splits.val, "val", shots, count=options.validation_tasks, draws=1, spare=SPARE["val"])
    tested = {"count": options.test_tasks, "draws": options.draws, "spare": SPARE["test"]}
    test = tasks_of(work.splits.test, "test", shots, **tested)
    clock = time.process_time()
    with work.begin(f"{name}, {shots} images a class", 1) as tell:
        record = measure(body, validation, test, tuple(options.steps), tell)
    return record | {"spent": spent, "seconds": rounded(time.process_time() - clock, 4)}


def start_of(work: Work, name: str, seed: int) -> tuple[Any, list[dict]]:
    """The start, and what its methods were; the random one is where all others begin."""
    body, spent = random_start(seed), []
    for place, (method, part) in enumerate(STARTS[name].methods):
        done = "-".join(f"{other}{share:g}" for other, share in STARTS[name].methods[: place + 1])
        body, record = trained(work, f"{done}-{seed}", method, part, body, seed, STARTS[name].averaged)
        spent.append(record)
    return body, spent


def trained(work: Work, file: str, method: str, part: float, body: Any, seed: int, averaged: bool) -> tuple[Any, dict]:
    """A method's part of the budget, unless its file is there."""
    path = work.options.output / "starts" / f"{file}.npz"
    told = path.with_suffix(".json")
    if not told.exists():
        rate, trials = chosen_rate(work, method)
        clock, budget = time.process_time(), part * work.options.budget
        with work.begin(f"training {file}", parts_of(METHODS[method], budget)) as tell:
            found = trainer_of(work, method)(body, rate, budget, seed, tell)
        record = {"method": method, "rate": rate, "trials": trials, "meta_steps": found.meta_steps}
        record |= {"gradients": found.meta_steps * METHODS[method].cost}
        path.parent.mkdir(parents=True, exist_ok=True)
        leaves: dict = flat(found.body) | {f"averaged/{key}": leaf for key, leaf in flat(found.averaged).items()}
        np.savez(path, **leaves)
        keep(told, record | {"seconds": rounded(time.process_time() - clock, 4)})
    with np.load(path) as arrays:
        kept = {key: jnp.asarray(arrays[f"averaged/{key}" if averaged else key]) for key in flat(body)}
    return unflat(kept), json.loads(told.read_text(encoding="utf-8"))


def trainer_of(work: Work, method: str) -> Train:
    if method not in work.trainers:
        work.trainers[method] = trainer(METHODS[method], work.splits.train)
    return work.trainers[method]


def chosen_rate(work: Work, method: str) -> tuple[float, dict]:
    """The best of a method's rates, each after a tenth of the budget from the first seed's random start."""
    method, output = tuned_as(method), work.options.output
    path = output / "cells" / "trials" / f"{method}.json"
    if not path.exists():
        count = work.options.validation_tasks
        validation = tasks_of(work.splits.val, "val", TRIAL_SHOTS, count=count, draws=1, spare=SPARE["val"])
        scores = {}
        budget = TRIAL * work.options.budget
        for rate in METHODS[method].rates:
            with work.begin(f"trial of {method} with {rate:g}", parts_of(METHODS[method], budget)) as tell:
                found = trainer_of(work, method)(random_start(0), rate, budget, 0, tell)
                scores[rate] = max(trial_score(found.body, validation, fine) for fine in TRIAL_RATES)
        keep(path, {f"{rate:g}": rounded(score, 4) for rate, score in scores.items()})
    trials = json.loads(path.read_text(encoding="utf-8"))
    return best_rate({float(rate): [score] for rate, score in trials.items()}), trials


def trial_score(body: Any, validation: list, rate: float) -> float:
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


if __name__ == "__main__":
    main()
