"""The starts: none, and those that twenty-five alphabets teach, with the settings of Leap's code."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jax_meta
from benchmarks.multi_shot.network import kinds, loss_of, optimizer_of
from benchmarks.multi_shot.protocol import HELD_OUT, STEPS, WAYS, Reading
from jax_meta import MetaLearner, Sampler, Task, tasks
from jax_meta.datasets import Splits
from jax_meta.fine_tuning import augmented

PUBLISHED_GRADIENTS = 40_000_000  # of single images: 1,000 meta-steps, 20 tasks, 100 steps, batches of 20
POINTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of it, where a start is tested on its way
TASKS = 4  # a meta-step; the papers' 20 leave a fifth of their budget too few meta-steps
ALPHABETS = 25
SAVE_SECONDS, EVERY = 300, 1_000


class Way(NamedTuple):
    """How a start is trained."""

    learner: MetaLearner
    outer: optax.GradientTransformation
    sampler: Sampler
    num_tasks: int
    params: Any  # where it begins
    gradients: int  # of single images, in a meta-step
    part: int  # meta-steps between lines of progress
    to_test: Callable[[Any], Any]  # the parameters that a test begins with


class Start(NamedTuple):
    """A row of the table."""

    label: str
    published: float | None  # held-out accuracy, %, of 25 alphabets: WarpGrad's table 1
    way: Callable[[Splits, Any, Reading, jax.Array], Way] | None  # of alphabets, a network's parameters, and a key


def inner(reading: Reading, loss_fn: jax_meta.LossFn) -> tuple:
    """The first arguments of a learner: the loss on random maps of the drawings, and the steps of a test."""
    return augmented(loss_fn, tasks.affine), optimizer_of(reading.rate)


def meta_learned(
    make: Callable[..., MetaLearner],
    outer_rate: float,
    splits: Splits,
    params: Any,
    reading: Reading,
    key: jax.Array,
    *,
    queries: int = 0,
) -> Way:
    """By a learner whose outer step is that of SGD; running averages begin anew with every task."""
    del key
    return Way(
        learner=make(*inner(reading, loss_of(WAYS)), num_steps=STEPS, batch_size=reading.batch),
        outer=optax.partition({"learned": optax.sgd(outer_rate), "averages": optax.set_to_zero()}, kinds),
        sampler=tasks.among(tasks.grouped(splits.train, ways=WAYS, queries=HELD_OUT)),
        num_tasks=TASKS,
        params=params,
        gradients=TASKS * (STEPS * reading.batch + queries),
        part=5,
        to_test=lambda found: found,
    )


def joint(splits: Splits, params: Any, reading: Reading, key: jax.Array) -> Way:
    """One network on all alphabets, with a head for each; a new one for the test, and new averages."""
    head = jnp.zeros((64, WAYS * ALPHABETS)), jnp.zeros(WAYS * ALPHABETS)
    heads = jax.tree.map(lambda leaf: jax.random.uniform(key, leaf.shape, minval=-1 / 8, maxval=1 / 8), head)

    def to_test(found: Any) -> Any:
        body = {"params": {**found["params"], "Dense_0": params["params"]["Dense_0"]}}
        return jax.tree.map(lambda kind, new, old: old if kind == "averages" else new, kinds(params), body, params)

    return Way(
        learner=jax_meta.transfer(*inner(reading, loss_of(WAYS, ALPHABETS)), num_steps=0),
        outer=optimizer_of(reading.rate),
        sampler=minibatches(splits, reading.batch),
        num_tasks=1,
        params={"params": {**params["params"], "Dense_0": dict(zip(("kernel", "bias"), heads, strict=True))}},
        gradients=reading.batch,
        part=EVERY,
        to_test=to_test,
    )


def minibatches(splits: Splits, batch: int) -> Sampler:
    """Each of one alphabet, whose labels say which it is."""
    images, labels = tasks.grouped(splits.train, ways=WAYS, queries=HELD_OUT).support

    def sample(data, key, num_tasks):
        images, labels = data
        alphabet_key, image_key = jax.random.split(key)
        alphabets = jax.random.randint(alphabet_key, (num_tasks,), 0, len(images))

        def draw(key, alphabet):
            rows = jax.random.permutation(key, images.shape[1])[:batch]
            return images[alphabet][rows], labels[alphabet][rows] + WAYS * alphabet

        found = jax.vmap(draw)(jax.random.split(image_key, num_tasks), alphabets)
        return Task(jax.tree.map(lambda leaf: leaf[:, :1], found), found)

    return jax.tree_util.Partial(sample, (jnp.asarray(images), jnp.asarray(labels)))


STARTS = {
    "none": Start("No pre-training", 51.0, None),
    "fine-tuning": Start("Joint training, a head an alphabet", 76.4, joint),
    "reptile": Start("Reptile", 70.8, partial(meta_learned, jax_meta.reptile, 0.1)),
    "leap": Start("Leap", 75.5, partial(meta_learned, jax_meta.leap, 0.1)),
    "fomaml": Start("First-order MAML", None, partial(meta_learned, jax_meta.fomaml, 0.5, queries=WAYS * HELD_OUT)),
}


def points_to(share: float) -> list[float]:
    """Where a start is tested that has this share of the published budget; a larger one has the same, and more."""
    return [point for point in POINTS if point < share] + [share]


def meta_steps_of(way: Way, share: float) -> int:
    """How many a share of the published budget is."""
    return max(1, round(share * PUBLISHED_GRADIENTS / way.gradients))


def trained(way: Way, key: jax.Array, folder: Path, meta_steps: int, tell: Callable[..., None]) -> tuple[Any, float]:
    """After so many meta-steps the parameters, from the folder's checkpoints so far as they are there, and the seconds
    of all of them."""
    state = jax_meta.init(way.learner, way.outer, way.params, key)
    try:
        state = jax_meta.load_state(folder, state, step=meta_steps)
    except FileNotFoundError:
        state, _ = jax_meta.train(
            way.learner,
            way.outer,
            way.sampler,
            state,
            num_meta_steps=meta_steps,
            num_tasks=way.num_tasks,
            task_batch_size=1,
            folder=folder,
            record_every=way.part,
            keep=1_000,  # small files, of which the points are tested again with other rates
            save_seconds=SAVE_SECONDS,
            report=lambda now: tell(f"loss {now.record.get('loss', jnp.nan):.2f}", now.step),
        )
    times = jax_meta.read_records(folder / "times.jsonl")
    return way.to_test(state.params), max(line["seconds"] for line in times if line["step"] <= meta_steps)
