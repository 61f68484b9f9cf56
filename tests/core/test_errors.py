"""Wrong input fails before any work, and the message names the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import Task
from tests.learners import quadratics, sines

KEY = jax.random.key(0)
OUTER = optax.adam(1e-3)
SINES = sines()
LEARNER = jax_meta.maml(SINES.loss_fn, optax.sgd(0.01), num_steps=1)
TASKS = SINES.sample_tasks(KEY, 3)
INPUTS, TARGETS = TASKS.support


def permuted(key, tasks):
    return jax.tree.map(lambda leaf: leaf[jax.random.permutation(key, 3)], tasks)


def start(learner=LEARNER):
    return jax_meta.init(learner, OUTER, SINES.params, KEY)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (Task(TASKS.support, INPUTS), "same tree structure.*build both with the same function"),
        (
            Task(TASKS.support, (TASKS.query[0][:2], TASKS.query[1][:2])),
            r"counts tasks.*add the axis with leaf\[None\]",
        ),
        (Task((INPUTS, TARGETS[:, :2]), TASKS.query), "every leaf of support.*counts examples"),
        (
            Task(TASKS.support, (TASKS.query[0], TASKS.query[1][..., 0])),
            r"same shape and dtype.*float64\[3, 6\] at \[1\]",
        ),
        (Task((INPUTS.astype(jnp.float32), TARGETS), TASKS.query), r"same shape and dtype.*float32.*float64.*at \[0\]"),
        (Task(jnp.zeros(()), jnp.zeros(())), r"same leading axis.*float64\[\]"),
        (Task((), ()), "no leaves"),
    ],
    ids=["structure", "tasks", "examples", "shape", "dtype", "scalars", "empty"],
)
def test_sets_that_do_not_fit_together(tasks, message):
    with pytest.raises(ValueError, match=message):
        jax_meta.meta_gradient(LEARNER, SINES.params, tasks, KEY)
    with pytest.raises(ValueError, match=message):
        jax_meta.evaluate(LEARNER, SINES.loss_fn, SINES.params, tasks, KEY, num_steps=1)


@pytest.mark.parametrize("num_steps", [-1, 1.0, "2", True])
def test_inner_steps_out_of_range(num_steps):
    for factory in (jax_meta.maml, jax_meta.fomaml, jax_meta.reptile, jax_meta.transfer):
        with pytest.raises(ValueError, match="num_steps must be an integer of 0 or more, got"):
            factory(SINES.loss_fn, optax.sgd(0.1), num_steps=num_steps)


def test_outer_steps_out_of_range():
    with pytest.raises(ValueError, match="num_meta_steps must be an integer of 0 or more, got -3"):
        jax_meta.fit(LEARNER, OUTER, SINES.sample_tasks, start(), num_meta_steps=-3)
    with pytest.raises(ValueError, match="num_steps must be an integer of 0 or more, got -1"):
        jax_meta.evaluate(LEARNER, SINES.loss_fn, SINES.params, TASKS, KEY, num_steps=-1)


@pytest.mark.parametrize("batch_size", [0, 6])
def test_minibatches_that_the_support_set_cannot_fill(batch_size):
    with pytest.raises(ValueError, match=f"from 1 to the 5 examples of the batch, got {batch_size}"):
        jax_meta.adapt(
            SINES.loss_fn,
            optax.sgd(0.1),
            SINES.params,
            (INPUTS[0], TARGETS[0]),
            KEY,
            num_steps=1,
            batch_size=batch_size,
        )


@pytest.mark.parametrize("task_batch_size", [0, 2, 4])
def test_task_batches_that_do_not_divide_the_tasks(task_batch_size):
    with pytest.raises(ValueError, match=f"must divide the 3 tasks of a meta-step, got {task_batch_size}"):
        jax_meta.meta_gradient(LEARNER, SINES.params, TASKS, KEY, task_batch_size=task_batch_size)


def test_predictions_that_would_broadcast_against_their_targets():
    """(N, 1) against (N,): numpy's broadcasting makes (N, N) of it, and the loss is wrong without a word."""
    column, row = TASKS._replace(support=(INPUTS, TARGETS), query=TASKS.query), jax.tree.map(jnp.squeeze, TASKS)
    mixed = Task((column.support[0], row.support[1]), (column.query[0], row.query[1]))
    with pytest.raises(ValueError, match=r"predictions \(6, 1\) and targets \(6,\).*Reshape the targets to \(6, 1\)"):
        jax_meta.meta_gradient(jax_meta.transfer(SINES.loss_fn, OUTER, num_steps=0), SINES.params, mixed, KEY)
    with pytest.raises(ValueError, match=r"predictions \(5, 1\) and targets \(5,\)"):
        jax_meta.fit(
            LEARNER, OUTER, lambda key, num_tasks: permuted(key, mixed), start(), num_meta_steps=1, num_tasks=3
        )


@pytest.mark.parametrize("labels", [jnp.zeros((4, 1), int), jnp.zeros(4), jax.nn.one_hot(jnp.arange(4), 3)])
def test_labels_of_the_wrong_kind(labels):
    loss_fn = jax_meta.classification(lambda params, inputs: inputs)
    with pytest.raises(ValueError, match=r"integer labels \[examples\].*squeeze the labels, or.*argmax"):
        loss_fn({}, (jnp.zeros((4, 3)), labels), KEY)


def test_plain_adam_under_maml_is_refused_before_training():
    learner = jax_meta.maml(SINES.loss_fn, optax.adam(1e-2), num_steps=1)
    with pytest.raises(ValueError, match="eps_root"):
        jax_meta.fit(learner, OUTER, SINES.sample_tasks, start(learner), num_meta_steps=1_000_000_000)


def test_a_loss_that_becomes_infinite_names_its_meta_step():
    """θ ← 1e100 θ at each meta-step of this quadratic: its square passes 1e308 at the second step after step 10."""
    problem = quadratics()
    learner = jax_meta.transfer(problem.loss_fn, OUTER, num_steps=0)
    explosive = optax.scale(-1e100)
    state = jax_meta.init(learner, explosive, problem.params, KEY)._replace(step=jnp.array(10, jnp.int32))
    with pytest.raises(FloatingPointError, match=r"loss is not finite at meta-step 12\. Lower the inner or the outer"):
        jax_meta.fit(learner, explosive, problem.sample_tasks, state, num_meta_steps=5)


def test_check_finite_finds_the_first_step_of_any_run():
    history = {"loss": np.ones((2, 5)), "accuracy": np.ones((2, 5))}
    jax_meta.check_finite(history)
    history["accuracy"][1, 3] = np.nan
    history["accuracy"][0, 4] = np.inf
    with pytest.raises(FloatingPointError, match="accuracy is not finite at meta-step 103"):
        jax_meta.check_finite(history, first_step=100)


def test_check_finite_lets_traced_histories_pass():
    def run(values):
        jax_meta.check_finite({"loss": values})
        return values

    values = jnp.array([[1.0, jnp.nan]])
    np.testing.assert_array_equal(jax.jit(run)(values), values)
    np.testing.assert_array_equal(jax.vmap(run)(values), values)


def test_an_interval_needs_two_values():
    with pytest.raises(ValueError, match="at least 2 values along axis 0, got 1: evaluate on more tasks"):
        jax_meta.estimate(jnp.ones((1, 3)))
