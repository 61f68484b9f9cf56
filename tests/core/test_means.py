"""The mean over tasks: a float whatever it is of, in digits enough, and the same in every way to take it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import LossGradient, MetaLearner, Task, TrainState
from tests.learners import assert_close, assert_equal

KEY = jax.random.key(0)
SGD = optax.sgd(1.0)
ONE_DEVICE = jax.make_mesh((1,), ("tasks",), devices=jax.devices()[:1])
WAYS = {"at once": {}, "one at a time": {"task_batch_size": 1}, "on a mesh": {"mesh": ONE_DEVICE}}
NUM_TASKS = 1024


def linear(params, task, key):
    """The loss θ x, whose gradient is the x of the task."""
    return (params * task.query).sum(), {}


OF_LOSS = MetaLearner(lambda params: params, lambda params, support, key, **options: params, LossGradient(linear))
OF_TASKS = OF_LOSS._replace(gradient=lambda *inputs: OF_LOSS.gradient(*inputs))
LEARNERS = {"of the loss": OF_LOSS, "of each task": OF_TASKS}


def same_tasks(value, dtype, num_tasks=NUM_TASKS):
    return Task(*[jnp.broadcast_to(jnp.asarray(value, dtype), (num_tasks, 1, *np.shape(value)))] * 2)


def meta_gradient(learner, params, tasks, **way):
    return jax.jit(partial(jax_meta.meta_gradient, learner, **way))(params, tasks, KEY)


def counted(params, batch, key):
    """Metrics of every kind of number, as `sum(labels == predictions)` and `loss < bound` give them."""
    loss = ((params - batch) ** 2).mean()
    first = (batch == 0).any()
    return loss, {"bool": first, "int": jnp.where(first, 2, 3), "float": loss, "number": 1}


@pytest.mark.parametrize("way", WAYS)
def test_the_mean_of_bools_and_integers_is_a_float(way):
    """One of four tasks is right: 0.25, where a bool would be True; 2, 3, 3, 3 are 2.75, where an integer is 2."""
    learner = jax_meta.reptile(counted, SGD, num_steps=0)
    tasks = Task(*[jnp.arange(4.0)[:, None]] * 2)
    expected = {"bool": 0.25, "int": 2.75, "float": 3.5, "number": 1.0}
    state = jax_meta.init(learner, SGD, jnp.array(0.0), KEY)
    _, history = jax_meta.fit(
        learner, SGD, lambda key, num_tasks: tasks, state, num_meta_steps=2, num_tasks=4, **WAYS[way]
    )
    assert_close(history, {name: np.full(2, value) for name, value in expected.items()})
    assert {values.dtype for values in history.values()} == {jnp.dtype("float64")}


def test_the_mean_of_one_task_is_a_float():
    tasks = Task(*[jnp.zeros((1, 1))] * 2)
    _, metrics = meta_gradient(jax_meta.transfer(counted, SGD, num_steps=0), jnp.array(0.0), tasks)
    assert {name: value.dtype for name, value in metrics.items()} == dict.fromkeys(metrics, jnp.dtype("float64"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_many_tasks_in_half_precision(dtype, learner, way):
    """In bfloat16 a sum of ones stops at 256; in float16 2⁻²⁰ / 1,024 is 0, and 100 · 1,024 infinite."""
    values = (1.0, 2.0**-20, 100.0)
    gradient, _ = meta_gradient(LEARNERS[learner], jnp.ones(3, dtype), same_tasks(values, dtype), **WAYS[way])
    assert gradient.dtype == dtype
    assert_equal(gradient, values)


@pytest.mark.parametrize("way", WAYS)
def test_the_mean_loss_in_half_precision(way):
    learner = jax_meta.transfer(counted, SGD, num_steps=0)
    tasks = same_tasks(10.0, jnp.float16)
    gradient, metrics = meta_gradient(learner, jnp.zeros((), jnp.float16), tasks, **WAYS[way])
    assert gradient == -20
    assert metrics["float"] == 100
    assert metrics["float"].dtype == jnp.float32


def test_steps_in_half_precision_keep_its_dtype():
    state = TrainState(jnp.ones((), jnp.bfloat16), SGD.init(jnp.ones((), jnp.bfloat16)), KEY, jnp.int32(0))
    tasks = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), same_tasks(0.25, jnp.bfloat16, 4))
    state, _ = jax_meta.fit_tasks(OF_LOSS, SGD, tasks, state)
    assert state.params == 0.5
    assert state.params.dtype == jnp.bfloat16


@pytest.mark.parametrize("values", [np.array([True, False, False, False]), jnp.array([2, 3, 3, 3])])
def test_the_interval_of_bools_and_integers(values):
    expected = jax_meta.estimate(np.asarray(values, float))
    assert_close(jax_meta.estimate(values), expected)


def test_the_interval_in_half_precision():
    """The mean of 4,096 ones and threes, which NumPy adds up in bfloat16."""
    values = np.asarray(jnp.tile(jnp.array([1, 3], jnp.bfloat16), 4096))
    mean, half_width = jax_meta.estimate(values)
    assert mean == 2
    np.testing.assert_allclose(half_width, 1.9604 / np.sqrt(8192), rtol=1e-3)


class Told(NamedTuple):
    value: jax.Array
    grad: jax.Array
    at_one: jax.Array
    """What `value_fn` is there, or -1 without it."""


def remembering():
    """An optimizer that takes the value of the loss for its step, and keeps what it was given."""

    def update(gradient, state, params=None, *, value, grad, value_fn=None):
        at_one = jnp.array(-1.0) if value_fn is None else value_fn(jnp.array(1.0))
        return jax.tree.map(lambda leaf: -value * leaf, gradient), Told(value, grad, at_one)

    return optax.GradientTransformationExtraArgs(lambda params: Told(*jnp.zeros((3,))), update)


def step(learner, optimizer, tasks, **way):
    state = jax_meta.init(learner, optimizer, jnp.array(0.0), KEY)
    return jax.jit(partial(jax_meta.train_step, learner, optimizer, **way))(state, tasks)[0]


AT_ONE_AND_THREE = Task(*[jnp.array([[1.0], [3.0]])] * 2)
JOINT = jax_meta.transfer(counted, SGD, num_steps=0)


@pytest.mark.parametrize("way", WAYS)
def test_outer_optimizers_are_told_the_mean_loss(way):
    """Of tasks at 1 and 3 from θ = 0 the mean of x² is 5, its gradient -4; at θ = 1 the loss is 2."""
    state = step(JOINT, remembering(), AT_ONE_AND_THREE, **WAYS[way])
    assert state.params == 20
    assert_equal(state.opt_state, Told(5, -4, 2))


def test_a_learner_without_a_loss_gradient_tells_its_metric():
    def loss_fn(params, batch, key):
        return ((params - batch) ** 2).mean(), {"loss": 7.0}

    state = step(jax_meta.reptile(loss_fn, optax.sgd(0.5), num_steps=1), remembering(), AT_ONE_AND_THREE)
    assert_equal(state.opt_state, Told(7, -2, -1))


def test_the_optimizer_of_carry_state_is_told_its_part():
    learner = jax_meta.carried_reptile(counted, optax.sgd(0.5), num_steps=1)
    told = learner._replace(gradient=lambda *inputs: (learner.gradient(*inputs)[0], {"loss": 0.5}))
    state = step(told, jax_meta.carry_state(remembering()), AT_ONE_AND_THREE)
    assert_equal(state.opt_state.outer, Told(0.5, -2, -1))
    assert state.params.params == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_line_search_outside_finds_the_minimum_of_the_mean_loss(way):
    optimizer = optax.lbfgs()
    state = jax_meta.init(JOINT, optimizer, jnp.array(0.0), KEY)
    stream = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), AT_ONE_AND_THREE)
    state, _ = jax_meta.fit_tasks(JOINT, optimizer, stream, state, **WAYS[way])
    np.testing.assert_allclose(state.params, 2.0, rtol=1e-6)
