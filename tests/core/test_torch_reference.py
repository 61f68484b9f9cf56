"""The same weights and tasks, in float64, give the meta-gradients and the trajectories of a PyTorch implementation.

Differences are relative and judged leaf by leaf: the norm of a leaf's difference over the norm of the reference's leaf.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jax_meta
from benchmarks.sinusoid.methods import published
from tests import reference
from tests.tiers import each

torch.set_num_threads(1)

SHOTS, QUERIES = 6, 5
LEARNERS = [("transfer", 1), ("maml", 1), ("maml", 5), ("fomaml", 3), ("reptile", 3)]
OPTIMIZERS = {
    "sgd": (optax.sgd(0.01), reference.sgd(0.01)),
    "momentum": (optax.sgd(0.01, momentum=0.9), reference.momentum(0.01, decay=0.9)),
    "adam": (optax.adam(0.01, eps_root=1e-8), reference.adam(0.01, eps_root=1e-8)),
}


class Model(NamedTuple):
    """A model in both libraries, the shapes of its weights, and `(generator, leading axes, examples) -> batch`."""

    loss_fn: jax_meta.LossFn
    reference_loss_fn: Callable
    shapes: dict
    sample: Callable


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, images):
        features = nn.tanh(nn.Conv(4, (3, 3))(images))
        return nn.Dense(3)(features.mean(axis=(1, 2)))


def attention(params, sequences):
    query, key, value = (sequences @ params[name]["kernel"] for name in ("query", "key", "value"))
    scores = jnp.einsum("eqf,ekf->eqk", query, key) / query.shape[-1] ** 0.5
    attended = jnp.einsum("eqk,ekf->eqf", jax.nn.softmax(scores), value).mean(axis=1)
    return attended @ params["output"]["kernel"] + params["output"]["bias"][None]


def linen(module: nn.Module) -> Callable:
    return lambda params, inputs: module.apply({"params": params}, inputs)


def sample_sines(generator, leading, examples):
    amplitude = generator.uniform(0.1, 5.0, (*leading, 1, 1))
    phase = generator.uniform(0.0, 2 * np.pi, (*leading, 1, 1))
    inputs = generator.uniform(-5.0, 5.0, (*leading, examples, 1))
    return inputs, amplitude * np.sin(inputs + phase)


def sample_images(generator, leading, examples):
    return generator.normal(size=(*leading, examples, 8, 8, 2)), generator.integers(3, size=(*leading, examples))


def sample_sequences(generator, leading, examples):
    return generator.normal(size=(*leading, examples, 5, 3)), generator.normal(size=(*leading, examples, 1))


def dense(inputs: int, outputs: int) -> dict:
    return {"kernel": (inputs, outputs), "bias": (outputs,)}


MODELS = {
    "mlp": Model(
        jax_meta.regression(linen(jax_meta.models.MLP())),
        reference.squared_error(reference.mlp),
        {"Dense_0": dense(1, 40), "Dense_1": dense(40, 40), "Dense_2": dense(40, 1)},
        sample_sines,
    ),
    "convolution": Model(
        jax_meta.classification(linen(Convolution())),
        reference.cross_entropy(reference.convolution),
        {"Conv_0": {"kernel": (3, 3, 2, 4), "bias": (4,)}, "Dense_0": dense(4, 3)},
        sample_images,
    ),
    "attention": Model(
        jax_meta.regression(attention),
        reference.squared_error(reference.attention),
        {"query": {"kernel": (3, 4)}, "key": {"kernel": (3, 4)}, "value": {"kernel": (3, 4)}, "output": dense(4, 1)},
        sample_sequences,
    ),
}


def sample_weights(model: Model) -> Any:
    generator = np.random.default_rng(0)

    def sample(shape):
        return generator.uniform(-1.0, 1.0, shape) / np.sqrt(np.prod(shape[:-1]))

    return jax.tree.map(sample, model.shapes, is_leaf=lambda node: isinstance(node, tuple))


def sample_tasks(model: Model, *leading: int) -> jax_meta.Task:
    batch = model.sample(np.random.default_rng(1), leading, SHOTS + QUERIES)
    return jax_meta.Task(*zip(*(np.split(leaf, [SHOTS], axis=len(leading)) for leaf in batch), strict=True))


def jax_gradient(learner: jax_meta.MetaLearner, model: Model) -> dict[str, torch.Tensor]:
    compiled = jax.jit(partial(jax_meta.meta_gradient, learner))
    gradient, _ = compiled(sample_weights(model), sample_tasks(model, 3), jax.random.key(0))
    return reference.torch_params(gradient)


def torch_gradient(gradient_fn: Callable, model: Model) -> dict[str, torch.Tensor]:
    params = reference.torch_params(sample_weights(model))
    return reference.meta_gradient(gradient_fn, params, reference.torch_tasks(sample_tasks(model, 3)))


def relative_difference(params: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert params.keys() == expected.keys()
    return float(torch.stack([(params[name] - leaf).norm() / leaf.norm() for name, leaf in expected.items()]).max())


def both_learners(name: str, optimizer: str, num_steps: int, model: Model) -> tuple[jax_meta.MetaLearner, Callable]:
    inner, reference_inner = OPTIMIZERS[optimizer]
    return (
        getattr(jax_meta, name)(model.loss_fn, inner, num_steps=num_steps),
        partial(getattr(reference, name), model.reference_loss_fn, reference_inner, num_steps),
    )


@pytest.mark.parametrize(
    ("model", "name", "num_steps"),
    each(
        [(model, *learner) for model in MODELS for learner in LEARNERS],
        [
            *(("mlp", *learner) for learner in LEARNERS),
            *(("convolution", "maml", 5), ("convolution", "reptile", 3)),
            *(("attention", "maml", 5), ("attention", "fomaml", 3)),
        ],
    ),
)
def test_meta_gradient(model, name, num_steps):
    model = MODELS[model]
    learner, gradient_fn = both_learners(name, "sgd", num_steps, model)
    assert relative_difference(jax_gradient(learner, model), torch_gradient(gradient_fn, model)) < 1e-9


@pytest.mark.parametrize(
    ("optimizer", "name"),
    each(
        product(["momentum", "adam"], ["maml", "fomaml", "reptile"]),
        [("momentum", "maml"), ("adam", "reptile")],
    ),
)
def test_meta_gradient_through_inner_optimizer(optimizer, name):
    model = MODELS["mlp"]
    learner, gradient_fn = both_learners(name, optimizer, 3, model)
    assert relative_difference(jax_gradient(learner, model), torch_gradient(gradient_fn, model)) < 1e-9


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_first_order_differs_from_second(model):
    second, first = (torch_gradient(both_learners(name, "sgd", 5, model)[1], model) for name in ("maml", "fomaml"))
    assert relative_difference(first, second) > 1e-3


@pytest.mark.parametrize("name", each(["transfer", "maml", "fomaml", "reptile"], ["maml"]))
def test_trajectory(name):
    model = MODELS["mlp"]
    learner, gradient_fn = both_learners(name, "sgd", 3, model)
    params, tasks, outer = sample_weights(model), sample_tasks(model, 50, 3), optax.adam(1e-3)
    state = jax_meta.init(learner, outer, params, jax.random.key(0))
    state, _ = jax_meta.fit_tasks(learner, outer, tasks, state)
    steps = [reference.torch_tasks(jax.tree.map(itemgetter(step), tasks)) for step in range(50)]
    expected = reference.fit(gradient_fn, 1e-3, reference.torch_params(params), steps)
    assert relative_difference(reference.torch_params(state.params), expected) < 1e-9


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_published(name):
    model = MODELS["mlp"]
    learner, _ = both_learners(name, "sgd", 1, model)
    gradient_fn = partial(reference.published, model.reference_loss_fn, 0.01, name == "fomaml")
    gradient = jax_gradient(published(learner, model.loss_fn), model)
    assert relative_difference(gradient, torch_gradient(gradient_fn, model)) < 1e-9
