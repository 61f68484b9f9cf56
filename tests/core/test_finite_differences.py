"""The second-order learners' gradients are the slopes of their query loss, measured by central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.learners import LEARNERS, OF_CLASSES, blobs, first_task, sines
from tests.tiers import each

KEY = jax.random.key(5)
SINES, BLOBS = sines(activation=jnp.tanh), blobs()
STEP = 1e-5


def slopes(name, num_steps):
    """The slope of the query loss after adaptation along three random directions: measured, and by the gradient."""
    problem = BLOBS if name in OF_CLASSES else SINES
    task = first_task(problem.sample_tasks(KEY, 1))
    learner = LEARNERS[name](problem.loss_fn, num_steps=num_steps)
    meta_params = learner.init(problem.params)

    def query_loss(meta_params):
        adapted = learner.adapt(meta_params, task.support, KEY)
        return problem.loss_fn(adapted, task.query, KEY)[0]

    @jax.jit
    def run(meta_params):
        gradient, _ = learner.gradient(meta_params, task, KEY)

        def along(key):
            direction = optax.tree.random_like(key, meta_params)
            direction = optax.tree.scale(1 / optax.tree.norm(direction), direction)
            ends = jax.lax.map(
                lambda step: query_loss(optax.tree.add_scale(meta_params, step, direction)), jnp.array([STEP, -STEP])
            )
            return (ends[0] - ends[1]) / (2 * STEP), optax.tree.vdot(gradient, direction), optax.tree.norm(gradient)

        return jax.lax.map(along, jax.random.split(KEY, 3))

    return list(zip(*map(np.asarray, run(meta_params)), strict=True))


@pytest.mark.parametrize(
    ("name", "num_steps"),
    each(
        [
            *((name, num_steps) for name in ("maml", "anil", "meta_sgd") for num_steps in (1, 3)),
            *((name, 2) for name in ("boil", "cavia", "proto_maml", "meta_optimizer", "meta_curvature", "kfo")),
            *(("protonet", 0), ("r2d2", 0)),
        ],
        [
            ("maml", 3),
            ("meta_sgd", 1),
            ("proto_maml", 2),
            ("kfo", 2),
        ],
    ),
)
def test_gradient_is_the_slope_of_the_query_loss(name, num_steps):
    for measured, given, norm in slopes(name, num_steps):
        assert abs(measured - given) < 1e-8 * norm


@pytest.mark.parametrize("num_steps", [1, 3])
def test_first_order_maml_is_not_and_by_far(num_steps):
    assert max(abs(measured - given) / norm for measured, given, norm in slopes("fomaml", num_steps)) > 1e-2
