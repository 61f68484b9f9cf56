"""The sine benchmark's protocols, and the tasks that they train and test on."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.jax_networks import compiled_soon
from jax_meta import Task
from jax_meta.tasks import sinusoid
from jax_meta.tasks.sinusoid import Sinusoid


class Protocol(NamedTuple):
    name: str  # as on the command line
    phases: tuple[float, float] = (0.0, 2 * np.pi)  # the range of the sines' phase, radians
    train_tasks: int = 10_000  # sines to train on, visited once an epoch in random order; 0: new ones at every visit
    steps: int = 40_000  # meta-steps of MAML, first-order MAML and Reptile
    transfer_steps: int = 10_000  # of transfer learning
    num_tasks: int = 1  # tasks a meta-step
    shots: int = 10  # support points of a training task
    queries: int = 10  # query points of a training task, new at every visit
    test_shots: tuple[int, ...] = (10,)  # support points of the test tasks, one evaluation for each entry
    test_tasks: int = 1_000  # sines to evaluate on
    test_points: int = 50  # query points of a test task, evenly over [-5, 5]
    inner_learning_rate: float = 0.01  # of SGD, in training and in evaluation
    outer_learning_rate: float = 1e-3  # of Adam
    inner_steps: int = 1  # of MAML and first-order MAML, in training
    reptile_steps: int = 3  # inner steps of Reptile, in training


PROTOCOLS = {
    "post": Protocol("post"),
    "maml": Protocol("maml", (0.0, np.pi), 0, 70_000, 70_000, num_tasks=25, test_shots=(5, 10, 20)),
}


def quick(protocol: Protocol) -> Protocol:
    few = min(protocol.train_tasks, 500)
    return protocol._replace(train_tasks=few, steps=2_000, transfer_steps=2_000, test_tasks=100)


class TrainingSet(NamedTuple):
    """Fixed sines, each with its fixed support inputs `[tasks, shots, 1]`."""

    sinusoids: Sinusoid
    support_inputs: jax.Array


@partial(compiled_soon, static_argnums=0)
def make_training_set(protocol: Protocol, key: jax.Array) -> TrainingSet:
    """Draws the sines of the protocol; one, which is not used, where each visit brings new ones."""
    sine_key, input_key = jax.random.split(key)
    count = max(1, protocol.train_tasks)
    sinusoids = sinusoid.sample_sinusoids(sine_key, count, phases=protocol.phases)
    return TrainingSet(sinusoids, sinusoid.sample_inputs(input_key, count, protocol.shots))


@partial(compiled_soon, static_argnums=(0, 2))
def make_test_tasks(protocol: Protocol, key: jax.Array, shots: int) -> Task:
    """Draws the test tasks: random support points, and query points evenly over [-5, 5]."""
    sine_key, input_key = jax.random.split(key)
    sinusoids = sinusoid.sample_sinusoids(sine_key, protocol.test_tasks, phases=protocol.phases)
    inputs = sinusoid.sample_inputs(input_key, protocol.test_tasks, shots)
    evenly = sinusoid.even_inputs(protocol.test_points)
    return Task(jax.vmap(sinusoid.at)(sinusoids, inputs), jax.vmap(sinusoid.at, (0, None))(sinusoids, evenly))


@partial(compiled_soon, static_argnums=0)
def visiting_order(protocol: Protocol, key: jax.Array) -> jax.Array:
    """Which training task each meta-step of one run visits, int32 `[epochs * train_tasks]`: each once an epoch."""
    epoch_keys = jax.random.split(jax.random.fold_in(key, 0), -(-protocol.steps // protocol.train_tasks))
    return jax.vmap(lambda key: jax.random.permutation(key, protocol.train_tasks))(epoch_keys).reshape(-1)


@partial(compiled_soon, static_argnums=0)
def fixed_tasks(
    protocol: Protocol, training_set: TrainingSet, key: jax.Array, indices: jax.Array, steps: jax.Array
) -> Task:
    """One visit a meta-step to the training tasks `indices`, with new query points: leaves `[num_steps, 1, ...]`."""
    visit_key = jax.random.fold_in(key, 1)

    def visit(index, step):
        sine, inputs = jax.tree.map(lambda leaf: leaf[index], training_set)
        query_inputs = sinusoid.sample_inputs(jax.random.fold_in(visit_key, step), protocol.queries)
        return Task(sinusoid.at(sine, inputs), sinusoid.at(sine, query_inputs))

    return jax.tree.map(lambda leaf: leaf[:, None], jax.vmap(visit)(indices, steps))


@partial(compiled_soon, static_argnums=0)
def fresh_tasks(protocol: Protocol, key: jax.Array, steps: jax.Array) -> Task:
    """New sines for every meta-step: leaves `[num_steps, num_tasks, ...]`."""
    sample = partial(sinusoid.sample_tasks, shots=protocol.shots, queries=protocol.queries, phases=protocol.phases)
    return jax.vmap(lambda step: sample(jax.random.fold_in(key, step), protocol.num_tasks))(steps)


def task_stream(protocol: Protocol, training_set: TrainingSet, keys: jax.Array) -> Callable[[int, int], Task]:
    """Returns `(first, count) -> tasks` of meta-steps from `first` on, for each run's key: `[seeds, count, ...]`."""
    if not protocol.train_tasks:
        fresh = jax.vmap(partial(fresh_tasks, protocol), in_axes=(0, None))
        return lambda first, count: fresh(keys, first + jnp.arange(count))
    order = jax.vmap(partial(visiting_order, protocol))(keys)
    visit = jax.vmap(partial(fixed_tasks, protocol, training_set), in_axes=(0, 0, None))
    return lambda first, count: visit(keys, order[:, first : first + count], first + jnp.arange(count))
