"""Losses against NumPy, for every way to write a model; and how the networks start."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jax_meta
from jax_meta.networks.models import MLP, uniform_fan_in
from tests.learners import assert_close, sines

KEY = jax.random.key(0)
NETWORK = MLP(hidden=(3,), outputs=2, activation=jnp.tanh)
WEIGHTS = jax.tree.map(lambda leaf: np.asarray(leaf, float), jax.jit(NETWORK.init)(KEY, np.ones((1, 4))))


def plain_apply(params, inputs):
    first, second = params["params"]["Dense_0"], params["params"]["Dense_1"]
    hidden = jnp.tanh(inputs @ first["kernel"] + first["bias"][None])
    return hidden @ second["kernel"] + second["bias"][None]


class NNXNetwork(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 3, rngs=rngs, param_dtype=float)
        self.second = nnx.Linear(3, 2, rngs=rngs, param_dtype=float)

    def __call__(self, inputs):
        return self.second(jnp.tanh(self.first(inputs)))


def nnx_model():
    """The module's graph and its weights apart, as `nnx.split` gives them, with the weights of `WEIGHTS`."""
    graph, state = nnx.split(NNXNetwork(nnx.Rngs(0)))
    weights = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(WEIGHTS))  # both sort layers and arrays
    return (lambda state, inputs: nnx.merge(graph, state)(inputs)), weights


MODELS = {"linen": (NETWORK.apply, WEIGHTS), "plain": (plain_apply, WEIGHTS), "nnx": nnx_model()}


def random_task(targets):
    inputs = np.random.default_rng(0).normal(size=(2, 6, 4))
    return jax_meta.Task(*((inputs[i], targets[i]) for i in range(2)))


def numpy_predictions(inputs):
    first, second = (jax.tree.map(np.asarray, layer) for layer in WEIGHTS["params"].values())
    return np.tanh(inputs @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]


@pytest.mark.parametrize("model", MODELS)
def test_regression_is_the_mean_squared_error(model):
    apply, params = MODELS[model]
    targets = np.random.default_rng(1).normal(size=(2, 6, 2))
    inputs, targets = random_task(targets).support
    loss, metrics = jax.jit(jax_meta.regression(apply))(params, (inputs, targets), KEY)
    np.testing.assert_allclose(loss, np.mean((numpy_predictions(inputs) - targets) ** 2), rtol=1e-13)
    assert metrics == {"loss": loss}


@pytest.mark.parametrize("model", MODELS)
def test_classification_is_the_mean_cross_entropy_in_nats(model):
    apply, params = MODELS[model]
    inputs, labels = random_task(np.random.default_rng(2).integers(2, size=(2, 6))).support
    loss, metrics = jax.jit(jax_meta.classification(apply))(params, (inputs, labels), KEY)
    logits = numpy_predictions(inputs)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loss, -np.mean(np.log(probabilities[np.arange(6), labels])), rtol=1e-13)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(axis=1) == labels))
    assert 0 < metrics["accuracy"] < 1


@pytest.mark.parametrize("model", ["plain", "nnx"])
def test_maml_does_not_care_how_a_model_is_written(model):
    task = random_task(np.random.default_rng(1).normal(size=(2, 6, 2)))

    def gradient(model):
        apply, params = MODELS[model]
        learner = jax_meta.maml(jax_meta.regression(apply), optax.sgd(0.1), num_steps=2)
        return jax.tree.leaves(jax.jit(learner.gradient)(params, task, KEY)[0])

    assert_close(gradient(model), gradient("linen"))


def test_the_sine_network_starts_as_pytorch_s_linear_layers_do():
    """Weights and biases uniform in ±1/√fan_in: variance 1 / (3 fan_in), checked within five standard errors."""
    model = MLP()
    init = jax.jit(jax.vmap(lambda key: model.init(key, jnp.ones((1, 1)))))
    layers = jax.tree.map(np.asarray, init(jax.random.split(KEY, 400)))["params"]
    assert sum(leaf[0].size for leaf in jax.tree.leaves(layers)) == 1761
    for (name, layer), fan_in in zip(layers.items(), (1, 40, 40), strict=True):
        for kind, leaf in layer.items():
            bound = fan_in**-0.5
            assert bound * 0.99 < np.abs(leaf).max() <= bound, (name, kind)
            standard_error = bound / np.sqrt(3 * leaf.size)
            assert np.abs(leaf.mean()) < 5 * standard_error, (name, kind)
            # the variance of u² for u uniform in ±c is 4 c⁴ / 45
            assert np.abs((leaf**2).mean() - bound**2 / 3) < 5 * bound**2 * np.sqrt(4 / 45 / leaf.size), (name, kind)


def test_uniform_fan_in_is_uniform():
    drawn = np.sort(uniform_fan_in(4)(KEY, (10_000,)))
    distance = np.abs((drawn + 0.5) - (np.arange(10_000) + 0.5) / 10_000).max()
    assert distance < 2 / 100  # Kolmogorov-Smirnov: passed by one uniform sample of 10,000 in 1,500


def test_parameters_are_a_network_s_only_state():
    assert set(WEIGHTS) == {"params"}
    assert isinstance(NETWORK, nn.Module)
    assert sines().params["params"].keys() == {"Dense_0", "Dense_1"}
