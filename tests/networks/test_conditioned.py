"""A residual network with GroupNorm and FiLM, under MAML: of our layers, of Flax's, and by central differences."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.networks.layers import Convolution, Dense, max_pool
from tests.learners import assert_close

KEY = jax.random.key(0)
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "glu": lambda inputs: inputs * nn.sigmoid(inputs[..., ::-1]),
}


class Conditioned(nn.Module):
    """One block, scaled and shifted by what a dense layer makes of each image (Perez et al., arXiv:1709.07871)."""

    activation: str
    ours: bool

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        dense = partial(Dense if self.ours else nn.Dense, param_dtype=float)
        convolution = partial(Convolution if self.ours else nn.Conv, use_bias=False, param_dtype=float)
        pool = max_pool if self.ours else partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
        activation = ACTIVATIONS[self.activation]
        scale, shift = jnp.split(dense(8, name="film")(jnp.tanh(images.mean((1, 2))))[:, None, None], 2, -1)
        stem = convolution(4, (3, 3), name="stem")(images)
        branch = activation(nn.GroupNorm(2, param_dtype=float)(stem) * (1 + scale) + shift)
        branch = nn.GroupNorm(2, param_dtype=float)(convolution(4, (3, 3), name="branch")(branch))
        return dense(3, name="head")(pool(stem + activation(branch)).mean((1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_meta_gradients_are_those_of_flax_and_of_differences(activation):
    rng = np.random.default_rng(0)
    labels = jnp.array([[0, 1, 2], [2, 0, 1]])
    tasks = jax_meta.Task(*((jnp.asarray(rng.normal(size=(2, 3, 4, 4, 2))), labels) for _ in range(2)))
    shapes = jax.eval_shape(Conditioned(activation, True).init, KEY, tasks.support[0][0])
    params, direction = (jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes) for _ in range(2))

    def gradient_and_loss(ours, params):
        loss_fn = jax_meta.classification(Conditioned(activation, ours).apply)
        learner = jax_meta.maml(loss_fn, optax.sgd(0.3), num_steps=1)
        gradient, metrics = jax_meta.meta_gradient(learner, params, tasks, KEY, task_batch_size=1 if ours else None)
        return gradient, metrics["loss"]

    of_ours, of_flax = (jax.jit(partial(gradient_and_loss, ours)) for ours in (True, False))
    gradient, loss = of_ours(params)
    assert_close((gradient, loss), of_flax(params), rtol=1e-10, atol=1e-12)
    ahead, behind = (of_ours(optax.tree.add_scale(params, step, direction))[1] for step in (1e-6, -1e-6))
    given = float(optax.tree.vdot(gradient, direction))
    assert float((ahead - behind) / 2e-6) == pytest.approx(given, rel=1e-6)
