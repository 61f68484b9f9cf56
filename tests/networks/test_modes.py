"""Networks and MAML under the settings of JAX that people work in: strict promotion of dtypes, and no compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.networks.models import MLP, Conv4, ResNet, ResNet12
from tests.learners import assert_close

KEY = jax.random.key(0)
SHAPE = (2, 4, 4, 1)
MODELS = {
    "Conv4": (Conv4(2, 2, downsample="stride"), SHAPE),
    "Conv4, pooled": (Conv4(2, 2, use_scale=True), (2, 16, 16, 1)),
    "ResNet12": (ResNet12(2, (2,)), SHAPE),
    "ResNet": (ResNet(2, (2, 4), groups=2), (2, 8, 8, 1)),
    "MLP": (MLP((3,), 2, normalise=True), (2, 3)),
}


def meta_gradient(name, algorithm, dtype):
    """The gradient on one task of two labelled examples, as a function of the parameters, and these."""
    model, shape = MODELS[name]
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    labels = jnp.arange(2, dtype=jnp.int32)
    learner = algorithm(jax_meta.classification(model.apply), optax.sgd(0.1), num_steps=1)
    task = jax_meta.Task((inputs, labels), (inputs[::-1], labels))
    params = jax.eval_shape(model.init, KEY, inputs)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(1 + rng.normal(size=leaf.shape), dtype), params)
    return (lambda params: learner.gradient(params, task, KEY)), params


@pytest.mark.parametrize(
    ("name", "algorithm", "dtype"),
    [
        ("MLP", jax_meta.maml, jnp.float32),
        ("Conv4", jax_meta.fomaml, jnp.bfloat16),
        ("Conv4, pooled", jax_meta.fomaml, jnp.float32),
        ("ResNet12", jax_meta.fomaml, jnp.float32),
        ("ResNet", jax_meta.fomaml, jnp.bfloat16),
    ],
)
def test_dtypes_are_promoted_by_nothing_that_is_implicit(name, algorithm, dtype):
    gradient, params = meta_gradient(name, algorithm, dtype)
    with jax.numpy_dtype_promotion("strict"):
        slope, _ = jax.eval_shape(gradient, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(slope)} == {jnp.dtype(dtype)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MLP", "Conv4", "ResNet", "ResNet12"])
def test_a_meta_gradient_can_be_stepped_through(name):
    gradient, params = meta_gradient(name, jax_meta.maml, jnp.float64)
    expected = jax.jit(gradient)(params)
    with jax.disable_jit():
        actual = gradient(params)
    assert_close(actual, expected, rtol=1e-9, atol=1e-12)
