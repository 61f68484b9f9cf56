"""Numbers that looked right and were not: rounding in `max_pool`, statistics in bf16, labels out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.loss_checks import check_labels_at_hand, checked_loss
from jax_meta.networks import pooling
from jax_meta.networks.layers import BatchNorm, Convolution, Dense, batch_statistics, max_pool
from tests.learners import assert_close

KEY = jax.random.key(0)
LOGITS = jax.random.normal(KEY, (4, 3))


def logits_of(params, inputs):
    return params * inputs


def test_max_pool_needs_no_element_that_equals_the_maximum(monkeypatch):
    """XLA may compute the input twice and round it differently; here each reading of it is rounded in its own way."""
    calls, exact = [], pooling.windows

    def rounded(images):
        calls.append(None)
        return exact(images) * (1 + 1e-9 * len(calls))

    images = jax.random.normal(KEY, (2, 4, 4, 3))
    expected = jax.vjp(max_pool, images)[1](jnp.ones((2, 2, 2, 3)))[0]
    monkeypatch.setattr(pooling, "windows", rounded)
    assert_close(jax.vjp(max_pool, images)[1](jnp.ones((2, 2, 2, 3)))[0], expected, rtol=1e-6)


def test_statistics_of_bf16_are_taken_in_float32():
    inputs = (10 + jax.random.normal(KEY, (512, 4))).astype(jnp.bfloat16)
    exact = np.asarray(inputs, np.float64)
    mean, variance = batch_statistics(inputs)
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, exact.var(0), rtol=1e-3)
    outputs = BatchNorm().apply({"params": {"bias": jnp.zeros(4, jnp.bfloat16)}}, inputs)
    assert outputs.dtype == jnp.bfloat16


LAYERS = {"dense": (Dense(3), (4, 2)), "convolution": (Convolution(3), (2, 4, 4, 2))}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
def test_layers_work_without_jit(layer, shape):
    inputs = jax.random.normal(KEY, shape)
    params = layer.init(KEY, inputs)
    slope = jax.grad(lambda params: jnp.sum(layer.apply(params, inputs) ** 2))
    expected = slope(params)
    with jax.disable_jit():
        assert_close(slope(params), expected)


@pytest.mark.parametrize("labels", [[1, 2, 3, 1], [0, 1, -1, 2]])
def test_labels_out_of_range(labels):
    labels, loss_fn = jnp.array(labels), jax_meta.classification(logits_of)
    with pytest.raises(ValueError, match="needs labels from 0 to 2"):
        loss_fn(1.0, (LOGITS, labels), KEY)
    with pytest.raises(ValueError, match="needs labels from 0 to 2"):
        check_labels_at_hand(checked_loss(loss_fn), jnp.ones(()), (LOGITS, labels), KEY)
    traced = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, metrics), gradient = traced(1.0, (LOGITS, labels), KEY)
    assert np.isnan([loss, gradient, metrics["accuracy"]]).all()
    with pytest.raises(FloatingPointError, match="labels that are not from 0"):
        jax_meta.check_finite({"loss": loss[None]})


def test_ignored_examples_are_as_if_absent():
    labels = jnp.array([0, -1, 2, -1])
    ignoring, plain = jax_meta.classification(logits_of, ignore_label=-1), jax_meta.classification(logits_of)
    results = [
        jax.value_and_grad(loss_fn, has_aux=True)(1.5, batch, KEY)
        for loss_fn, batch in ((ignoring, (LOGITS, labels)), (plain, (LOGITS[::2], labels[::2])))
    ]
    assert_close(*results)


def test_where_all_are_ignored_nothing_is_learned_or_judged():
    loss_fn = jax_meta.classification(logits_of, ignore_label=-1)
    batch = (LOGITS, jnp.full(4, -1))
    (loss, metrics), gradient = jax.value_and_grad(loss_fn, has_aux=True)(1.5, batch, KEY)
    assert loss == gradient == 0
    assert np.isnan(metrics["accuracy"])


def test_unknown_options_of_conv4_are_refused():
    for options in ({"downsample": "strides"}, {"head": "average"}):
        with pytest.raises(ValueError, match="must be one of"):
            jax.eval_shape(jax_meta.models.Conv4(2, 2, **options).init, KEY, jnp.ones((2, 16, 16, 1)))


def test_adapt_is_not_begun_with_labels_out_of_range():
    """More than the steps that are written out: in a loop labels are traced, and the result would be NaN in silence."""
    loss_fn, batch = jax_meta.classification(logits_of), (LOGITS, jnp.array([1, 2, 3, 1]))
    with pytest.raises(ValueError, match=r"labels from 0 to 2, got labels from 1 to 3: number the classes"):
        jax_meta.adapt(loss_fn, optax.sgd(0.1), jnp.ones(()), batch, KEY, num_steps=20)
