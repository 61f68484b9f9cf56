"""The sine benchmark's protocols, and the tasks that they train and test on."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from jax_meta import Task
from jax_meta.tasks import sinusoid
from jax_meta.tasks.sinusoid import Sinusoid


class Protocol(NamedTuple):
    """All that fixes an experiment but its seed.

    Attributes:
        name: as on the command line.
        phases: the range of the sines' phase, radians.
        train_tasks: sines to train on, visited once an epoch in random order; 0: new sines at every visit.
        steps: meta-steps of MAML, first-order MAML and Reptile.
        transfer_steps: meta-steps of transfer learning.
        num_tasks: tasks a meta-step.
        shots: support points of a training task.
        queries: query points of a training task, new at every visit.
        test_shots: support points of the test tasks, one evaluation for each entry.
        test_tasks: sines to evaluate on.
        test_points: query points of a test task, evenly over [-5, 5].
        inner_learning_rate: of SGD, in training and in evaluation.
        outer_learning_rate: of Adam.
        inner_steps: of MAML and first-order MAML, in training.
        reptile_steps: inner steps of Reptile, in training.
    """

    name: str
    phases: tuple[float, float] = (0.0, 2 * np.pi)
    train_tasks: int = 10_000
    steps: int = 40_000
    transfer_steps: int = 10_000
    num_tasks: int = 1
    shots: int = 10
    queries: int = 10
    test_shots: tuple[int, ...] = (10,)
    test_tasks: int = 1_000
    test_points: int = 50
    inner_learning_rate: float = 0.01
    outer_learning_rate: float = 1e-3
    inner_steps: int = 1
    reptile_steps: int = 3


PROTOCOLS = {
    "post": Protocol("post"),
    "maml": Protocol(
        "maml",
        phases=(0.0, np.pi),
        train_tasks=0,
        steps=70_000,
        transfer_steps=70_000,
        num_tasks=25,
        test_shots=(5, 10, 20),
    ),
}


def quick(protocol: Protocol) -> Protocol:
    """The same protocol on a small scale, for a first look."""
    train_tasks = min(protocol.train_tasks, 500)
    return protocol._replace(train_tasks=train_tasks, steps=2_000, transfer_steps=500, test_tasks=100)


class TrainingSet(NamedTuple):
    """Fixed sines, each with its fixed support inputs `[tasks, shots, 1]`."""

    sinusoids: Sinusoid
    support_inputs: jax.Array


@partial(jax.jit, static_argnums=0)
def make_training_set(protocol: Protocol, key: jax.Array) -> TrainingSet:
    """Draws the sines of the protocol; there are none where each visit brings new ones."""
    sine_key, input_key = jax.random.split(key)
    keys = partial(jax.random.split, num=protocol.train_tasks)
    return TrainingSet(
        jax.vmap(partial(sinusoid.sample_sinusoid, phases=protocol.phases))(keys(sine_key)),
        jax.vmap(partial(sinusoid.sample_inputs, examples=protocol.shots))(keys(input_key)),
    )


@partial(jax.jit, static_argnums=(0, 2))
def make_test_tasks(protocol: Protocol, key: jax.Array, shots: int) -> Task:
    """Draws the test tasks: random support points, and query points evenly over [-5, 5]."""

    def test_task(key):
        sine_key, input_key = jax.random.split(key)
        sine = sinusoid.sample_sinusoid(sine_key, phases=protocol.phases)
        support = sinusoid.at(sine, sinusoid.sample_inputs(input_key, shots))
        return Task(support, sinusoid.at(sine, sinusoid.even_inputs(protocol.test_points)))

    return jax.vmap(test_task)(jax.random.split(key, protocol.test_tasks))


@partial(jax.jit, static_argnums=0)
def training_tasks(protocol: Protocol, training_set: TrainingSet, keys: jax.Array, steps: jax.Array) -> Task:
    """The tasks of the meta-steps numbered `steps`, for each run's key: leaves `[seeds, num_steps, num_tasks, ...]`."""
    draw = fixed_tasks if protocol.train_tasks else fresh_tasks
    return jax.vmap(lambda key: draw(protocol, training_set, key, steps))(keys)


def fresh_tasks(protocol: Protocol, training_set: TrainingSet, key: jax.Array, steps: jax.Array) -> Task:
    """New sines for every meta-step."""
    del training_set
    sample = partial(sinusoid.sample_tasks, shots=protocol.shots, queries=protocol.queries, phases=protocol.phases)
    return jax.vmap(lambda step: sample(jax.random.fold_in(key, step), protocol.num_tasks))(steps)


def fixed_tasks(protocol: Protocol, training_set: TrainingSet, key: jax.Array, steps: jax.Array) -> Task:
    """The training set epoch after epoch, each in a new order, one sine a meta-step; the query points are new."""
    visit_key, order_key = jax.random.split(key)
    epoch_keys = jax.random.split(order_key, -(-protocol.steps // protocol.train_tasks))
    order = jax.vmap(lambda key: jax.random.permutation(key, protocol.train_tasks))(epoch_keys).reshape(-1)

    def visit(step):
        sine, inputs = jax.tree.map(lambda leaf: leaf[order[step]], training_set)
        query_inputs = sinusoid.sample_inputs(jax.random.fold_in(visit_key, step), protocol.queries)
        return Task(sinusoid.at(sine, inputs), sinusoid.at(sine, query_inputs))

    return jax.tree.map(lambda leaf: leaf[:, None], jax.vmap(visit)(steps))
