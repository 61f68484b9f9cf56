"""The starts: how each is trained, for a number of gradients of single images that is the same for all of them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jax_meta
from benchmarks.transfer.network import HEAD, WAYS, augment, loss_of, new_start, with_head
from jax_meta import MetaLearner, Sampler, Task
from jax_meta.datasets import ClassImages
from jax_meta.fine_tuning import augmented

PART = 10  # meta-steps in a compiled call
AVERAGING = 0.1  # how far the average of the weights goes to them after each part, about 100 meta-steps long
BATCH, REPTILE_BATCH, MOST_SHOTS = 128, 25, 599  # of the 600 images of a class; one is the query
FOMAML_STEPS, QUERIES = 16, 15


class Method(NamedTuple):
    """What trains a start."""

    label: str
    cost: int  # gradients of single images in a meta-step
    outputs: int  # of the network while it trains
    rates: tuple[float, ...]  # that are tried
    learner: Callable[[Any], MetaLearner]  # of a rate
    outer: Callable[[Any, Any], optax.GradientTransformation]  # of a rate and the number of meta-steps
    sampler: Callable[[ClassImages], Sampler]
    resets: int = 0  # how often the head is made anew


class Trained(NamedTuple):
    body: Any  # all parameters but the head
    averaged: Any  # their moving average
    meta_steps: int


def cosine(rate: Any, total: Any) -> Callable[[Any], Any]:
    return lambda count: rate * (1 + jnp.cos(jnp.pi * jnp.minimum(count / total, 1))) / 2


def body_only(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The head is zero at the start of every task, and stays so."""
    return optax.partition({"body": optimizer, "head": optax.set_to_zero()}, kinds)


