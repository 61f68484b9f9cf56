"""Heads in closed form: the formulas against NumPy, their limits, and what they have in common with MAML."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import jax_meta
from jax_meta.algorithms.r2d2 import ridge
from jax_meta.networks.models import MLP, SIREN, Conv4, ResNet, ResNet12, split_head
from tests.learners import CLASSIFIER, FEATURES, HEAD, WAYS, assert_close, blobs, first_task, flat
from tests.tiers import each

KEY = jax.random.key(4)
PROBLEM = blobs()
TASK = first_task(PROBLEM.sample_tasks(KEY, 1))
GIVEN: dict[str, Any] = {"features": FEATURES, "head": HEAD, "ways": WAYS}
PROTONET = jax_meta.protonet(PROBLEM.loss_fn, **GIVEN)
BODY = PROTONET.init(PROBLEM.params)
INPUTS, LABELS = map(np.asarray, TASK.support)
EMBEDDED = np.asarray(FEATURES(BODY, INPUTS))
CENTERS = np.stack([EMBEDDED[label == LABELS].mean(axis=0) for label in range(WAYS)])
DRAW = np.random.default_rng(0)


def proto_maml(step_size=0.1, **options):
    return jax_meta.proto_maml(PROBLEM.loss_fn, optax.sgd(step_size), **GIVEN, **options)


def gradient(learner, meta_params=BODY):
    return jax.jit(learner.gradient)(meta_params, TASK, KEY)[0]


def log_softmax(logits):
    return np.asarray(jax.nn.log_softmax(logits, axis=-1))


def test_the_head_is_the_softmax_of_negative_squared_distances():
    queries = np.asarray(FEATURES(BODY, TASK.query[0]))
    distances = ((queries[:, None] - CENTERS[None]) ** 2).sum(axis=-1)
    adapted = PROTONET.adapt(BODY, TASK.support, KEY)
    found = log_softmax(CLASSIFIER.apply(adapted, TASK.query[0]))
    np.testing.assert_allclose(found, log_softmax(-distances), rtol=1e-12)
    not_squared = log_softmax(-np.sqrt(distances))
    assert abs(found - not_squared).max() > 1e-2


def test_other_names_of_the_classes_give_other_places_to_the_outputs():
    order = np.array([2, 0, 1])
    renamed = PROTONET.adapt(BODY, (INPUTS, order[LABELS]), KEY)
    logits = CLASSIFIER.apply(PROTONET.adapt(BODY, TASK.support, KEY), INPUTS)
    assert_close(CLASSIFIER.apply(renamed, INPUTS)[:, order], logits)


def test_embeddings_that_are_all_moved_alike_classify_alike():
    def moved(params, inputs):
        return FEATURES(params, inputs) + 3.0

    adapted = jax_meta.protonet(PROBLEM.loss_fn, **GIVEN | {"features": moved}).adapt(BODY, TASK.support, KEY)
    head = adapted["params"]["Dense_1"]
    found = log_softmax((EMBEDDED + 3.0) @ head["kernel"] + head["bias"][None])
    expected = log_softmax(CLASSIFIER.apply(PROTONET.adapt(BODY, TASK.support, KEY), INPUTS))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_example_a_class_is_its_prototype():
    head = PROTONET.adapt(BODY, (INPUTS[:WAYS], LABELS[:WAYS]), KEY)["params"]["Dense_1"]
    assert_close(head["kernel"], 2 * EMBEDDED[:WAYS].T)
    assert_close(head["bias"], -(EMBEDDED[:WAYS] ** 2).sum(axis=1))


def test_the_body_serves_any_number_of_ways():
    model = MLP(hidden=(4,), outputs=2)
    features, head = split_head(model)
    loss_fn = jax_meta.classification(model.apply)
    learner = jax_meta.protonet(loss_fn, features=features, head=head, ways=2)
    few = LABELS < 2
    adapted = learner.adapt(BODY, (INPUTS[few], LABELS[few]), KEY)
    assert_close(adapted["params"]["Dense_1"]["kernel"], 2 * CENTERS[:2].T)
    assert model.apply(adapted, INPUTS).shape == (len(INPUTS), 2)


def test_proto_maml_without_steps_or_of_size_zero_is_the_prototypical_network():
    @jax.jit
    def run():
        learners = [PROTONET, proto_maml(num_steps=0), proto_maml(0.0, num_steps=2), proto_maml(num_steps=2)]
        return [learner.gradient(BODY, TASK, KEY) for learner in learners]

    protonet, without_steps, of_size_zero, other = run()
    assert_close(without_steps, protonet)
    assert_close(of_size_zero, protonet)
    assert optax.tree.norm(optax.tree.sub(other[0], protonet[0])) > 1e-2 * optax.tree.norm(protonet[0])


def test_first_order_proto_maml_keeps_what_goes_through_the_start():
    """∇β L_query(φ) + (∂head₀/∂β)ᵀ ∇head L_query(φ): the second part is what `fomaml` at φ would lose."""
    learner = proto_maml(num_steps=2, first_order=True)

    @jax.jit
    def run(body):
        adapted = learner.adapt(body, TASK.support, KEY)
        slope = jax.grad(lambda params: PROBLEM.loss_fn(params, TASK.query, KEY)[0])(adapted)
        _, pull = jax.vjp(lambda body: PROTONET.adapt(body, TASK.support, KEY)["params"]["Dense_1"], body)
        slope_of_body = {"params": {"Dense_0": slope["params"]["Dense_0"]}}
        through_start = pull(slope["params"]["Dense_1"])[0]
        both = optax.tree.add(slope_of_body, through_start)
        return learner.gradient(body, TASK, KEY)[0], both, slope_of_body

    found, expected, at_the_end = run(BODY)
    assert_close(found, expected)
    assert optax.tree.norm(optax.tree.sub(found, at_the_end)) > 0.1 * optax.tree.norm(found)
    assert optax.tree.norm(optax.tree.sub(found, gradient(proto_maml(num_steps=2)))) > 1e-2 * optax.tree.norm(found)


def test_first_order_takes_an_optimizer_without_a_second_derivative():
    learner = jax_meta.proto_maml(PROBLEM.loss_fn, optax.adam(0.1), num_steps=2, first_order=True, **GIVEN)
    assert np.isfinite(flat(gradient(learner))).all()
    second = jax_meta.proto_maml(PROBLEM.loss_fn, optax.adam(0.1), num_steps=2, **GIVEN)
    with pytest.raises(ValueError, match="positive eps_root"):
        jax.eval_shape(second.gradient, BODY, TASK, KEY)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4)], ids=["fewer examples", "fewer features"])
def test_ridge_regression_is_the_minimum_in_either_form(shape):
    inputs, targets, penalty = DRAW.normal(size=shape), DRAW.normal(size=(shape[0], 2)), 0.3
    found = np.asarray(ridge(jnp.asarray(inputs), jnp.asarray(targets), jnp.asarray(penalty)))
    primal = np.linalg.inv(inputs.T @ inputs + penalty * np.eye(shape[1])) @ inputs.T @ targets
    dual = inputs.T @ np.linalg.inv(inputs @ inputs.T + penalty * np.eye(shape[0])) @ targets
    assert_close(primal, dual, rtol=1e-9)
    assert_close(found, primal, rtol=1e-9)
    stationary = inputs.T @ (inputs @ found - targets) + penalty * found
    assert_close(stationary, np.zeros_like(stationary), atol=1e-12)
    check_grads(ridge, (jnp.asarray(inputs), jnp.asarray(targets), jnp.asarray(penalty)), 1, ["rev"], rtol=1e-6)


def test_ridge_regression_at_both_ends_of_its_penalty():
    """λ → ∞: λW → XᵀY, a classifier by dot products with prototypes; λ → 0 with few examples: X W = Y."""
    inputs, targets = jnp.asarray(DRAW.normal(size=(3, 5))), jnp.asarray(DRAW.normal(size=(3, 2)))
    assert_close(1e9 * ridge(inputs, targets, jnp.array(1e9)), inputs.T @ targets, rtol=1e-6)
    assert_close(inputs @ ridge(inputs, targets, jnp.array(1e-10)), targets, rtol=1e-6)


def r2d2(**options):
    return jax_meta.r2d2(PROBLEM.loss_fn, **GIVEN | options)


def written(learner, **changes):
    head = learner.adapt(learner.init(PROBLEM.params)._replace(**changes), TASK.support, KEY)["params"]["Dense_1"]
    return np.concatenate([head["kernel"], head["bias"][None]])


def test_the_head_of_r2d2_and_that_of_metaoptnet():
    """The mean of the errors is as n times the penalty; a column of ones is a bias; scales multiply the outputs."""
    one_hot = np.eye(WAYS)[LABELS]
    with_ones = np.concatenate([EMBEDDED, np.ones((len(LABELS), 1))], axis=1)

    def closed(inputs, penalty):
        return np.linalg.solve(inputs.T @ inputs + penalty * np.eye(inputs.shape[1]), inputs.T @ one_hot)

    assert_close(written(r2d2(penalty=0.5)), closed(with_ones, 0.5 * len(LABELS)), rtol=1e-9)
    assert_close(written(r2d2(penalty=0.5, mean=False)), closed(with_ones, 0.5), rtol=1e-9)
    metaoptnet = written(r2d2(penalty=0.5, mean=False, use_bias=False))
    assert_close(metaoptnet, np.concatenate([closed(EMBEDDED, 0.5), np.zeros((1, WAYS))]), rtol=1e-9)
    assert_close(written(r2d2(penalty=0.5), scale=jnp.array(3.0)), 3 * written(r2d2(penalty=0.5)), rtol=1e-9)
    assert_close(written(r2d2(), log_penalty=jnp.log(0.5)), written(r2d2(penalty=0.5)), rtol=1e-9)


def test_the_penalty_is_learned_only_where_it_is_asked_for():
    held, learned = (gradient(learner, learner.init(PROBLEM.params)) for learner in (r2d2(), r2d2(learn_penalty=True)))
    assert held.log_penalty == 0 != learned.log_penalty
    assert held.scale != 0
    assert_close(held.params, learned.params)


def test_ridge_regression_of_values_fits_them_by_the_features():
    model = MLP(hidden=(6,), activation=jnp.tanh)
    features, head = split_head(model)
    params = model.init(KEY, jnp.ones((1, 1)))
    inputs = np.linspace(-2, 2, 30)[:, None]
    learner = jax_meta.r2d2(
        jax_meta.regression(model.apply), features=features, head=head, ways=None, penalty=1e-4, mean=False
    )
    meta_params = learner.init(optax.tree.cast(params, float))
    adapted = learner.adapt(meta_params, (inputs, np.sin(inputs)), KEY)
    columns = np.concatenate([features(meta_params.params, inputs), np.ones((30, 1))], axis=1)
    best = np.linalg.solve(columns.T @ columns + 1e-4 * np.eye(7), columns.T @ np.sin(inputs))
    assert_close(model.apply(adapted, inputs), columns @ best, rtol=1e-7)
    assert abs(columns @ best - np.sin(inputs)).max() < 0.1


@pytest.mark.parametrize(
    ("model", "shape", "width"),
    each(
        [
            (MLP(hidden=(3, 5), outputs=2), (4,), 5),
            (MLP(hidden=(), outputs=2), (4,), 4),
            (Conv4(2, 3), (16, 16, 1), 3),
            (Conv4(2, 3, "stride", "mean"), (20, 20, 1), 3),
            (ResNet12(2, (2, 3)), (8, 8, 3), 3),
            (SIREN((3, 5), 2), (2,), 5),
            (ResNet(2, (2, 4), groups=2), (8, 8, 3), 4),
        ],
        [(MLP(hidden=(3, 5), outputs=2), (4,), 5), (Conv4(2, 3), (16, 16, 1), 3)],
    ),
    ids=str,
)
def test_a_model_is_its_body_and_a_linear_head(model, shape, width):
    features, head = split_head(model)
    images = jnp.asarray(DRAW.normal(size=(5, *shape)))
    params = jax.jit(partial(model.init, KEY))(images)
    layer = params["params"][head.removeprefix("params/")]
    changed = {"params": params["params"] | {head.removeprefix("params/"): None}}

    @jax.jit
    def run(params, changed):
        return features(params, images), model.apply(params, images), features(changed, images)

    found, whole, without_head = map(np.asarray, run(params, changed))
    assert found.shape == (5, width)
    assert_close(whole, found @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), rtol=1e-5, atol=1e-6)
    assert_close(without_head, found)
