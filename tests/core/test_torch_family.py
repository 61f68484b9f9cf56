"""The family in PyTorch: meta-gradients of the same weights and tasks, in float64, to 1e-9 of each leaf's norm."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jax_meta
from jax_meta.networks.models import MLP
from tests import reference
from tests.reference import family

torch.set_num_threads(1)

STEP, WAYS = 0.1, 3
KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
CLASSIFIER = MLP(hidden=(4,), outputs=WAYS, activation=jnp.tanh)
REGRESSOR = MLP(hidden=(4,), activation=jnp.tanh)
WITH_CONTEXT = MLP(hidden=(4,), activation=jnp.tanh, context=2)
FEATURES, HEAD = jax_meta.models.split_head(CLASSIFIER)
GIVEN: dict[str, Any] = {"features": FEATURES, "head": HEAD, "ways": WAYS}
CROSS_ENTROPY, SQUARED_ERROR = reference.cross_entropy(family.network), reference.squared_error(family.network)
CLASSES, VALUES = jax_meta.classification(CLASSIFIER.apply), jax_meta.regression(REGRESSOR.apply)
WEIGHTS = [0.2, 0.3, 0.5]


def batch(examples, classes):
    inputs = DRAW.normal(size=(2, examples, 2))
    labels = np.broadcast_to(np.arange(examples) % WAYS, (2, examples))
    return inputs, labels if classes else np.sin(inputs.sum(axis=-1, keepdims=True))


TASKS = {
    kind: jax_meta.Task(batch(6, kind == "classes"), batch(9, kind == "classes")) for kind in ("classes", "values")
}


def drawn(model):
    shapes = jax.eval_shape(model.init, KEY, jnp.ones((1, 2)))
    return jax.tree.map(lambda leaf: DRAW.uniform(-1, 1, leaf.shape), shapes)


def flattened(tree):
    return reference.torch_params(tree["params"])


def of_body(params):
    return flattened(params)


def with_scale(meta_params):
    return flattened(meta_params.params) | {"scale": torch.tensor(np.asarray(meta_params.scale))}


def with_sizes(meta_params):
    sizes = reference.torch_params(meta_params.step_sizes["params"])
    return flattened(meta_params.params) | {f"sizes/{name}": leaf for name, leaf in sizes.items()}


SGD = optax.sgd(STEP)
CASES = {
    "protonet": (jax_meta.protonet(CLASSES, **GIVEN), CLASSIFIER, of_body, partial(family.protonet, WAYS)),
    "proto_maml": (
        jax_meta.proto_maml(CLASSES, SGD, num_steps=2, **GIVEN),
        CLASSIFIER,
        of_body,
        partial(family.proto_maml, CROSS_ENTROPY, STEP, 2, WAYS),
    ),
    "r2d2": (
        jax_meta.r2d2(CLASSES, penalty=0.5, scale=3.0, **GIVEN),
        CLASSIFIER,
        with_scale,
        partial(family.r2d2, WAYS, 0.5),
    ),
    "maml_plus_plus": (
        jax_meta.maml_plus_plus(VALUES, step_size=STEP, num_steps=3, weights=np.array(WEIGHTS)),
        REGRESSOR,
        with_sizes,
        partial(family.maml_plus_plus, SQUARED_ERROR, WEIGHTS),
    ),
    "cavia": (
        jax_meta.cavia(jax_meta.regression(WITH_CONTEXT.apply), SGD, num_steps=2),
        WITH_CONTEXT,
        of_body,
        partial(family.cavia, SQUARED_ERROR, STEP, 2),
    ),
    "leap": (
        jax_meta.leap(VALUES, SGD, num_steps=3),
        REGRESSOR,
        of_body,
        partial(family.leap, SQUARED_ERROR, STEP, 3),
    ),
}


def difference(left, right):
    assert left.keys() == right.keys()
    return max(float((left[name] - leaf).norm() / (leaf.norm() + (leaf.norm() == 0))) for name, leaf in right.items())


@pytest.mark.parametrize("name", CASES)
def test_meta_gradient(name):
    learner, model, as_torch, gradient_fn = CASES[name]
    tasks = TASKS["classes" if model is CLASSIFIER else "values"]
    meta_params = learner.init(jax.tree.map(jnp.asarray, drawn(model)))
    found, _ = jax.jit(partial(jax_meta.meta_gradient, learner))(meta_params, tasks, KEY)
    expected = reference.meta_gradient(gradient_fn, as_torch(meta_params), reference.torch_tasks(tasks))
    assert difference(as_torch(found), expected) < 1e-9
    scaled = {leaf: 1.001 * gradient for leaf, gradient in expected.items()}
    assert difference(scaled, expected) > 1e-4
