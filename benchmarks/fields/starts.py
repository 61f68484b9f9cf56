"""How each start is made, and what that took."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.fields.networks import Field, Start, plain
from benchmarks.harness.rounds import Tell
from jax_meta import MetaLearner, Sampler

IMAGES, PART, CLIP = 4, 500, 1.0
OUTER_RATE, ADAM_RATE = 1e-3, 1e-3
Rates = tuple[float | None, float]  # of a learner's inner steps, if it has any, and of Adam in the outer loop
Judge = Callable[[Start, float], float]  # decibels of validation images, from a start and an inner rate
OTHER_STEPS, HEADS = 1_000, 256


class Recipe(NamedTuple):
    """A row of the table."""

    label: str
    gradients: int = 0  # of an image, in a meta-step's task
    learner: Callable[[Any, Any], MetaLearner] | None = None  # from a loss and an inner step size
    pixels: int | None = None  # that a training task gives, and asks for the others; None: all are given and asked


def learned(make: Callable[..., MetaLearner], steps: int) -> Callable[[Any, Any], MetaLearner]:
    return lambda loss_fn, rate: make(loss_fn, optax.sgd(rate), num_steps=steps)


RECIPES = {
    "random": Recipe("random"),
    "joint": Recipe("joint training", 1, learned(jax_meta.transfer, 1)),
    "other": Recipe("another image"),
    "heads": Recipe("shared body, a head an image", 1),
    "fomaml": Recipe("first-order MAML", 3, learned(jax_meta.fomaml, 2)),
    "reptile": Recipe("Reptile", 5, learned(jax_meta.reptile, 5)),
    "maml": Recipe("MAML", 3, learned(jax_meta.maml, 2)),
    "meta_sgd": Recipe("Meta-SGD", 3, lambda loss, rate: jax_meta.meta_sgd(loss, num_steps=2, step_size=rate)),
    "complete": Recipe("MAML, given a quarter", 3, learned(jax_meta.maml, 2), pixels=256),
    "matched": Recipe("MAML's mean and deviation"),
    "shuffled": Recipe("MAML's weights, shuffled"),
}
DERIVED = ("matched", "shuffled")  # from MAML's of the same seed


def meta_train(
    field: Field, recipe: Recipe, sampler: Sampler, rates: Rates, seed: int, meta_steps: int, judge: Judge, tell: Tell
) -> tuple[Start, int]:
    """The start of the part after which it is judged best, and the meta-steps left out for a gradient not finite."""
    assert recipe.learner is not None
    rate, schedule = rates[0] or 1.0, optax.cosine_decay_schedule(rates[1], meta_steps)
    adam = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(schedule))
    outer = optax.apply_if_finite(adam, max_consecutive_errors=meta_steps)
    learner = recipe.learner(field.loss_fn, rate)
    model_key, run_key = jax.random.split(jax.random.key(seed))
    state = jax_meta.init(learner, outer, field.init(model_key), run_key)
    best, start = -np.inf, of_params(state.params, rate)
    options: dict = {"num_tasks": IMAGES, "task_batch_size": 1}
    for done in range(0, meta_steps, PART):
        tell(f"trains, {done:,} of {meta_steps:,}")
        part = min(PART, meta_steps - done)
        state, _ = jax.block_until_ready(jax_meta.fit(learner, outer, sampler, state, num_meta_steps=part, **options))
        candidate = of_params(state.params, rate)
        found = judge(candidate, rate) if rates[0] else done
        if found > best:
            best, start = found, candidate
    return start, int(state.opt_state.total_notfinite)


def of_params(params: Any, rate: float) -> Start:
    """The start that meta-parameters are."""
    if isinstance(params, jax_meta.MetaSGDParams):
        return Start(params.params, jax.tree.map(lambda size: size / rate, params.step_sizes))
    return plain(params)


def other_image(field: Field, sampler: Sampler, seed: int) -> Start:
    """The weights of a network that was fitted to one image of the training classes: transfer, as of one task."""
    model_key, image_key = jax.random.split(jax.random.key(seed))
    batch = jax.tree.map(lambda leaf: leaf[0], sampler(image_key, 1).support)
    adam = optax.adam(ADAM_RATE)
    options: dict = {"num_steps": OTHER_STEPS}
    return plain(jax_meta.adapt(field.loss_fn, adam, field.init(model_key), batch, image_key, **options))


def shared_body(field: Field, sampler: Sampler, seed: int, meta_steps: int) -> Start:
    """Joint training of a body, with an output layer for each image; then a new one for the next."""
    model_key, image_key, key = jax.random.split(jax.random.key(seed), 3)
    params, images = field.init(model_key), sampler(image_key, HEADS).support
    many = jax.vmap(lambda key: field.init(key)["params"][field.head])(jax.random.split(key, HEADS))
    adam = optax.adam(optax.cosine_decay_schedule(OUTER_RATE, meta_steps))

    def loss(trained: Any, chosen: jax.Array) -> jax.Array:
        body, heads = trained

        def of_image(image: jax.Array) -> jax.Array:
            whole = {"params": {**body["params"], field.head: jax.tree.map(lambda leaf: leaf[image], heads)}}
            return field.loss_fn(whole, jax.tree.map(lambda leaf: leaf[image], images), key)[0]

        return jax.lax.map(jax.checkpoint(of_image), chosen).mean()

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        trained, state = carry
        gradient = jax.grad(loss)(trained, jax.random.choice(key, HEADS, (IMAGES,), replace=False))
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(trained, updates), state), None

    trained = (params, many)
    (trained, _), _ = jax.jit(partial(jax.lax.scan, step))(
        (trained, adam.init(trained)), jax.random.split(key, meta_steps)
    )
    head = field.init(jax.random.fold_in(model_key, 1))["params"][field.head]
    return plain({"params": {**trained[0]["params"], field.head: head}})


def derived(name: str, maml: Start, seed: int) -> Start:
    """Weights of MAML's mean and deviation in each tensor, or its own in another order: scale without structure."""
    generator = np.random.default_rng(seed)

    def other(leaf: jax.Array) -> jax.Array:
        values = np.asarray(leaf)
        if name == "shuffled":
            return jnp.asarray(generator.permutation(values.ravel()).reshape(values.shape))
        return jnp.asarray(generator.normal(values.mean(), values.std(), values.shape), values.dtype)

    return plain(jax.tree.map(other, maml.params))


def make_start(
    field: Field,
    name: str,
    sampler: Sampler,
    rates: Rates,
    seed: int,
    meta_steps: int,
    maml: Start | None,
    judge: Judge,
    tell: Tell,
) -> tuple[Start, dict]:
    """A start, and what it took: gradients of one image, CPU seconds, meta-steps left out."""
    begun, left_out, recipe = time.process_time(), 0, RECIPES[name]
    gradients = recipe.gradients * IMAGES * meta_steps
    if recipe.learner is not None:
        start, left_out = meta_train(field, recipe, sampler, rates, seed, meta_steps, judge, tell)
    elif name == "heads":
        start = shared_body(field, sampler, seed, meta_steps)
    elif name == "other":
        start, gradients = other_image(field, sampler, seed), OTHER_STEPS
    elif maml is not None and name in DERIVED:
        start = derived(name, maml, seed)
    else:
        start = plain(field.init(jax.random.key(seed)))
    jax.block_until_ready(start)
    took = {"gradients": gradients, "seconds": round(time.process_time() - begun, 1), "meta_steps_left_out": left_out}
    return start, took
