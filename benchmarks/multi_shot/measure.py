"""A cell: one start, one reading of the protocol, one seed; tested on that seed's ten alphabets."""

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jax_meta
from benchmarks.harness.results import rounded
from benchmarks.multi_shot.network import Network, floats, loss_of, optimizer_of
from jax_meta import Task, tasks
from jax_meta.datasets import Splits

WAYS, HELD_OUT, STEPS = 20, 5, 100
SHOWN = (0, 10, 25, 50, 100)  # steps after which held-out drawings are classified
DRAWS = 5  # random maps of each held-out drawing; the papers take one
KINDS = ("accuracy", "transductive")


class Reading(NamedTuple):
    """What the papers leave open: the batch, and with it SGD's rate."""

    batch: int
    rate: float


READINGS = {
    "batch-20": Reading(20, 0.1),  # Leap's code
    "batch-80": Reading(80, 1.0),  # four times the batch, ten times the rate: WarpGrad's appendix, on Leap's code
    "batch-128": Reading(128, 0.1),  # WarpGrad's code
    "batch-300": Reading(300, 1.0),  # four times that batch, which is more than all there are
}


def measure(folder: Path, train: Callable[..., Any], reading: Reading, seed: int) -> dict:
    """The record of a cell; `train(splits, params, reading, key)` gives the start and what it cost."""
    splits = splits_of(folder, seed)
    network_key, train_key, test_key = jax.random.split(jax.random.key(seed), 3)
    params = Network(WAYS).init(network_key, jnp.zeros((1, 28, 28, 1)))
    start = time.process_time()
    params, spent = train(splits, params, reading, train_key)
    trained = time.process_time()
    found = [test(params, task, reading, key) for task, key in tasks_of(splits, test_key)]
    return {
        "reading": reading._asdict(),
        "seed": seed,
        **spent,
        "seconds": rounded({"train": trained - start, "test": time.process_time() - trained}, 4),
        **{kind: by_step([one[kind] for one in found]) for kind in KINDS},
        "area": [rounded(one["area"], 4) for one in found],
    }


def by_step(alphabets: list[list[float]]) -> dict[str, list[float]]:
    return {str(step): rounded([one[place] for one in alphabets], 4) for place, step in enumerate(SHOWN)}


@cache
def splits_of(folder: Path, seed: int) -> Splits:
    """The papers' code asks for Lanczos, and gets the nearest pixel, since the drawings are 1-bit."""
    place = folder / "omniglot" if (folder / "omniglot").is_dir() else folder
    return jax_meta.datasets.load_omniglot(place, split="alphabets", seed=seed, resample="nearest")


def tasks_of(splits: Splits, key: jax.Array) -> list[tuple[Task, jax.Array]]:
    """The test alphabets, each with a key."""
    found = tasks.grouped(splits.test, ways=WAYS, queries=HELD_OUT)
    count = len(found.support[1])
    return [(jax.tree.map(lambda leaf, i=i: leaf[i], found), jax.random.fold_in(key, i)) for i in range(count)]


def test(params: Any, task: Task, reading: Reading, key: jax.Array) -> dict:
    """A hundred steps on an alphabet: accuracy on held-out drawings along the way, and Leap's area under the loss."""
    map_key, key = jax.random.split(key)
    images, labels = task.query
    held_out = jax.vmap(lambda key: mapped(key, images))(jax.random.split(map_key, DRAWS))
    _, history = jax_meta.fine_tune(
        loss_of(WAYS),
        optimizer_of(reading.rate),
        params,
        task.support,
        key,
        num_steps=STEPS,
        batch_size=reading.batch,
        augment=tasks.affine,
        measure=partial(accuracies, held_out, labels),
        measure_after=SHOWN,
    )
    losses = np.asarray(history.loss, float)
    return {
        **{kind: np.asarray(history.measured[kind], float).tolist() for kind in KINDS},
        "area": float(np.trapezoid(losses) / (len(losses) - 1)),
    }


def mapped(key: jax.Array, images: jax.Array) -> jax.Array:
    return jax.vmap(tasks.affine)(jax.random.split(key, len(images)), jnp.asarray(images))


def accuracies(draws: jax.Array, labels: jax.Array, params: Any) -> dict[str, jax.Array]:
    """By the running averages, as in the papers, and so inductively; and by the statistics of all held-out ones."""

    def of_draw(images):
        alone: Any = Network(WAYS).apply(params, floats(images))
        together, _ = Network(WAYS, train=True).apply(params, floats(images), mutable=["distance"])
        return [(logits.argmax(-1) == labels).mean() for logits in (alone, together)]

    return {kind: found.mean() for kind, found in zip(KINDS, jax.lax.map(of_draw, draws), strict=True)}
