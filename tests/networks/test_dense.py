"""`dense` is a matrix product, in value and in derivatives of every order, however it is mapped."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jax_meta.networks.dense import PRODUCTS, ROLES, dense, form, on_any_platform, on_cpu
from jax_meta.networks.layers import Dense
from jax_meta.networks.trilinear import others
from tests.learners import assert_close

KEYS = jax.random.split(jax.random.key(0), 4)
SIZES = {"wide": (6, 5, 4), "one input": (6, 1, 4), "one output": (6, 5, 1)}
AXES = {"own kernels": (0, 0), "one kernel": (0, None), "own kernels, one batch": (None, 0)}


def make(size, tasks=3):
    examples, inputs, outputs = SIZES[size]
    batch = jax.random.normal(KEYS[0], (tasks, examples, inputs))
    kernels = jax.random.normal(KEYS[1], (tasks, inputs, outputs))
    return batch, kernels


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
    batch, kernels = make(size)
    arguments = [leaf if axis == 0 else leaf[0] for leaf, axis in zip((batch, kernels), AXES[axes], strict=True)]
    for function in (lambda product: product, lambda product: partial(curvature, product)):
        mapped, expected = (
            jax.jit(jax.vmap(function(product), AXES[axes]))(*arguments) for product in (dense, jnp.matmul)
        )
        assert_close(mapped, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", ROLES)
@pytest.mark.parametrize("tasks", [1, 3])
def test_each_face_on_each_platform(size, wanted, tasks):
    batch, kernels = make(size, tasks)
    known = {"inputs": batch, "kernel": kernels, "outputs": jax.random.normal(KEYS[2], (batch @ kernels).shape)}
    pair = [known[role] for role in others(ROLES, wanted)]
    expected = jnp.stack([jnp.einsum(PRODUCTS[wanted], left, right) for left, right in zip(*pair, strict=True)])
    for face in (on_any_platform, on_cpu):
        assert_close(jax.jit(partial(face, wanted=wanted, geometry=None))(*pair), expected)
    assert_close(form(wanted, {role: known[role] for role in others(ROLES, wanted)}, None), expected)


def test_layer_is_flax_dense():
    inputs = jax.random.normal(KEYS[3], (6, 5))
    ours, theirs = Dense(4), nn.Dense(4)
    params = theirs.init(KEYS[0], inputs)
    assert_close(ours.init(KEYS[0], inputs), params)
    assert_close(ours.apply(params, inputs), theirs.apply(params, inputs))
    assert ours.apply(params, inputs.astype(jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("inputs", "kernel"), [((5,), (5, 4)), ((6, 5), (4, 4)), ((2, 6, 5), (5, 4))], ids=["rank", "size", "tasks"]
)
def test_shapes_that_do_not_fit(inputs, kernel):
    with pytest.raises(ValueError, match=r"dense needs inputs \[examples, inputs\] and a kernel"):
        dense(jnp.ones(inputs), jnp.ones(kernel))