def head_only(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The body stays as it is."""
    return optax.partition({"body": optax.set_to_zero(), "head": optimizer}, kinds)


def kinds(params: Any) -> Any:
    return {"params": {name: "head" if name == HEAD else "body" for name in params["params"]}}


def loss_on(outputs: int) -> jax_meta.LossFn:
    return augmented(loss_of(outputs), augment)


def batches(images: ClassImages) -> Sampler:
    """Batches of random images of all classes: what `jax_meta.transfer` trains on is the query set."""

    def sample(images, key, num_tasks):
        class_key, image_key = jax.random.split(key)
        labels = jax.random.randint(class_key, (num_tasks, BATCH), 0, len(images))
        found = images[labels, jax.random.randint(image_key, labels.shape, 0, images.shape[1])]
        return Task((found[:, :1], labels[:, :1]), (found, labels))

    return jax.tree_util.Partial(sample, jax.device_put(images.images))


def as_they_are(images):
    return images


def five_ways(images: ClassImages, *, shots: int, queries: int) -> Sampler:
    return jax_meta.tasks.episodes(images, ways=WAYS, shots=shots, queries=queries, prepare=as_they_are)


def pre_training(label: str, resets: int = 0) -> Method:
    return Method(
        label,
        cost=BATCH,
        outputs=60,
        rates=(0.03, 0.1, 0.3),
        learner=lambda rate: jax_meta.transfer(loss_on(60), optax.sgd(1.0), num_steps=0),
        outer=lambda rate, total: optax.sgd(cosine(rate, total), momentum=0.9),
        sampler=batches,
        resets=resets,
    )


def by_adaptation(
    label: str, make: Callable[..., MetaLearner], num_steps: int, outer: Callable[[Any], optax.GradientTransformation]
) -> Method:
    """A learner that needs no query set: all gradients are those of adaptation."""
    options: dict = {"num_steps": num_steps, "batch_size": REPTILE_BATCH}
    return Method(
        f"{label}, {num_steps} steps",
        cost=num_steps * REPTILE_BATCH,
        outputs=WAYS,
        rates=(0.01, 0.03, 0.1),
        learner=lambda rate: make(loss_on(WAYS), optax.sgd(rate, momentum=0.9), **options),
        outer=lambda rate, total: body_only(outer(total)),
        sampler=partial(five_ways, shots=min(num_steps * REPTILE_BATCH // WAYS, MOST_SHOTS), queries=1),
    )


def reptile(num_steps: int) -> Method:
    make = partial(jax_meta.reptile, order=jax_meta.balanced)
    return by_adaptation("Reptile", make, num_steps, lambda total: optax.sgd(cosine(0.5, total)))


def fomaml(rate: Any) -> MetaLearner:
    return jax_meta.fomaml(loss_on(WAYS), optax.sgd(rate), num_steps=FOMAML_STEPS, batch_size=REPTILE_BATCH)


METHODS = {
    "pretrain": pre_training("60-way pre-training"),
    "resets": pre_training("60-way pre-training, head made anew nine times", resets=9),
    "reptile": reptile(32),
    "reptile-8": reptile(8),
    "reptile-128": reptile(128),
    "leap": by_adaptation("Leap", jax_meta.leap, 32, lambda total: optax.adam(cosine(1e-3, total))),
    "fomaml": Method(
        f"First-order MAML, {FOMAML_STEPS} steps",
        cost=FOMAML_STEPS * REPTILE_BATCH + WAYS * QUERIES,
        outputs=WAYS,
        rates=(0.01, 0.03, 0.1),
        learner=fomaml,
        outer=lambda rate, total: body_only(optax.adam(cosine(1e-3, total))),
        sampler=partial(five_ways, shots=FOMAML_STEPS * REPTILE_BATCH // WAYS, queries=QUERIES),
    ),
}


class Start(NamedTuple):
    """A row of the table: one method after the other, each with its part of the budget."""

    label: str
    methods: tuple[tuple[str, float], ...] = ()
    averaged: bool = False  # the moving average of the weights, in place of the last
    head_alone: bool = False  # is fitted, and the body stays: a linear probe


STARTS = {
    "pretrain": Start("Pre-training", (("pretrain", 1.0),)),
    "reptile": Start("Reptile", (("reptile", 1.0),)),
    "random": Start("Random"),
    "pretrain-reptile": Start("Pre-training, then Reptile", (("pretrain", 0.5), ("reptile", 0.5))),
    "pretrain-averaged": Start("Pre-training, averaged", (("pretrain", 1.0),), averaged=True),
    "resets": Start("Pre-training, new heads", (("resets", 1.0),)),
    "fomaml": Start("First-order MAML", (("fomaml", 1.0),)),
    "leap": Start("Leap", (("leap", 1.0),)),
    "pretrain-probe": Start("Pre-training, head alone", (("pretrain", 1.0),), head_alone=True),
    "reptile-8": Start("Reptile, 8 steps", (("reptile-8", 1.0),)),
    "reptile-128": Start("Reptile, 128 steps", (("reptile-128", 1.0),)),
    "reptile-probe": Start("Reptile, head alone", (("reptile", 1.0),), head_alone=True),
}


def tuned_as(method: str) -> str:
    """Pre-training with new heads has the rate of pre-training."""
    return "pretrain" if method == "resets" else method


Train = Callable[..., Trained]
"""`train(body, rate, budget, seed, tell)`: from a body and a new head, for so many gradients of single images."""


def trainer(method: Method, images: ClassImages) -> Train:
    """What trains a method on some classes; compiled once for all rates and budgets."""
    sampler = method.sampler(images)

    @jax.jit
    def advance(state, averaged, sampler, rate, total):
        options: dict = {"num_meta_steps": PART, "num_tasks": 1}
        state, history = jax_meta.fit(method.learner(rate), method.outer(rate, total), sampler, state, **options)
        return state, optax.incremental_update(bare(state.params), averaged, AVERAGING), history["loss"].mean()

    def train(body: Any, rate: float, budget: float, seed: int, tell: Callable[..., None]) -> Trained:
        key, loss = jax.random.key(seed), float("nan")
        total = parts_of(method, budget)
        numbers = jnp.float32(rate), jnp.float32(total * PART)
        start = with_head(body, method.outputs, key)
        state = jax_meta.init(method.learner(numbers[0]), method.outer(*numbers), start, key)
        averaged, between = body, math.ceil(total / (method.resets + 1))
        for part in range(total):
            tell(f"loss {loss:.2f}" if part else "compiling", part)
            if method.resets and part and part % between == 0:
                new = with_head(bare(state.params), method.outputs, jax.random.fold_in(key, part))
                state = state._replace(params=new)
            state, averaged, mean = advance(state, averaged, sampler, *numbers)
            loss = float(mean)
            if not math.isfinite(loss):  # a trial that diverges is one that is not chosen
                break
        return Trained(bare(state.params), averaged, total * PART)

    return train


def parts_of(method: Method, budget: float) -> int:
    """How many compiled calls a budget is."""
    return max(1, round(budget / method.cost / PART))


def bare(params: Any) -> Any:
    """The parameters without the head."""
    return {name: leaf for name, leaf in params["params"].items() if name != HEAD}


def random_start(seed: int) -> Any:
    return bare(new_start(jax.random.key(1_000 + seed)))
