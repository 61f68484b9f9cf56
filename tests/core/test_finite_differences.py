"""The second-order learners' gradients are the slopes of their query loss, measured by central differences."""

import jax
import jax.numpy as jnp
import optax
import pytest

from tests.learners import LEARNERS, first_task, sines

PROBLEM = sines(activation=jnp.tanh)
KEY = jax.random.key(5)
TASK = first_task(PROBLEM.sample_tasks(KEY, 1))
STEP = 1e-5


def slopes(name, num_steps):
    """The slope of the query loss after adaptation along three random directions: measured, and by the gradient."""
    learner = LEARNERS[name](PROBLEM.loss_fn, num_steps=num_steps)
    meta_params = learner.init(PROBLEM.params)

    @jax.jit
    def query_loss(meta_params):
        adapted = learner.adapt(meta_params, TASK.support, KEY)
        return PROBLEM.loss_fn(adapted, TASK.query, KEY)[0]

    gradient, _ = jax.jit(learner.gradient)(meta_params, TASK, KEY)
    for key in jax.random.split(KEY, 3):
        direction = optax.tree.random_like(key, meta_params)
        direction = optax.tree.scale(1 / optax.tree.norm(direction), direction)
        ahead, behind = (query_loss(optax.tree.add_scale(meta_params, step, direction)) for step in (STEP, -STEP))
        yield (ahead - behind) / (2 * STEP), optax.tree.vdot(gradient, direction), optax.tree.norm(gradient)


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("name", ["maml", "anil", "meta_sgd"])
def test_gradient_is_the_slope_of_the_query_loss(name, num_steps):
    for measured, given, norm in slopes(name, num_steps):
        assert abs(measured - given) < 1e-8 * norm


@pytest.mark.parametrize("num_steps", [1, 3])
def test_first_order_maml_is_not_and_by_far(num_steps):
    assert max(abs(measured - given) / norm for measured, given, norm in slopes("fomaml", num_steps)) > 1e-2
