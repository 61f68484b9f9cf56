"""A state with a leading axis of seeds trains them all in one run, each as it would alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_meta
from tests.runs.training import LEARNER, OUTER, PROBLEM, bits, first_state, stop_at

SEEDS = 3
BAD = 1
"""The seed that meets numbers that are not finite."""


@pytest.fixture(scope="module")
def states():
    keys = jax.random.split(jax.random.key(3), SEEDS)
    params = jax.tree.map(lambda leaf: jnp.stack([scale * leaf for scale in (1.0, 2.0, 3.0)]), PROBLEM.params)
    return jax.vmap(partial(jax_meta.init, LEARNER, OUTER))(params, keys)


def train(states, folder=None, **options):
    settings = {"num_meta_steps": 4, "num_tasks": 2, "record_every": 2, "save_seconds": 0.0}
    settings |= {"report": lambda progress: None} | options
    sampler = settings.pop("sampler", PROBLEM.sample_tasks)
    return jax_meta.train(LEARNER, OUTER, sampler, states, folder=folder, **settings)


def one(states, seed):
    return jax.tree.map(lambda leaf: leaf[seed], states)


def test_each_network_is_trained_as_it_would_be_alone(states, tmp_path):
    found, records = train(states, tmp_path, validate=lambda params: {"loss": jnp.arange(float(SEEDS))})
    losses = []
    for seed in range(SEEDS):
        alone, history = jax_meta.fit(
            LEARNER, OUTER, PROBLEM.sample_tasks, one(states, seed), num_meta_steps=4, num_tasks=2
        )
        losses.append(history["loss"])
        for left, right in zip(jax.tree.leaves(found.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(left[seed], right, rtol=1e-10, atol=1e-12)
    assert found.step.tolist() == [4] * SEEDS
    means = np.mean(losses, axis=0).reshape(2, 2).mean(axis=1)
    np.testing.assert_allclose([record["loss"] for record in records], means, rtol=1e-10)
    assert records[-1]["val_loss"] == 1.0  # the mean over the seeds


def test_a_run_of_many_goes_on_and_is_told_apart(states, tmp_path):
    with pytest.raises(RuntimeError, match="stopped at"):
        train(states, tmp_path, report=stop_at(2))
    found, _ = train(states, tmp_path)
    assert bits(found) == bits(train(states)[0])
    assert bits(jax_meta.load_state(tmp_path, states)) == bits(found)
    with pytest.raises(ValueError, match="holds another run"):
        train(jax.tree.map(lambda leaf: leaf[:2], states), tmp_path)
    with pytest.raises(ValueError, match="holds another run"):
        train(states._replace(params=jax.tree.map(lambda leaf: leaf[::-1], states.params)), tmp_path)


def test_a_mesh_holds_them_too(states):
    mesh = jax.make_mesh((1,), ("tasks",))
    for left, right in zip(
        *(jax.tree.leaves(train(states, mesh=given)[0].params) for given in (mesh, None)), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_the_seed_that_fails_is_named_by_what_draws_its_tasks_again(states, tmp_path):
    bad_key = jax.random.key_data(jax.random.split(jax.random.fold_in(states.key[BAD], 2))[0])

    def sampler(key, num_tasks):
        inputs, targets = (tasks := PROBLEM.sample_tasks(key, num_tasks)).query
        is_bad = jnp.all(jax.random.key_data(key) == bad_key)
        return tasks._replace(query=(inputs, jnp.where(is_bad, jnp.nan, targets)))

    with pytest.raises(FloatingPointError, match="loss of maml is not finite at meta-step 2") as caught:
        train(states, tmp_path, sampler=sampler)
    code = str(caught.value).partition("see it again: ")[2].partition(". Remedies")[0]
    names = {"jax": jax, "jax_meta": jax_meta, "state": states, "sample_tasks": sampler}
    exec(code, names | {"learner": LEARNER, "optimizer": OUTER}, names)
    assert np.isnan(names["tasks"].query[1]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"step": jnp.array([0, 1, 0])},
            r"the state's step is \[0, 1, 0\], and must be one number, or one for each seed",
        ),
        ({"step": jnp.zeros((SEEDS, 1), int)}, "must be one number, or one for each seed"),
        ({"params": PROBLEM.params}, "every leaf of the state needs the same leading axis 0, which counts seeds"),
    ],
)
def test_a_state_that_is_of_neither_kind_is_refused(states, change, message):
    with pytest.raises(ValueError, match=message):
        train(states._replace(**change))


def test_the_arrays_of_a_sampler_stay_arguments():
    """And are no constants of the program, which would be compiled with them."""
    data = jnp.ones((4, 3))
    given = jax.tree_util.Partial(lambda data, key, num_tasks: data, data)
    found = []

    def fit(learner, optimizer, sample_tasks, state, **options):
        found.append(sample_tasks)
        return state._replace(step=state.step + 1), {"loss": jnp.zeros(1)}

    jax_meta.train(LEARNER, OUTER, given, first_state(), num_meta_steps=1, fit=fit, report=lambda progress: None)
    assert jax.tree.leaves(found) == [data]
    assert found[0] is given
