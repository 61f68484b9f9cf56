"""`dense` is a matrix product, in value and in derivatives of every order, however it is mapped."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_meta.networks.dense import PRODUCTS, ROLES, dense, form, on_any_platform, on_cpu
from jax_meta.networks.layers import Dense
from jax_meta.networks.trilinear import others
from tests.learners import assert_close

KEY = jax.random.key(0)
SIZES = {"wide": (6, 5, 4), "one input": (6, 1, 4), "one output": (6, 5, 1)}
AXES = {"own kernels": (0, 0), "one kernel": (0, None), "own kernels, one batch": (None, 0)}


def make(size, tasks=3):
    """Inputs, kernels, and slopes of the outputs."""
    examples, inputs, outputs = SIZES[size]
    shapes = (tasks, examples, inputs), (tasks, inputs, outputs), (tasks, examples, outputs)
    return tuple(map(np.random.default_rng(0).normal, (0, 0, 0), (1, 1, 1), shapes))


def curvature(product, inputs, kernel):
    """The gradient of a squared gradient, which has each face of the layer, and each of theirs."""

    def loss(inputs, kernel):
        return jnp.sum(jnp.sin(product(inputs, kernel)))

    def squared(inputs, kernel):
        return sum(jnp.sum(slope**2) for slope in jax.grad(loss, argnums=(0, 1))(inputs, kernel))

    return jax.grad(squared, argnums=(0, 1))(inputs, kernel)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("axes", AXES)
def test_value_and_second_derivative_under_vmap(size, axes):
    batch, kernels, _ = make(size)
    arguments = [leaf if axis == 0 else leaf[0] for leaf, axis in zip((batch, kernels), AXES[axes], strict=True)]

    def value_and_curvature(product):
        return jax.jit(jax.vmap(lambda *pair: (product(*pair), curvature(product, *pair)), AXES[axes]))(*arguments)

    assert_close(value_and_curvature(dense), value_and_curvature(jnp.matmul), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", ROLES)
@pytest.mark.parametrize("tasks", [1, 3])
def test_each_face_on_each_platform(size, wanted, tasks):
    known = dict(zip(("inputs", "kernel", "outputs"), make(size, tasks), strict=True))
    pair = [known[role] for role in others(ROLES, wanted)]
    expected = np.stack([np.einsum(PRODUCTS[wanted], left, right) for left, right in zip(*pair, strict=True)])

    @jax.jit
    def faces(*pair):
        by_platform = [face(*pair, wanted=wanted, geometry=None) for face in (on_any_platform, on_cpu)]
        return *by_platform, form(wanted, dict(zip(others(ROLES, wanted), pair, strict=True)), None)

    for face in faces(*pair):
        assert_close(face, expected)


def test_layer_is_flax_dense():
    inputs = np.random.default_rng(1).normal(size=(6, 5))
    ours, theirs = Dense(4), nn.Dense(4)
    params = jax.jit(theirs.init)(KEY, inputs)
    assert_close(jax.jit(ours.init)(KEY, inputs), params)
    assert_close(ours.apply(params, inputs), theirs.apply(params, inputs))
    assert jax.eval_shape(ours.apply, params, inputs.astype(jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("inputs", "kernel"), [((5,), (5, 4)), ((6, 5), (4, 4)), ((2, 6, 5), (5, 4))], ids=["rank", "size", "tasks"]
)
def test_shapes_that_do_not_fit(inputs, kernel):
    with pytest.raises(ValueError, match=r"dense needs inputs \[examples, inputs\] and a kernel"):
        dense(jnp.ones(inputs), jnp.ones(kernel))
