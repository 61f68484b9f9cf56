"""A part adapts, from a start: BOIL beside ANIL and MAML, and CAVIA's context beside a bias."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.algorithms.parts import select_part
from jax_meta.networks.layers import Context, FiLM
from jax_meta.networks.models import MLP, Conv4
from tests.learners import assert_close, first_task, is_head, quadratics, sines
from tests.tiers import each

KEY = jax.random.key(3)
SGD = optax.sgd(0.1)
PROBLEM = quadratics()
SINES = sines(activation=jnp.tanh)
TASK = first_task(SINES.sample_tasks(KEY, 1))
CONTEXT = 3
MODEL = MLP(hidden=(4,), activation=jnp.tanh, context=CONTEXT)
PARAMS = optax.tree.cast(MODEL.init(KEY, jnp.ones((1, 1))), float)
LOSS = jax_meta.regression(MODEL.apply)


def adapted(factory, num_steps, **options):
    task = first_task(PROBLEM.sample_tasks(KEY, 1))
    return factory(PROBLEM.loss_fn, SGD, num_steps=num_steps, **options).adapt(PROBLEM.params, task.support, KEY)


def test_one_step_of_maml_is_the_body_of_boil_and_the_head_of_anil_and_two_are_not():
    for num_steps in (1, 2):
        maml = adapted(jax_meta.maml, num_steps)
        boil, anil = (adapted(learner, num_steps, is_head="head") for learner in (jax_meta.boil, jax_meta.anil))
        both = {"body": boil["body"], "head": anil["head"]}
        assert_close(boil["head"], PROBLEM.params["head"])
        if num_steps == 1:
            assert_close(both, maml)
        else:
            assert abs(both["head"] - maml["head"]).max() > 1e-3


def test_boil_is_maml_whose_head_has_no_step_size():
    by_part = optax.partition({"body": SGD, "head": optax.set_to_zero()}, {"body": "body", "head": "head"})
    task = first_task(PROBLEM.sample_tasks(KEY, 1))

    @jax.jit
    def run():
        boil = jax_meta.boil(PROBLEM.loss_fn, SGD, is_head=is_head, num_steps=2)
        maml = jax_meta.maml(PROBLEM.loss_fn, by_part, num_steps=2)
        return [learner.gradient(PROBLEM.params, task, KEY) for learner in (boil, maml)]

    assert_close(*run())


def test_a_part_and_its_rest_are_all_of_the_parameters():
    for part in ("params/Dense_0/*", lambda path: path.endswith("bias")):
        masks = [select_part(SINES.params, part, "is_head", inverse=inverse) for inverse in (False, True)]
        joined = jax.tree.map(
            lambda left, right: (left is None) != (right is None), *masks, is_leaf=lambda leaf: leaf is None
        )
        assert all(jax.tree.leaves(joined))


def context_of(params):
    return params["params"]["Context_0"]["context"]


def with_rows(rows):
    """The parameters with other rows of the first kernel where it meets the context."""
    kernel = PARAMS["params"]["Dense_0"]["kernel"].at[1:].set(rows)
    return {"params": PARAMS["params"] | {"Dense_0": PARAMS["params"]["Dense_0"] | {"kernel": kernel}}}


def test_a_concatenated_context_is_a_bias_seen_through_rows_of_the_kernel():
    """b_k = b + W_cᵀ c_k obeys b ← b - α W_cᵀW_c ∂L/∂b."""
    rows = jax.random.normal(KEY, (CONTEXT, 4))
    params, metric = with_rows(rows), rows.T @ rows
    learner = jax_meta.cavia(LOSS, optax.sgd(0.5), num_steps=3)
    found = rows.T @ context_of(learner.adapt(params, TASK.support, KEY))
    layers = params["params"]
    plain = {name: dict(layers[name]) for name in ("Dense_0", "Dense_1")}
    plain["Dense_0"]["kernel"] = layers["Dense_0"]["kernel"][:1]
    bias = start = plain["Dense_0"]["bias"]

    def loss(bias):
        given = {"params": plain | {"Dense_0": plain["Dense_0"] | {"bias": bias}}}
        return SINES.loss_fn(given, TASK.support, KEY)[0]

    for _ in range(3):
        bias = bias - 0.5 * metric @ jax.grad(loss)(bias)
    assert_close(found, bias - start, atol=1e-12)
    assert abs(found).max() > 1e-2


def test_a_context_that_nothing_reads_neither_moves_nor_is_learned_to_be_read():
    learner = jax_meta.cavia(LOSS, SGD, num_steps=2)
    params = with_rows(jnp.zeros((CONTEXT, 4)))
    assert abs(context_of(learner.adapt(params, TASK.support, KEY))).max() == 0
    slope = jax.jit(learner.gradient)(params, TASK, KEY)[0]["params"]["Dense_0"]["kernel"]
    assert abs(slope[1:]).max() == 0 < abs(slope[0]).max()


def test_the_context_starts_at_zero_wherever_it_is_and_is_not_learned_itself():
    learner = jax_meta.cavia(LOSS, SGD, num_steps=2)
    moved = {"params": PARAMS["params"] | {"Context_0": {"context": jnp.full(CONTEXT, 7.0)}}}
    assert_close(learner.adapt(moved, TASK.support, KEY), learner.adapt(PARAMS, TASK.support, KEY))
    as_anil = jax_meta.anil(LOSS, SGD, is_head="*context", num_steps=2)
    found, of_anil = jax.jit(lambda: [each.gradient(PARAMS, TASK, KEY)[0] for each in (learner, as_anil)])()
    assert abs(context_of(found)).max() == 0 < abs(context_of(of_anil)).max()
    rest = partial(select_part, part="*context", name="", inverse=True)
    assert_close(rest(found), rest(of_anil))


def test_first_order_is_the_gradient_of_the_shared_parameters_beside_the_adapted_context():
    first, second = (jax_meta.cavia(LOSS, SGD, num_steps=2, first_order=order) for order in (True, False))

    @jax.jit
    def run():
        at = first.adapt(PARAMS, TASK.support, KEY)
        slope = jax.grad(lambda params: LOSS(params, TASK.query, KEY)[0])(at)
        return slope, *(learner.gradient(PARAMS, TASK, KEY)[0] for learner in (first, second))

    rest = partial(select_part, part="*context", name="", inverse=True)
    expected, found, mixed = (rest(tree) for tree in run())
    assert_close(found, expected)
    assert optax.tree.norm(optax.tree.sub(mixed, found)) > 1e-3 * optax.tree.norm(found)


def test_layers_of_a_context():
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 5)))
    film = FiLM(4)
    params = film.init(KEY, inputs)
    assert_close(film.apply(params, inputs), inputs)
    params["params"]["context"] = jnp.arange(4.0)
    layer = params["params"]["Dense_0"]
    scale, shift = np.split(np.arange(4.0) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 2)
    assert_close(film.apply(params, inputs), np.asarray(inputs) * scale + shift, rtol=1e-6)
    joined = Context(2).apply({"params": {"context": jnp.array([3.0, 4.0])}}, inputs[:, 0, 0])
    assert_close(joined[:, 5:], jnp.tile(jnp.array([[3.0, 4.0]]), (2, 1)))
    assert_close(joined[:, :5], inputs[:, 0, 0])


@pytest.mark.parametrize("use_scale", each([False, True], [True]))
def test_a_network_for_images_reads_its_context_in_the_third_block_alone(use_scale):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16, 16, 1)))
    model, plain = (Conv4(2, 4, use_scale=use_scale, context=size) for size in (6, 0))
    params = jax.jit(partial(model.init, KEY))(images)
    assert [name for name, block in params["params"].items() if "FiLM_0" in block] == ["ConvBlock_2"]
    apply = jax.jit(model.apply)
    without = jax.jit(plain.apply)(params, images)
    assert_close(apply(params, images), without, rtol=1e-6, atol=1e-6)
    params["params"]["ConvBlock_2"]["FiLM_0"]["context"] = jnp.ones(6)
    assert abs(apply(params, images) - without).max() > 1e-2
