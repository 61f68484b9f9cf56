"""Second-order MAML through Conv4 has the meta-gradient of PyTorch, and of plain Flax; what the speed table counts."""

import jax
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import jax_meta
from benchmarks.convolution import __main__ as convolution_speed
from benchmarks.convolution.layers import measure
from benchmarks.convolution.peers import torch_meta_gradient
from benchmarks.harness.jax_networks import naive_meta_gradient
from benchmarks.harness.rounds import median_seconds
from benchmarks.harness.workloads import conv4
from jax_meta import Task

WAYS, FILTERS, LEARNING_RATE = 3, 4, 0.1


@pytest.fixture(scope="module")
def problem():
    """A network on images of 16 x 16, in float64, and two tasks."""
    model = jax_meta.models.Conv4(WAYS, FILTERS)
    keys = jax.random.split(jax.random.key(0), 3)
    labels = np.tile(np.arange(WAYS), (2, 2))
    tasks = Task(*((jax.random.normal(key, (2, 2 * WAYS, 16, 16, 1)), labels) for key in keys[:2]))
    params = jax.tree.map(lambda leaf: leaf.astype(float), model.init(keys[2], tasks.support[0][0]))
    return model, params, tasks


@pytest.mark.parametrize("task_batch_size", [None, 1])
@pytest.mark.parametrize("steps", [1, 3])
def test_meta_gradient_is_that_of_pytorch_and_of_plain_flax(problem, steps, task_batch_size):
    model, params, tasks = problem
    learner = jax_meta.maml(jax_meta.classification(model.apply), optax.sgd(LEARNING_RATE), num_steps=steps)
    key = jax.random.key(1)
    ours, _ = jax.jit(
        lambda params, tasks: jax_meta.meta_gradient(learner, params, tasks, key, task_batch_size=task_batch_size)
    )(params, tasks)
    workload = conv4(2, steps, width=FILTERS)._replace(ways=WAYS, learning_rate=LEARNING_RATE)
    peers = [
        torch_meta_gradient(workload, params, tasks)(),
        jax.jit(naive_meta_gradient(workload))(params, tasks),
    ]
    for peer in peers:
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, peer)


def test_the_flop_are_those_of_the_definition():
    """Conv4-64 on 28 x 28: 4 tasks of 75 queries and 5 support images; 20.8 and 34.6 GFLOP."""
    layers = [2 * 9 * channels * 64 * size**2 for channels, size in ((1, 28), (64, 14), (64, 7), (64, 3))]
    query = 2 * layers[0] + 3 * sum(layers[1:])
    support = 4 * layers[0] + 9 * sum(layers[1:])
    for steps in (1, 5):
        assert convolution_speed.model_flop(steps) == 300 * query + 20 * steps * support
    assert round(convolution_speed.model_flop(1) / 1e9, 1) == 20.8
    assert round(convolution_speed.model_flop(5) / 1e9, 1) == 34.6


def test_variants_take_turns():
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in ("first", "second")}
    seconds = median_seconds(runs, 2)
    assert order == ["first", "second"] * 3
    assert all(value >= 0 for value in seconds.values())


def test_every_formulation_of_a_layer_is_measured():
    assert measure("images", 4, 2, 2, 1).keys() == {"jax.lax", "rows spread", "patches", "chosen"}
