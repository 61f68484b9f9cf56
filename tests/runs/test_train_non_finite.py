"""Numbers that are not finite stop a run at their meta-step, with what is needed to see it again; or are skipped."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from tests.runs.training import LEARNER, OUTER, PROBLEM, bits, first_state, train

BAD = 7
"""The meta-step whose tasks hold an infinite number."""


def sampler(key, num_tasks):
    """The tasks of the problem, and at one meta-step a target that is infinite."""
    bad_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), BAD))
    is_bad = jnp.all(jax.random.key_data(key) == jax.random.key_data(bad_key))
    tasks = PROBLEM.sample_tasks(key, num_tasks)
    inputs, targets = tasks.query
    return tasks._replace(query=(inputs, jnp.where(is_bad, jnp.inf, targets)))


def test_the_step_is_named_and_the_state_before_it_saved(tmp_path):
    with pytest.raises(FloatingPointError, match=f"loss of maml is not finite at meta-step {BAD}") as caught:
        train(tmp_path, sampler=sampler)
    good, _ = jax_meta.fit(LEARNER, OUTER, sampler, first_state(), num_meta_steps=BAD, num_tasks=2)
    assert bits(jax_meta.load_state(tmp_path / "last_finite", first_state())) == bits(good)
    told = json.loads((tmp_path / "failure.json").read_text())
    assert told == {"step": BAD, "learner": "maml", "not_finite": ["loss"], "key": [0, 0], "num_tasks": 2}
    assert [record["step"] for record in jax_meta.read_records(tmp_path)] == [2, 4, 6]
    assert "next_tasks(sample_tasks, state, num_tasks=2)" in str(caught.value)


def test_what_the_message_says_draws_that_very_batch_again(tmp_path):
    with pytest.raises(FloatingPointError) as caught:
        train(tmp_path, sampler=sampler)
    code = str(caught.value).partition("see it again: ")[2].partition(". Remedies")[0]
    names = {"jax_meta": jax_meta, "state": first_state(), "sample_tasks": sampler, "learner": LEARNER}
    names["optimizer"] = OUTER
    exec(code, names)
    tasks = names["tasks"]
    assert isinstance(tasks, jax_meta.Task)
    assert np.isinf(tasks.query[1]).all()
    _, metrics = jax_meta.train_step(LEARNER, OUTER, names["state"], tasks)
    assert not np.isfinite(metrics["loss"])


def test_the_same_call_fails_at_the_same_step_again(tmp_path):
    for _ in range(2):
        with pytest.raises(FloatingPointError, match=f"meta-step {BAD}"):
            train(tmp_path, sampler=sampler)
    assert [record["step"] for record in jax_meta.read_records(tmp_path)] == [2, 4, 6]


def test_an_update_that_is_not_finite_is_found_though_every_metric_is(tmp_path):
    def explode(count):
        return jnp.where(count == 5, jnp.inf, 0.01)

    with pytest.raises(FloatingPointError, match="the update of maml is not finite at meta-step 5"):
        train(tmp_path, outer=optax.sgd(explode))
    assert jax_meta.load_state(tmp_path / "last_finite", first_state(outer=optax.sgd(explode))).step == 5


def test_labels_out_of_range_are_named():
    loss_fn = jax_meta.classification(lambda params, inputs: params * inputs)
    learner = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1)

    def from_one(key, num_tasks):
        batch = (jax.random.normal(key, (num_tasks, 3, 3)), jnp.tile(jnp.arange(1, 4), (num_tasks, 1)))
        return jax_meta.Task(batch, batch)

    state = jax_meta.init(learner, OUTER, jnp.ones(()), jax.random.key(0))
    with pytest.raises(FloatingPointError, match="labels that are not from 0 to one less than the model's outputs"):
        jax_meta.train(learner, OUTER, from_one, state, num_meta_steps=2, report=lambda progress: None)


def test_without_a_folder_the_message_has_no_path():
    with pytest.raises(FloatingPointError, match=f"meta-step {BAD}.*the state before it"):
        train(None, sampler=sampler)


def test_skip_leaves_the_update_out_and_counts_it(tmp_path):
    outer = optax.apply_if_finite(OUTER, max_consecutive_errors=3)
    state, records = train(tmp_path, sampler=sampler, outer=outer, non_finite="skip")
    assert [record["skipped"] for record in records] == [0, 0, 0, 1, 1, 1]
    assert np.isfinite(records[3]["loss"])
    start = first_state()
    before, _ = jax_meta.fit(LEARNER, OUTER, sampler, start, num_meta_steps=BAD, num_tasks=2)
    after, _ = jax_meta.fit(
        LEARNER, OUTER, sampler, before._replace(step=before.step + 1), num_meta_steps=4, num_tasks=2
    )
    for left, right in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_skip_stops_once_the_optimizer_lets_non_finite_numbers_pass(tmp_path):
    def always_bad(key, num_tasks):
        tasks = PROBLEM.sample_tasks(key, num_tasks)
        return tasks._replace(query=(tasks.query[0], tasks.query[1] + jnp.inf))

    outer = optax.apply_if_finite(OUTER, max_consecutive_errors=3)
    with pytest.raises(FloatingPointError, match="at meta-step 3"):
        train(tmp_path, sampler=always_bad, outer=outer, non_finite="skip")
