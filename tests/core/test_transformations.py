"""Meta-gradients within nests of transformations, against a plain loop within the same ones, on drawn problems."""

from functools import partial

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings

import jax_meta
from tests.core.test_properties import KEY, QUIET, Case, cases, make, plain_gradient, pytestmark

__all__ = ["pytestmark"]


def both(tree):
    """A tree beside one of half its numbers."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), tree)


def jvp(function):
    def tangent(params, tasks):
        return jax.jvp(lambda params: function(params, tasks), (params,), (jax.tree.map(jnp.cos, params),))[1]

    return tangent


def curvature(function):
    def slope(params, tasks):
        def total(params):
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(function(params, tasks)))

        return jax.grad(total)(params)

    return slope


def mean_of(mapped):
    return lambda *pair: jax.tree.map(lambda leaf: leaf.mean(0), mapped(*pair))


WRAPS = {
    "vmap over parameters": lambda function: mean_of(
        lambda params, tasks: jax.vmap(function, (0, None))(both(params), tasks)
    ),
    "vmap over tasks": lambda function: mean_of(
        lambda params, tasks: jax.vmap(function, (None, 0))(params, both(tasks))
    ),
    "vmap over both": lambda function: mean_of(lambda params, tasks: jax.vmap(function)(both(params), both(tasks))),
    "loop": lambda function: mean_of(
        lambda params, tasks: jax.lax.map(lambda tasks: function(params, tasks), both(tasks))
    ),
    "jvp": jvp,
    "grad": curvature,
    "checkpoint": jax.checkpoint,
    "jit": jax.jit,
}


def check(case: Case, names: list[str]) -> None:
    """`meta_gradient` within the transformations, the innermost first."""
    assume(not (case.options.get("mixed_mode") and {"jvp"} & set(names)))
    learner = make(case)

    def ours(params, tasks):
        return jax_meta.meta_gradient(learner, params, tasks, KEY, **case.way)[0]

    def nested(function):
        for name in names:
            function = WRAPS[name](function)
        return jax.jit(function)(learner.init(case.params), case.tasks)

    actual, expected = nested(ours), nested(partial(plain_gradient, case))
    dtype = case.tasks.support[0].dtype
    tolerance = 1e-8 if dtype == jnp.float64 else 1e-3
    tolerance *= 1e3 if case.learner == "imaml" else 1.0  # which solves to the rounding of a system's condition
    scale = max(1.0, *(float(jnp.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(expected)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=tolerance * scale), actual, expected)
    assert jax.tree.map(jnp.result_type, actual) == jax.tree.map(jnp.result_type, expected)


@pytest.mark.slow
@settings(max_examples=12, **QUIET)  # type: ignore[arg-type]
@given(cases(), st.lists(st.sampled_from(sorted(WRAPS)), min_size=1, max_size=2))
def test_any_nest_of_transformations_is_that_of_a_loop(case, names):
    check(case, names)
