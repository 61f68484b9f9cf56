"""Fine-tuning of a start: the tasks, the rate that is chosen on validation tasks, the accuracy on test tasks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.harness.rates import best_rate, search
from benchmarks.transfer.network import WAYS, augment, logits, loss_of, with_head
from benchmarks.transfer.starts import cosine, head_only
from jax_meta.datasets import ClassImages

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of SGD with momentum 0.9, falling to 0 as a cosine
FIRST_RATES = (0.01, 0.03, 0.1, 0.3)  # all of them, since after few steps the best can have a worse one beside it
LARGEST_BATCH = 64
TRAINING, EVERY = 500, 600  # images of a class to train on, and with the official test images
SPARE = {"val": 100, "test": 400}  # training images of a class that serve as queries where they are not fitted
CHUNK = 250  # queries that are classified at a time
SUPERCLASSES = {
    "val": {
        "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
        "large herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
        "invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
        "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    },
    "test": {
        "people": ("baby", "boy", "girl", "man", "woman"),
        "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
        "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
        "medium mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    },
}


class Data(NamedTuple):
    """One task: which images are fitted, and which are classified afterwards."""

    kind: str  # the name of the superclass, or "mixed"
    support: tuple[np.ndarray, np.ndarray]
    query: tuple[np.ndarray, np.ndarray]


def tasks_of(images: ClassImages, split: str, shots: int, *, count: int, draws: int, spare: int) -> list[list[Data]]:
    """`draws` of each of `count` tasks, superclasses first, then of five random classes; the same for every start.

    Queries are the official test images and, of those not fitted, up to `spare` of each class.
    """
    kinds = list(SUPERCLASSES[split].items())[:count]
    mixed = np.random.default_rng(len(images.names))  # another for each part of the classes
    for _ in range(count - len(kinds)):
        kinds.append(("mixed", tuple(images.names[row] for row in mixed.choice(len(images.names), WAYS, False))))
    return [
        [draw_task(images, kind, names, shots, spare, (number, draw)) for draw in range(draws)]
        for number, (kind, names) in enumerate(kinds)
    ]


def draw_task(
    images: ClassImages, kind: str, names: tuple[str, ...], shots: int, spare: int, seed: tuple[int, int]
) -> Data:
    generator = np.random.default_rng(seed)
    support, query = [], []
    for name in names:
        order = generator.permutation(TRAINING)  # fewer shots are the first of more
        rows = np.asarray(images.images)[images.names.index(name)]
        support.append(rows[order[:shots]])
        query += [rows[TRAINING:EVERY], rows[order[max(shots, TRAINING - spare) :]]]
    labels = [np.full(len(found), place // 2, np.int32) for place, found in enumerate(query)]
    fitted = np.repeat(np.arange(WAYS, dtype=np.int32), shots)
    return Data(kind, (np.concatenate(support), fitted), (np.concatenate(query), np.concatenate(labels)))


@partial(jax.jit, static_argnames=("num_steps", "head_alone"))
def accuracy(
    body: Any, data: tuple, rate: jax.Array, key: jax.Array, *, num_steps: int, head_alone: bool = False
) -> jax.Array:
    """Accuracy on the queries after so many steps, from a head of zeros."""
    support, (images, labels) = data
    optimizer = optax.sgd(cosine(rate, num_steps), momentum=0.9)
    fitted, _ = jax_meta.fine_tune(
        loss_of(WAYS),
        head_only(optimizer) if head_alone else optimizer,
        with_head(body),
        support,
        key,
        num_steps=num_steps,
        batch_size=min(LARGEST_BATCH, len(support[1])),
        augment=augment,
    )
    found = jax.lax.map(lambda chunk: logits(WAYS, fitted, chunk).argmax(-1), in_chunks(images))
    return (found.reshape(-1) == labels).mean()


def in_chunks(images: jax.Array) -> jax.Array:
    return images.reshape(-1, CHUNK, *images.shape[1:])


def fitted(
    body: Any, task: list[Data], place: int, rate: float, num_steps: int, *, head_alone: bool = False
) -> list[float]:
    """Accuracies on the draws of a task; minibatches and augmentation are those of every other start."""
    found = partial(accuracy, num_steps=num_steps, head_alone=head_alone)
    return [
        float(found(body, data[1:], jnp.float32(rate), jax.random.key(97 * place + draw)))
        for draw, data in enumerate(task)
    ]


def measure(
    body: Any,
    validation: list[list[Data]],
    test: list[list[Data]],
    steps: tuple[int, ...],
    tell: Callable[..., None],
    *,
    head_alone: bool = False,
) -> dict:
    """Of each number of steps the rates that were tried, the one that was chosen, and the accuracies on test tasks."""
    record: dict = {"rates": {}, "chosen": {}, "test": {}, "kinds": [task[0].kind for task in test]}
    for num_steps in steps:
        fit = partial(fitted, body, num_steps=num_steps, head_alone=head_alone)

        def score(rate, num_steps=num_steps, fit=fit):
            tell(f"{num_steps} steps, rate {rate:g}", 0)
            return [float(np.mean(fit(*numbered, rate))) for numbered in places(validation)]

        tried = search(score, RATES, FIRST_RATES)
        rate = best_rate(tried)
        tell(f"{num_steps} steps, test", 0)
        record["rates"][str(num_steps)] = {f"{one:g}": np.round(scores, 4).tolist() for one, scores in tried.items()}
        record["chosen"][str(num_steps)] = rate
        record["test"][str(num_steps)] = [np.round(fit(*numbered, rate), 4).tolist() for numbered in places(test)]
    return record


def places(tasks: list[list[Data]]) -> list[tuple[list[Data], int]]:
    return [(task, place) for place, task in enumerate(tasks)]
