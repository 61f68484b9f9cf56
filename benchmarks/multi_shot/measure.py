"""A cell: one start, one reading of the protocol, one seed; tested on that seed's ten alphabets."""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jax_meta
from benchmarks.harness.progress import Begin
from benchmarks.harness.rates import Scores, best_rate, search
from benchmarks.harness.results import rounded
from benchmarks.multi_shot.network import Network, floats, loss_of, optimizer_of
from benchmarks.multi_shot.protocol import DRAWS, FIRST_RATES, HELD_OUT, RATES, READINGS, SHOWN, STEPS, WAYS
from benchmarks.multi_shot.starts import STARTS, meta_steps_of, points_to, trained
from jax_meta import Task, tasks
from jax_meta.datasets import ClassImages, Splits

KINDS = ("accuracy", "transductive")


class Cell(NamedTuple):
    start: str
    reading: str
    seed: int
    share: float  # of the published budget; 0 where nothing is trained

    @property
    def name(self) -> str:
        return f"{self.start}, {self.reading}, seed {self.seed}"

    def path(self, output: Path) -> Path:
        return output / "cells" / f"{self.share:g}" / f"{self.start}-{self.reading}-{self.seed}.json"

    def folder(self, output: Path) -> Path:
        """Of the training, which goes on where a smaller share ended, and serves all rates of a test."""
        return output / "starts" / f"{self.start}-{READINGS[self.reading].batch}-{self.seed}"


def measure(options: argparse.Namespace, cell: Cell, begin: Begin) -> dict:
    """The record of a cell: its last point, and those on the way."""
    splits, reading = splits_of(options.data, cell.seed), READINGS[cell.reading]
    found, seconds = [], {"training": 0.0, "testing": 0.0}
    for gradients, params, training, key in points(options, cell, splits, begin):
        seconds["training"], clock = training, time.process_time()
        with begin(f"{cell.name}, after {gradients:,} image gradients", 1) as tell:
            tried = scores(splits.val, reading.batch, params, key, tell) if reading.tuned else {}
            rate = best_rate(tried) if tried else reading.rate
            tell(f"test, rate {rate:g}", 0)
            test = tested(splits.test, reading.batch, rate, params, key)
        means = {f"{one:g}": float(np.mean(score)) for one, score in tried.items()}
        found.append({"gradients": gradients, "rate": rate, "tried": rounded(means, 4), **test})
        seconds["testing"] += time.process_time() - clock
    last = found.pop()
    return {**cell._asdict(), "batch": reading.batch, **last, "points": found, "seconds": rounded(seconds, 4)}


def points(
    options: argparse.Namespace, cell: Cell, splits: Splits, begin: Begin
) -> Iterator[tuple[int, Any, float, jax.Array]]:
    """On the way of a start: image gradients, parameters, seconds of training, and the key of the tests."""
    network_key, train_key, test_key = jax.random.split(jax.random.key(cell.seed), 3)
    params = Network(WAYS).init(network_key, jnp.zeros((1, 28, 28, 1)))
    reading, make = READINGS[cell.reading], STARTS[cell.start].way
    if make is None:
        yield 0, params, 0.0, test_key
        return
    way = make(splits, params, reading, train_key)
    for point in [cell.share] if reading.tuned else points_to(cell.share):
        meta_steps = meta_steps_of(way, point)
        with begin(f"{cell.name}, training", meta_steps) as tell:
            found, seconds = trained(way, train_key, cell.folder(options.output), meta_steps, tell)
        yield meta_steps * way.gradients, found, seconds, test_key


@cache
def splits_of(folder: Path, seed: int) -> Splits:
    """The papers' code asks for Lanczos, and gets the nearest pixel, since the drawings are 1-bit."""
    place = folder / "omniglot" if (folder / "omniglot").is_dir() else folder
    return jax_meta.datasets.load_omniglot(place, split="alphabets", seed=seed, resample="nearest")


def scores(images: ClassImages, batch: int, params: Any, key: jax.Array, tell: Callable[..., None]) -> Scores:
    """Of rates, the accuracies on the validation alphabets after all steps."""

    def score(rate: float) -> list[float]:
        tell(f"rate {rate:g}", 0)
        return tested(images, batch, rate, params, jax.random.fold_in(key, 1))["accuracy"][str(STEPS)]

    return search(score, RATES, FIRST_RATES)


def tested(images: ClassImages, batch: int, rate: float, params: Any, key: jax.Array) -> dict:
    """What comes of all alphabets, by steps."""
    found = [test(params, task, batch, rate, key) for task, key in tasks_of(images, key)]
    measures = {kind: by_step([one[kind] for one in found]) for kind in KINDS}
    return {**measures, "area": [rounded(one["area"], 4) for one in found]}


def by_step(alphabets: list[list[float]]) -> dict[str, list[float]]:
    return {str(step): rounded([one[place] for one in alphabets], 4) for place, step in enumerate(SHOWN)}


def tasks_of(images: ClassImages, key: jax.Array) -> list[tuple[Task, jax.Array]]:
    """The alphabets, each with a key."""
    found = tasks.grouped(images, ways=WAYS, queries=HELD_OUT)
    count = len(found.support[1])
    return [(jax.tree.map(lambda leaf, i=i: leaf[i], found), jax.random.fold_in(key, i)) for i in range(count)]


def test(params: Any, task: Task, batch: int, rate: float, key: jax.Array) -> dict[str, Any]:
    """A hundred steps on an alphabet: accuracy on held-out drawings along the way, and Leap's area under the loss."""
    losses, measured = fitted(params, task, jnp.float32(rate), key, batch=batch)
    losses = np.where(np.isfinite(losses), losses, np.log(WAYS))  # of chance, where a rate is too large
    return {
        **{kind: np.asarray(measured[kind], float).tolist() for kind in KINDS},
        "area": float(np.trapezoid(losses) / (len(losses) - 1)),
    }


@partial(jax.jit, static_argnames="batch")
def fitted(params: Any, task: Task, rate: jax.Array, key: jax.Array, *, batch: int) -> tuple[jax.Array, dict]:
    map_key, key = jax.random.split(key)
    images, labels = task.query
    held_out = jax.vmap(lambda key: mapped(key, images))(jax.random.split(map_key, DRAWS))
    _, history = jax_meta.fine_tune(
        loss_of(WAYS),
        optimizer_of(rate),
        params,
        task.support,
        key,
        num_steps=STEPS,
        batch_size=batch,
        augment=tasks.affine,
        measure=partial(accuracies, held_out, labels),
        measure_after=SHOWN,
    )
    return history.loss, history.measured


def mapped(key: jax.Array, images: jax.Array) -> jax.Array:
    return jax.vmap(tasks.affine)(jax.random.split(key, len(images)), jnp.asarray(images))


def accuracies(draws: jax.Array, labels: jax.Array, params: Any) -> dict[str, jax.Array]:
    """By the running averages, as in the papers, and so inductively; and by the statistics of all held-out ones."""

    def of_draw(images):
        alone: Any = Network(WAYS).apply(params, floats(images))
        together, _ = Network(WAYS, train=True).apply(params, floats(images), mutable=["distance"])
        return [(logits.argmax(-1) == labels).mean() for logits in (alone, together)]

    return {kind: found.mean() for kind, found in zip(KINDS, jax.lax.map(of_draw, draws), strict=True)}
