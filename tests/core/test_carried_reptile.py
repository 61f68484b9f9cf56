"""Reptile whose inner optimizer's state is carried from task to task."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from tests.learners import assert_close, first_task, quadratics

KEY = jax.random.key(5)
PROBLEM = quadratics()
ADAM = optax.adam(0.05, b1=0.0)
STEPS = 3


def adam_by_hand(params, state, tasks):
    """The authors' loop over tasks with ε = 1: β1 = 0, one second moment and one count for all of the run."""
    second, count = state
    for task in tasks:
        for _ in range(STEPS):
            gradient = jax.grad(lambda params: PROBLEM.loss_fn(params, task.support, KEY)[0])(params)  # noqa: B023
            count += 1
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
            params = jax.tree.map(
                lambda p, g, v: p - 0.05 * g / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8),  # noqa: B023
                params,
                gradient,
                second,
            )
    return params, second, count


def test_one_task_a_step_is_the_authors_loop():
    learner, outer = jax_meta.carried_reptile(PROBLEM.loss_fn, ADAM, num_steps=STEPS), optax.sgd(1.0)
    tasks = PROBLEM.sample_tasks(KEY, 4)
    stream = jax.tree.map(lambda leaf: leaf[:, None], tasks)
    state = jax_meta.init(learner, jax_meta.carry_state(outer), PROBLEM.params, KEY)
    state, _ = jax_meta.fit_tasks(learner, jax_meta.carry_state(outer), stream, state)
    each = [jax.tree.map(lambda leaf, index=index: leaf[index], tasks) for index in range(4)]
    zeros = jax.tree.map(jnp.zeros_like, PROBLEM.params)
    params, second, count = adam_by_hand(PROBLEM.params, (zeros, 0), each)
    assert_close(state.params.params, params)
    assert_close(optax.tree.get(state.params.opt_state, "nu"), second)
    assert int(optax.tree.get(state.params.opt_state, "count")) == count == 4 * STEPS


def test_state_follows_all_the_way_while_the_initialization_interpolates():
    learner, outer = jax_meta.carried_reptile(PROBLEM.loss_fn, ADAM, num_steps=STEPS), optax.sgd(0.25)
    tasks = PROBLEM.sample_tasks(KEY, 2)
    state = jax_meta.init(learner, jax_meta.carry_state(outer), PROBLEM.params, KEY)
    after, _ = jax_meta.train_step(learner, jax_meta.carry_state(outer), state, tasks)
    gradient, _ = jax_meta.meta_gradient(learner, state.params, tasks, KEY)
    assert_close(after.params.params, optax.tree.add_scale(PROBLEM.params, -0.25, gradient.params))
    assert_close(after.params.opt_state, jax.tree.map(jnp.subtract, state.params.opt_state, gradient.opt_state))
    assert optax.tree.get(after.params.opt_state, "count").dtype == jnp.int32
    assert int(optax.tree.get(after.params.opt_state, "count")) == STEPS


def test_without_a_state_it_is_reptile():
    task = first_task(PROBLEM.sample_tasks(KEY, 1))
    carried = jax_meta.carried_reptile(PROBLEM.loss_fn, optax.sgd(0.1), num_steps=STEPS)
    plain = jax_meta.reptile(PROBLEM.loss_fn, optax.sgd(0.1), num_steps=STEPS)
    gradient, _ = carried.gradient(carried.init(PROBLEM.params), task, KEY)
    assert_close(gradient.params, plain.gradient(PROBLEM.params, task, KEY)[0])


def test_a_fresh_adam_moves_every_parameter_by_its_step_size_and_a_carried_one_by_its_gradient():
    task = first_task(PROBLEM.sample_tasks(KEY, 1))
    carried = jax_meta.carried_reptile(PROBLEM.loss_fn, ADAM, num_steps=1)
    start = carried.init(PROBLEM.params)
    fresh = carried.gradient(start, task, KEY)[0].params
    assert_close(jax.tree.map(jnp.abs, fresh), jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.05), fresh), rtol=1e-6)
    warm = start._replace(
        opt_state=optax.tree.set(start.opt_state, nu=jax.tree.map(jnp.ones_like, fresh), count=10_000)
    )
    moved = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(carried.gradient(warm, task, KEY)[0].params)])
    slope = jax.grad(lambda params: PROBLEM.loss_fn(params, task.support, KEY)[0])(PROBLEM.params)
    slope = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slope)])
    np.testing.assert_allclose(moved / slope, 0.05 / np.sqrt(0.999 + 0.001 * slope**2), rtol=1e-3)
