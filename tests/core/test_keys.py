"""Keys of every kind: the tasks of a meta-step are a function of the run's key and the step alone."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jax_meta
from jax_meta import Task
from tests.learners import assert_equal

KEYS = {
    "threefry2x32": jax.random.key(0, impl="threefry2x32"),
    "rbg": jax.random.key(0, impl="rbg"),
    "unsafe_rbg": jax.random.key(0, impl="unsafe_rbg"),
    "old": jax.random.PRNGKey(0),
}
SGD = optax.sgd(1.0)
STEPS = 4


def sum_of_tasks(params, task, key):
    """Meta-steps of size one add up what was drawn."""
    return -(params * task.query.mean()), {"drawn": task.query.mean()}


LEARNER = jax_meta.MetaLearner(
    lambda params: params, lambda params, *inputs, **options: params, jax_meta.LossGradient(sum_of_tasks)
)


def sample_tasks(key, num_tasks):
    return Task(*[jax.random.normal(key, (num_tasks, 1))] * 2)


def fit(state, num_meta_steps):
    return jax_meta.fit(LEARNER, SGD, sample_tasks, state, num_meta_steps=num_meta_steps, num_tasks=2)


@pytest.mark.filterwarnings("ignore:Legacy uint32 key array")
@pytest.mark.parametrize("kind", KEYS)
def test_fit_draws_what_next_tasks_says_and_two_halves_are_the_whole(kind):
    start = jax_meta.init(LEARNER, SGD, jnp.array(0.0), KEYS[kind])
    whole, history = fit(start, STEPS)
    steps = [start._replace(step=jnp.int32(step)) for step in range(STEPS)]
    drawn = [jax_meta.next_tasks(sample_tasks, state, num_tasks=2).query.mean() for state in steps]
    assert_equal(history["drawn"], jnp.stack(drawn))
    assert len({float(value) for value in drawn}) == STEPS
    half, _ = fit(start, STEPS // 2)
    end, _ = fit(half, STEPS // 2)
    assert_equal(end.params, whole.params)
