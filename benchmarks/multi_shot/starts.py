"""The starts: none, and those that twenty-five alphabets teach, with the settings of Leap's code."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jax_meta
from benchmarks.multi_shot.measure import HELD_OUT, STEPS, WAYS, Reading
from benchmarks.multi_shot.network import kinds, loss_of, optimizer_of
from jax_meta import Task, tasks
from jax_meta.datasets import Splits
from jax_meta.fine_tuning import augmented

META_STEPS, TASKS, PART = 1_000, 20, 5
ALPHABETS = 25


class Start(NamedTuple):
    """A row of the table."""

    label: str
    published: float | None  # held-out accuracy, %, of 25 alphabets: WarpGrad's table 1
    train: Callable[..., Any]


def nothing(splits: Splits, params: Any, reading: Reading, key: jax.Array, share: float) -> tuple[Any, dict]:
    """No pre-training."""
    del splits, reading, key, share
    return params, {"gradients": 0}


def inner(reading: Reading, loss_fn: jax_meta.LossFn) -> tuple:
    """The first arguments of a learner: the loss on random maps of the drawings, and the steps of a test."""
    return augmented(loss_fn, tasks.affine), optimizer_of(reading.rate)


def meta_learned(
    make: Callable[..., jax_meta.MetaLearner],
    outer_rate: float,
    splits: Splits,
    params: Any,
    reading: Reading,
    key: jax.Array,
    share: float,
) -> tuple[Any, dict]:
    """By a learner whose outer step is that of SGD; running averages begin anew with every task."""
    learner = make(*inner(reading, loss_of(WAYS)), num_steps=STEPS, batch_size=reading.batch)
    outer = optax.partition({"learned": optax.sgd(outer_rate), "averages": optax.set_to_zero()}, kinds)
    sampler = tasks.among(tasks.grouped(splits.train, ways=WAYS, queries=HELD_OUT))
    state = jax_meta.init(learner, outer, params, key)
    meta_steps = max(1, round(share * META_STEPS))
    for done in range(0, meta_steps, PART):
        options: dict = {"num_meta_steps": min(PART, meta_steps - done), "num_tasks": TASKS, "task_batch_size": 1}
        state, _ = jax_meta.fit(learner, outer, sampler, state, **options)
    return state.params, {"gradients": meta_steps * TASKS * STEPS * reading.batch}


def joint(splits: Splits, params: Any, reading: Reading, key: jax.Array, share: float) -> tuple[Any, dict]:
    """One network on all alphabets, with a head for each; a new one for the test."""
    head = jnp.zeros((64, WAYS * ALPHABETS)), jnp.zeros(WAYS * ALPHABETS)
    heads = jax.tree.map(lambda leaf: jax.random.uniform(key, leaf.shape, minval=-1 / 8, maxval=1 / 8), head)
    many = {"params": {**params["params"], "Dense_0": dict(zip(("kernel", "bias"), heads, strict=True))}}
    learner = jax_meta.transfer(*inner(reading, loss_of(WAYS, ALPHABETS)), num_steps=0)
    outer, sampler = optimizer_of(reading.rate), minibatches(splits, reading.batch)
    state = jax_meta.init(learner, outer, many, key)
    steps = max(1, round(share * META_STEPS * TASKS * STEPS))
    for done in range(0, steps, 1_000):
        state, _ = jax_meta.fit(learner, outer, sampler, state, num_meta_steps=min(1_000, steps - done), num_tasks=1)
    found = {**state.params["params"], "Dense_0": params["params"]["Dense_0"]}
    begun = jax.tree.map(
        lambda kind, new, old: old if kind == "averages" else new, kinds(params), {"params": found}, params
    )
    return begun, {"gradients": steps * reading.batch}


def minibatches(splits: Splits, batch: int) -> jax_meta.Sampler:
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
    "none": Start("No pre-training", 51.0, nothing),
    "fine-tuning": Start("Joint training, a head an alphabet", 76.4, joint),
    "reptile": Start("Reptile", 70.8, partial(meta_learned, jax_meta.reptile, 0.1)),
    "leap": Start("Leap", 75.5, partial(meta_learned, jax_meta.leap, 0.1)),
    "fomaml": Start("First-order MAML", None, partial(meta_learned, jax_meta.fomaml, 0.5)),
}
