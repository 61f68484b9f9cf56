"""The inner loop: minibatches, randomness and optimizer state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.inner import minibatch_indices
from jax_meta.memory import UNROLL_LIMIT

KEY = jax.random.key(0)
BATCH = jnp.arange(6.0)


def linear(params, batch, key):
    """A loss whose gradient is the mean of the batch, whatever the parameters."""
    del key
    loss = params * batch.mean()
    return loss, {"loss": loss}


def quadratic(params, batch, key):
    del key
    loss = jnp.mean((params - batch) ** 2) / 2
    return loss, {"loss": loss}


def noisy(params, batch, key):
    loss = params * jax.random.normal(key)
    return loss, {"loss": loss}


def adapt(loss_fn, optimizer, **options):
    return jax_meta.adapt(loss_fn, optimizer, jnp.array(0.0), BATCH, KEY, **options)


def test_every_pass_uses_each_example_once_in_a_new_order():
    passes = np.asarray(minibatch_indices(KEY, BATCH, 9, 4)).reshape(6, 6)
    assert all(sorted(indices) == list(range(6)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) > 3


def test_minibatches_are_uniform_over_examples_at_every_step():
    draw = jax.vmap(lambda key: minibatch_indices(key, BATCH, 2, 4))
    indices = np.asarray(draw(jax.random.split(KEY, 6_000)))
    assert indices.shape == (6_000, 2, 4)
    counts = np.stack([np.bincount(indices[:, step].ravel(), minlength=6) for step in range(2)])
    # 4,000 expected; a count of 6,000 tasks that use an example with chance 2/3 has standard deviation 36.5
    assert np.abs(counts - 4_000).max() < 5 * 37


def test_balanced_minibatches_have_each_class_once_and_each_example_with_the_same_chance():
    batch = jnp.zeros(9), jnp.repeat(jnp.array([4, 0, 2]), 3)
    draw = jax.vmap(lambda key: minibatch_indices(key, batch, 4, 3, jax_meta.balanced))
    indices = np.asarray(draw(jax.random.split(KEY, 6_000)))
    labels = np.asarray(batch[1])[indices]
    assert (np.sort(labels, axis=-1) == [0, 2, 4]).all()
    assert (np.sort(indices[:, :3].reshape(-1, 9), axis=-1) == np.arange(9)).all()
    first = np.bincount(indices[:, 0].ravel(), minlength=9)  # 2,000 expected, standard deviation 36.5
    assert np.abs(first - 2_000).max() < 5 * 37
    places = [np.bincount(indices[:, 0, place], minlength=9) for place in range(3)]  # 667 expected, 24.3
    assert np.abs(np.stack(places) - 6_000 / 9).max() < 5 * 25


def test_balanced_order_with_unequal_classes_uses_each_example_once():
    batch = jnp.zeros(6), jnp.array([0, 1, 0, 0, 1, 0])
    labels = np.asarray(batch[1])[np.asarray(jax_meta.balanced(KEY, batch))]
    assert sorted(labels[:2]) == sorted(labels[2:4]) == [0, 1]
    assert list(labels[4:]) == [0, 0]


def test_one_pass_of_sgd_in_minibatches_moves_by_every_example_once():
    adapted = adapt(linear, optax.sgd(1.0), num_steps=3, batch_size=2)
    np.testing.assert_allclose(adapted, -3 * BATCH.mean(), rtol=1e-12)


def test_a_minibatch_of_all_examples_is_the_whole_batch():
    whole = adapt(quadratic, optax.sgd(0.3), num_steps=3)
    np.testing.assert_allclose(adapt(quadratic, optax.sgd(0.3), num_steps=3, batch_size=6), whole, rtol=1e-12)
    assert abs(adapt(quadratic, optax.sgd(0.3), num_steps=3, batch_size=1) - whole) > 1e-3


@pytest.mark.parametrize("num_steps", [0, 1, UNROLL_LIMIT, UNROLL_LIMIT + 1, 20])
def test_sgd_on_a_quadratic_contracts_by_the_same_factor_at_each_step(num_steps):
    adapted, path = adapt(quadratic, optax.sgd(0.3), num_steps=num_steps, observe=lambda params: params)
    expected = BATCH.mean() * (1 - 0.7 ** np.arange(num_steps + 1))
    np.testing.assert_allclose(path, expected, rtol=1e-12)
    np.testing.assert_allclose(adapted, expected[-1], rtol=1e-12)


def test_the_optimizer_starts_fresh_for_each_task():
    """Momentum kept from one task would carry into the next: two adaptations in a row are two times the same."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    first = adapt(linear, optimizer, num_steps=3)
    assert first == adapt(linear, optimizer, num_steps=3)
    velocities = np.cumsum([1.0, 0.9, 0.81])
    np.testing.assert_allclose(first, -0.1 * BATCH.mean() * velocities.sum(), rtol=1e-12)


def test_a_schedule_and_clipping_act_on_inner_steps():
    optimizer = optax.chain(optax.clip(1.0), optax.sgd(lambda step: 0.1 * (step + 1)))
    np.testing.assert_allclose(adapt(linear, optimizer, num_steps=3), -(0.1 + 0.2 + 0.3), rtol=1e-6)


def test_a_random_loss_gets_a_new_key_at_each_step():
    _, path = adapt(noisy, optax.sgd(1.0), num_steps=20, observe=lambda params: params)
    moves = np.diff(path)
    assert len(np.unique(moves)) == 20
    assert abs(moves.mean()) < 5 / np.sqrt(20)


def test_the_loss_is_passed_on_to_optimizers_that_search_along_a_line():
    """Backtracking halves a step of 100 until it descends, which it can only do with the loss at hand."""
    search = optax.chain(optax.sgd(100.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=20))
    _, losses = adapt(quadratic, search, num_steps=5, observe=lambda params: quadratic(params, BATCH, KEY)[0])
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < losses[0] / 2
    assert adapt(quadratic, optax.sgd(100.0), num_steps=5) > 1e6


def test_numpy_arrays_are_taken_by_minibatches_in_a_loop_too():
    options = {"num_steps": UNROLL_LIMIT + 1, "batch_size": 2}
    adapted = jax_meta.adapt(quadratic, optax.sgd(0.1), jnp.array(0.0), np.asarray(BATCH), KEY, **options)
    assert adapted == adapt(quadratic, optax.sgd(0.1), **options)
