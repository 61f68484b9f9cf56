"""Meta-training with every learner makes tasks that it never saw easier: no gradient points the wrong way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import Task
from tests.learners import LEARNERS, NUM_STEPS, OF_CLASSES, blobs, outer_for, quadratics

KEY = jax.random.key(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_meta_training_lowers_the_loss_after_adaptation(name):
    """The centers of the quadratics are around 0, and the parameters start at a distance of 2.3."""
    problem = blobs() if name in OF_CLASSES else quadratics()
    learner = LEARNERS[name](problem.loss_fn)
    outer = outer_for(learner, problem.params, optax.adam(0.02))
    state = jax_meta.init(learner, outer, problem.params, KEY)
    held_out = problem.sample_tasks(jax.random.key(1), 50)

    @jax.jit
    def validate(params):
        return jax_meta.evaluate(learner, problem.loss_fn, params, held_out, KEY, num_steps=NUM_STEPS)["loss"][:, -1]

    before = validate(state.params)
    state, _ = jax_meta.fit(learner, outer, problem.sample_tasks, state, num_meta_steps=150, num_tasks=8)
    after = validate(state.params)
    factors = np.log(before) - np.log(after)  # since some tasks are ten times as steep as others
    assert factors.mean() > 3 * factors.std(ddof=1) / np.sqrt(len(factors))
    assert factors.mean() > 0.03


@pytest.mark.slow
def test_a_learned_optimizer_descends_faster_than_it_did_and_beyond_its_horizon():
    problem = quadratics()

    def sample_tasks(key, num_tasks):
        task = problem.sample_tasks(key, num_tasks)
        return Task(task.support, task.support)  # one function a task, as the paper has it

    learner, outer = jax_meta.lstm_optimizer(problem.loss_fn, num_steps=10, units=8), optax.adam(5e-3)
    state = jax_meta.init(learner, outer, problem.params, KEY)
    held_out = sample_tasks(jax.random.key(1), 20)

    def curve(learner, params):
        losses = jax_meta.evaluate(learner, problem.loss_fn, params, held_out, KEY, num_steps=20)["loss"]
        return np.asarray(losses).mean(axis=0)

    untrained = curve(learner, state.params)
    state, _ = jax_meta.fit(learner, outer, sample_tasks, state, num_meta_steps=400, num_tasks=8)
    start = state.params._replace(params=problem.params)  # the optimizer alone has learned
    trained = curve(learner, start)
    plain = curve(jax_meta.maml(problem.loss_fn, optax.sgd(0.02), num_steps=20), problem.params)
    assert trained[10] < untrained[10]
    assert trained[10] < plain[10]
    assert trained[20] < 1.1 * trained[10]
    assert jnp.isfinite(trained).all()
