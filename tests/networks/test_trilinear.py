"""The trilinear form against `jax.lax`: its precision, and drawn shapes, dtypes and transformations, nested."""

from functools import partial
from typing import Any, NamedTuple

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from jax_meta.networks.convolution import convolution
from jax_meta.networks.dense import dense

FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
NAMES = ("NHWC", "HWIO", "NHWC")


def lax_convolution(images, kernel, *, strides=(1, 1), padding="SAME"):
    return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=NAMES)


class Layer(NamedTuple):
    """A layer of ours, what it is compared with, and the shapes of its two arguments."""

    ours: Any
    theirs: Any
    inputs: tuple[int, ...]
    kernel: tuple[int, ...]


FIXED = {
    "dense": Layer(dense, jnp.matmul, (3, 4), (4, 5)),
    "convolution": Layer(convolution, lax_convolution, (2, 5, 5, 3), (3, 3, 3, 4)),
}


def arguments(layer, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in (layer.inputs, layer.kernel))


@pytest.mark.parametrize("name", FIXED)
def test_products_have_the_precision_that_holds_where_they_are_written(name):
    """As those of `jax.lax` do: it is theirs, whatever holds where they are differentiated and lowered."""
    layer = FIXED[name]
    inputs, kernel = arguments(layer)

    def loss(precision, function, inputs, kernel):
        with jax.default_matmul_precision(precision):
            return jnp.sum(function(inputs, kernel) ** 3)

    def curvature(precision, function, inputs, kernel):
        slope = jax.grad(partial(loss, precision, function), 1)
        return jax.vmap(jax.grad(lambda kernel: jnp.sum(slope(inputs, kernel) ** 2)))(kernel[None])

    for function in (layer.ours, layer.theirs):
        high, plain = (
            jax.jit(partial(curvature, precision, function)).lower(inputs, kernel).as_text()
            for precision in ("highest", None)
        )
        products = high.count("stablehlo.dot_general") + high.count("stablehlo.convolution")
        assert high.count("HIGHEST") == 2 * products > 0
        assert "HIGHEST" not in plain


@st.composite
def layers(draw) -> Layer:
    examples, ins, outs = draw(st.tuples(*[st.integers(1, 3)] * 3))
    if draw(st.booleans()):
        return Layer(dense, jnp.matmul, (examples, ins), (ins, outs))
    window = draw(st.tuples(*[st.integers(1, 3)] * 2))
    size = tuple(least + draw(st.integers(0, 3)) for least in window)
    options = {
        "strides": draw(st.tuples(*[st.integers(1, 2)] * 2)),
        "padding": draw(st.sampled_from(["SAME", "VALID"])),
    }
    ours, theirs = (partial(function, **options) for function in (convolution, lax_convolution))
    return Layer(ours, theirs, (examples, *size, ins), (*window, ins, outs))


def jvp(function):
    return lambda *pair: jax.jvp(function, pair, (jnp.cos(pair[0]), jnp.sin(pair[1])))[1]


def linearized(function):
    return lambda *pair: jax.linearize(function, *pair)[1](pair[0] / 2, pair[1])


def vjp(argument, function):
    def pulled_back(*pair):
        outputs, pull = jax.vjp(function, *pair)
        return pull(jnp.cos(outputs))[argument]

    return pulled_back


def mapped(axes, function):
    """Over tasks that share one of the arguments or none, along any axis of each."""

    def over_tasks(*pair):
        stacks = [
            leaf if axis is None else jnp.stack([leaf, leaf / 2], axis) for leaf, axis in zip(pair, axes, strict=True)
        ]
        return jax.vmap(function, axes)(*stacks)

    return over_tasks


def in_a_loop(function):
    return lambda *pair: jax.lax.map(lambda half: function(pair[0] * half, pair[1]), jnp.ones(2, pair[0].dtype))


WRAPS = {
    "jvp": jvp,
    "linearize": linearized,
    "vjp of inputs": partial(vjp, 0),
    "vjp of kernel": partial(vjp, 1),
    "vmap": partial(mapped, (0, 0)),
    "vmap of inputs": partial(mapped, (1, None)),
    "vmap of kernel": partial(mapped, (None, -1)),
    "vmap of both": partial(mapped, (-1, 1)),
    "checkpoint": jax.checkpoint,
    "jit": jax.jit,
    "loop": in_a_loop,
    "sine": lambda function: lambda *pair: jnp.sin(function(*pair)),
}
TOLERANCE = {jnp.float64: 1e-11, jnp.float32: 1e-4, jnp.bfloat16: 0.1, jnp.float16: 0.02}


@pytest.mark.slow
@FEW
@given(layers(), st.sampled_from(list(TOLERANCE)), st.lists(st.sampled_from(list(WRAPS)), max_size=4))
def test_any_nest_of_transformations_is_that_of_lax(layer, dtype, names):
    """Of half precision ours is compared with theirs in float64."""

    def nested(function, pair):
        for name in names:
            function = WRAPS[name](function)
        return jax.jit(function)(*pair)

    pair = arguments(layer, dtype)
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float64
    ours, theirs = nested(layer.ours, pair), nested(layer.theirs, tuple(leaf.astype(wide) for leaf in pair))
    assert ours.dtype == dtype
    assert ours.shape == theirs.shape
    scale = max(1.0, float(jnp.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(ours.astype(wide), theirs, rtol=0, atol=TOLERANCE[dtype] * scale)
