"""The learned optimizer beside SGD, momentum, RMSprop and Adam, each with its best step size.

Andrychowicz et al., arXiv:1606.04474, section 3: random quadratics of ten dimensions, and small networks that classify
images: here 20 sigmoid units that learn ten characters of Omniglot, of 7 x 7 pixels, from all their drawings.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.family.images import splits_of
from benchmarks.harness.jax_networks import compile_ahead
from benchmarks.harness.results import estimated, rounded
from jax_meta import LossFn, Sampler, Task
from jax_meta.datasets import ClassImages
from jax_meta.networks.models import MLP

HORIZON, LONGER = 100, 200  # inner steps in training, and at test
UNROLL, PART = 20, 50
RATES = tuple(float(f"{rate:.1g}") for rate in np.geomspace(1e-3, 100, 11))
OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "SGD": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "RMSprop": optax.rmsprop,
    "Adam": optax.adam,
}


class Functions(NamedTuple):
    """What is to be minimised."""

    loss_fn: LossFn
    draw: Callable[[jax.Array], Any]  # `(key) -> params`, where each minimisation starts
    train: Sampler
    test: Sampler  # with other functions than `train`
    tasks: int  # a meta-step
    test_tasks: int
    meta_steps: int


def quadratics(folder: Path) -> Functions:
    """f(θ) = ‖Wθ - y‖², with W and y from a normal distribution."""

    def loss_fn(params, batch, key):
        matrix, target = batch
        loss = ((matrix @ params - target) ** 2).sum()
        return loss, {"loss": loss}

    def sample(key, num_tasks):
        matrix_key, target_key = jax.random.split(key)
        batch = jax.random.normal(matrix_key, (num_tasks, 10, 10)), jax.random.normal(target_key, (num_tasks, 10))
        return Task(batch, batch)

    return Functions(loss_fn, lambda key: 0.01 * jax.random.normal(key, (10,)), sample, sample, 32, 500, 600)


def networks(folder: Path, activation: Callable[[jax.Array], jax.Array] = nn.sigmoid) -> Functions:
    model, splits = MLP((20,), 10, activation=activation), splits_of("omniglot", folder)
    draw = partial(model.init, inputs=jnp.zeros((1, 49)))
    train, test = (partial(sample_characters, small(images)) for images in (splits.train, splits.test))
    return Functions(jax_meta.classification(model.apply), draw, train, test, 1, 50, 300)


def small(data: ClassImages) -> ClassImages:
    """The same images of 7 x 7 pixels."""
    *shape, height, width, channels = data.images.shape
    blocks = np.asarray(data.images).reshape(*shape, 7, height // 7, 7, width // 7, channels)
    return ClassImages(blocks.mean(axis=(-4, -2)).astype(np.uint8), data.counts, data.names)


def sample_characters(data: ClassImages, key: jax.Array, num_tasks: int) -> Task:
    """Ten characters with all their drawings, which are both support and query set."""
    prepare: Any = jax_meta.tasks.inverted
    tasks = jax_meta.tasks.sample_episodes(key, data, num_tasks, ways=10, shots=19, queries=1, prepare=prepare)
    return Task(tasks.support, tasks.support)


PROBLEMS = {"quadratics": quadratics, "small-networks": networks}


def run(name: str, folder: Path) -> dict:
    """The record of a problem: loss curves over twice the horizon that the LSTM was trained on."""
    functions = PROBLEMS[name](folder)
    learner = jax_meta.lstm_optimizer(functions.loss_fn, num_steps=HORIZON, truncate=UNROLL, draw=functions.draw)
    start = time.process_time()
    meta_params = train(functions, learner)
    seconds = time.process_time() - start
    learned = jax.jit(partial(curve_of_learned, functions, learner))
    curves = {"LSTM": learned(meta_params, functions.test(jax.random.key(5), functions.test_tasks))}
    trials = {}
    for label, make in OPTIMIZERS.items():
        curve = jax.jit(partial(curve_of, functions, make))
        held_out = functions.train(jax.random.key(4), functions.test_tasks)
        ends = [float(curve(rate, held_out)[:, HORIZON].mean()) for rate in RATES]
        trials[label] = [rounded(end, 4) if np.isfinite(end) else None for end in ends]
        best = RATES[int(np.nanargmin(ends))]
        curves[f"{label}, {best:g}"] = curve(best, functions.test(jax.random.key(5), functions.test_tasks))
    record = {"curves": {label: estimated(np.asarray(curve)) for label, curve in curves.items()}}
    if name == "small-networks":
        record["with_relu"] = estimated(np.asarray(transferred(meta_params, folder)))
    return {
        "problem": name,
        "label": "LSTM optimizer",
        "meta_steps": functions.meta_steps,
        "tasks": functions.tasks,
        "seconds": {"train": rounded(seconds, 4)},
        "rates": list(RATES),
        "trials": trials,
        **record,
    }


def transferred(meta_params: Any, folder: Path) -> jax.Array:
    """The LSTM that was trained on sigmoid networks, on networks with ReLU."""
    functions = networks(folder, nn.relu)
    learner = jax_meta.lstm_optimizer(functions.loss_fn, num_steps=HORIZON, draw=functions.draw)
    tasks = functions.test(jax.random.key(5), functions.test_tasks)
    return jax.jit(partial(curve_of_learned, functions, learner))(meta_params, tasks)


def train(functions: Functions, learner: jax_meta.MetaLearner) -> Any:
    outer = optax.adam(optax.linear_schedule(3e-3, 0.0, functions.meta_steps))
    state = jax_meta.init(learner, outer, functions.draw(jax.random.key(0)), jax.random.key(1))
    options: dict = {"num_meta_steps": PART, "num_tasks": functions.tasks}
    advance, _ = compile_ahead(partial(jax_meta.fit, learner, outer, functions.train, **options), state)
    for _ in range(functions.meta_steps // PART):
        state, history = advance(state)
        jax_meta.check_finite(history)
    return state.params


def curve_of_learned(functions: Functions, learner: jax_meta.MetaLearner, meta_params: Any, tasks: Task) -> jax.Array:
    options: dict = {"num_steps": LONGER, "task_batch_size": 10}
    return jax_meta.evaluate(learner, functions.loss_fn, meta_params, tasks, jax.random.key(6), **options)["loss"]


def curve_of(functions: Functions, make: Callable[[Any], Any], rate: Any, tasks: Task) -> jax.Array:
    """Losses `[tasks, steps + 1]` of an optimizer of that rate."""

    def of_task(given):
        task, key = given

        def observe(params):
            return functions.loss_fn(params, task.query, key)[0]

        start = functions.draw(key)
        return jax_meta.adapt(
            functions.loss_fn, make(rate), start, task.support, key, num_steps=LONGER, observe=observe
        )[1]

    return jax.lax.map(of_task, (tasks, jax.random.split(jax.random.key(6), len(tasks.support[1]))), batch_size=10)
