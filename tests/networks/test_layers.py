"""The image layers and networks are those of Flax, and their blocks those of the papers."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jax_meta.networks.layers import BatchNorm, Convolution, GroupNorm, batch_statistics, max_pool
from jax_meta.networks.models import MLP, Conv4, ConvBlock, ResNet, ResNet12

TOLERANCE = {"rtol": 1e-9, "atol": 1e-10}


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def random_like(params, seed=1):
    """Parameters of which none is at its special first value."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 1 + generator.normal(size=leaf.shape) / 2, params)


def shapes(model, inputs):
    return jax.eval_shape(model.init, jax.random.key(0), inputs)


def count(model, inputs):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(model, inputs)))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("strides", "padding"), [(1, "SAME"), (2, "VALID")])
def test_convolution_takes_the_parameters_of_flax(use_bias, strides, padding):
    theirs = nn.Conv(5, (3, 2), strides, padding, use_bias=use_bias)
    ours = Convolution(5, (3, 2), strides, padding, use_bias)
    inputs = images(2, 6, 7, 3)
    first = jax.jit(theirs.init)(jax.random.key(0), inputs)
    jax.tree.map(assert_array_equal, jax.jit(ours.init)(jax.random.key(0), inputs), first)
    params = random_like(first)
    assert_allclose(*(jax.jit(layer.apply)(params, inputs) for layer in (ours, theirs)), **TOLERANCE)


def test_batch_norm_is_layer_norm_over_batch_and_space():
    inputs = images(3, 4, 5, 2)
    ours = BatchNorm(use_scale=True)
    theirs = nn.LayerNorm(epsilon=1e-5, reduction_axes=(0, 1, 2), feature_axes=-1)
    params = random_like(shapes(ours, inputs))
    assert_allclose(*(jax.jit(layer.apply)(params, inputs) for layer in (ours, theirs)), **TOLERANCE)
    plain = np.asarray(jax.jit(BatchNorm().apply)({"params": {"bias": np.zeros(2)}}, inputs))
    assert_allclose(plain.mean((0, 1, 2)), 0, atol=1e-12)
    assert_allclose(plain.var((0, 1, 2)), 1, rtol=1e-4)


def test_batch_statistics_are_never_negative():
    constant = jnp.full((2, 3, 3, 1), 0.1, jnp.float32)
    assert batch_statistics(constant)[1] >= 0


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 6)])
def test_group_norm_is_that_of_flax(shape):
    inputs = images(*shape)
    ours, theirs = GroupNorm(3, epsilon=1e-3), nn.GroupNorm(3, epsilon=1e-3)
    params = random_like(shapes(ours, inputs))
    assert jax.tree.structure(params) == jax.tree.structure(shapes(theirs, inputs))

    def value_and_slopes(layer):
        return jax.jit(jax.value_and_grad(lambda *given: jnp.sin(layer.apply(*given)).sum(), (0, 1)))(params, inputs)

    jax.tree.map(lambda left, right: assert_allclose(left, right, **TOLERANCE), *map(value_and_slopes, (ours, theirs)))


def test_groups_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ValueError, match="groups must divide the 6 features, got 4"):
        shapes(GroupNorm(4), images(2, 3, 3, 6))


def test_a_convolution_with_standardised_weights_does_not_see_their_mean_and_scale():
    inputs, layer = images(2, 5, 5, 3), Convolution(4, use_bias=False, standardise=True)
    kernel = random_like(shapes(layer, inputs))["params"]["kernel"]
    mean, deviation = kernel.mean((0, 1, 2)), kernel.std((0, 1, 2))
    by_hand = Convolution(4, use_bias=False).apply({"params": {"kernel": (kernel - mean) / deviation}}, inputs)
    assert_allclose(layer.apply({"params": {"kernel": kernel}}, inputs), by_hand, rtol=1e-6, atol=1e-8)
    assert_allclose(layer.apply({"params": {"kernel": 3 * kernel + 1}}, inputs), by_hand, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (2, 5, 7, 3)])
def test_max_pool_is_flax_in_value_and_derivatives(shape):
    inputs, direction = images(*shape), images(*shape, seed=1)

    def curved(pool):
        return lambda inputs: jnp.sum(jnp.sin(pool(inputs)) ** 2)

    def theirs(inputs):
        return nn.max_pool(inputs, (2, 2), (2, 2))

    assert_array_equal(*(jax.jit(pool)(inputs) for pool in (max_pool, theirs)))

    @partial(jax.jit, static_argnums=0)
    def derivatives(pool, inputs):
        slope = jax.grad(curved(pool))
        return slope(inputs), jax.grad(lambda inputs: jnp.vdot(slope(inputs), direction))(inputs)

    for ours, other in zip(derivatives(max_pool, inputs), derivatives(theirs, inputs), strict=True):
        assert_allclose(ours, other, **TOLERANCE)


def test_max_pool_gives_a_tie_to_the_first():
    gradient = jax.jit(jax.grad(lambda inputs: max_pool(inputs).sum()))
    assert_array_equal(gradient(jnp.zeros((1, 2, 2, 1)))[0, ..., 0], [[1, 0], [0, 0]])
    assert_array_equal(gradient(jnp.array([0.0, 2, 2, 2]).reshape(1, 2, 2, 1))[0, ..., 0], [[0, 1], [0, 0]])


@pytest.mark.parametrize("use_scale", [True, False])
def test_pooling_before_normalisation_changes_nothing(use_scale):
    """The block as the papers write it: convolution, normalisation, ReLU, pooling; with negative scales, too."""
    block = ConvBlock(4, "pool", use_scale)
    inputs = images(3, 6, 6, 2)
    parts = random_like(shapes(block, inputs))["params"]
    if use_scale:
        parts["BatchNorm_0"]["scale"] = np.array([-1.0, 2, 0.5, -0.1])

    def written_out(params, inputs):
        convolved = nn.Conv(4, (3, 3), use_bias=False).apply({"params": params["Convolution_0"]}, inputs)
        normal = BatchNorm(use_scale).apply({"params": params["BatchNorm_0"]}, convolved)
        return nn.max_pool(nn.relu(normal), (2, 2), (2, 2))

    def value_and_gradient(function, parts):
        return function(parts, inputs), jax.grad(lambda parts: jnp.sum(function(parts, inputs) ** 2))(parts)

    ours = value_and_gradient(lambda parts, inputs: block.apply({"params": parts}, inputs), parts)
    jax.tree.map(lambda a, b: assert_allclose(a, b, **TOLERANCE), ours, value_and_gradient(written_out, parts))


def test_sizes_of_the_networks():
    """Counted by hand: kernels 9 c f, a bias a feature, and the linear layer."""
    grey, colour = np.zeros((1, 28, 28, 1)), np.zeros((1, 84, 84, 3))
    blocks = 9 * 64 + 3 * 9 * 64 * 64 + 4 * 64
    assert count(Conv4(5, downsample="stride", head="mean"), grey) == blocks + 64 * 5 + 5
    assert count(Conv4(5, downsample="stride"), grey) == blocks + 4 * 64 * 5 + 5
    assert count(Conv4(5), grey) == blocks + 64 * 5 + 5
    assert count(Conv4(5, use_scale=True), grey) == blocks + 4 * 64 + 64 * 5 + 5
    pooled = 9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 32 + 25 * 32 * 5 + 5
    assert count(Conv4(5, 32), colour) == pooled
    dense = 784 * 256 + 256 * 128 + 128 * 64 + 64 * 64 + 2 * (256 + 128 + 64 + 64) + 64 * 5 + 5
    assert count(MLP((256, 128, 64, 64), 5, normalise=True), grey) == dense


def test_resnet12_is_three_convolutions_and_a_shortcut_a_block():
    widths, inputs = (2, 3), images(2, 8, 8, 3)
    model = ResNet12(5, widths)
    params = random_like(shapes(model, inputs))

    def written_out(params, inputs):
        parts, layers = params["params"], 0
        outputs = inputs
        for width in widths:
            block = []
            for kernel in ((1, 1), (3, 3), (3, 3), (3, 3)):
                source = outputs if len(block) < 2 else block[-1]
                convolution = nn.Conv(width, kernel, use_bias=False)
                convolved = convolution.apply({"params": parts[f"Convolution_{layers}"]}, source)
                block.append(BatchNorm(True).apply({"params": parts[f"BatchNorm_{layers}"]}, convolved))
                if len(block) in (2, 3):
                    block[-1] = jnp.where(block[-1] > 0, block[-1], 0.1 * block[-1])
                layers += 1
            total = block[-1] + block[0]
            outputs = nn.max_pool(jnp.where(total > 0, total, 0.1 * total), (2, 2), (2, 2))
        return outputs.mean((1, 2)) @ parts["Dense_0"]["kernel"] + parts["Dense_0"]["bias"][None]

    assert_allclose(*(jax.jit(network)(params, inputs) for network in (model.apply, written_out)), **TOLERANCE)
    assert count(ResNet12(5), np.zeros((1, 32, 32, 3))) == 12_424_320 + 5 * 641


def test_resnet_is_a_stem_and_basic_blocks_of_which_all_but_the_first_halve_the_size():
    widths, inputs = (4, 4, 6), images(2, 8, 8, 3)
    model = ResNet(5, widths, groups=2)
    params = random_like(shapes(model, inputs))

    def written_out(params, inputs):
        parts = params["params"]

        def layer(index, source, strides=1):
            kernel = parts[f"Convolution_{index}"]["kernel"]
            kernel = (kernel - kernel.mean((0, 1, 2), keepdims=True)) / kernel.std((0, 1, 2), keepdims=True)
            convolution = nn.Conv(kernel.shape[3], kernel.shape[:2], strides, use_bias=False)
            convolved = convolution.apply({"params": {"kernel": kernel}}, source)
            return nn.GroupNorm(2, epsilon=1e-5).apply({"params": parts[f"GroupNorm_{index}"]}, convolved)

        first = nn.max_pool(nn.relu(layer(0, inputs)), (2, 2), (2, 2))  # 4 by 4
        first = nn.relu(first + layer(2, nn.relu(layer(1, first))))  # 4 by 4
        second = nn.relu(layer(5, first, 2) + layer(4, nn.relu(layer(3, first, 2))))  # 2 by 2
        third = nn.relu(layer(8, second, 2) + layer(7, nn.relu(layer(6, second, 2))))  # 1 by 1
        return third.mean((1, 2)) @ parts["Dense_0"]["kernel"] + parts["Dense_0"]["bias"][None]

    assert_allclose(*(jax.jit(network)(params, inputs) for network in (model.apply, written_out)), **TOLERANCE)
    assert round(count(ResNet(5), np.zeros((1, 32, 32, 3))) / 1e6, 2) == 0.31


def test_an_example_means_the_same_to_resnet_whatever_is_beside_it():
    inputs, model = images(4, 8, 8, 3), ResNet(5, (4, 6), groups=2)
    params = random_like(shapes(model, inputs))
    apply = jax.jit(model.apply)
    assert_allclose(apply(params, inputs)[:1], apply(params, inputs[:1]), **TOLERANCE)


def test_a_head_that_starts_at_zero_says_the_same_of_all_classes():
    inputs, model = images(2, 8, 8, 3), ResNet(5, (4, 6), groups=2, zero_head=True)
    logits, params = jax.jit(model.init_with_output)(jax.random.key(0), inputs)
    assert_array_equal(logits, 0)

    def first_logit(head):
        return model.apply({"params": params["params"] | {"Dense_0": head}}, inputs)[:, 0].sum()

    slopes = jax.jit(jax.grad(first_logit))(params["params"]["Dense_0"])["kernel"]
    assert (np.abs(slopes[:, 0]) > 0).any()


def test_single_precision_stays_single():
    model, inputs = Conv4(3, 4), jnp.zeros((2, 16, 16, 1), jnp.float32)
    params = shapes(model, inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(params["params"]["ConvBlock_0"])} == {jnp.dtype("float32")}
    block = ConvBlock(4, "stride", True)
    assert jax.eval_shape(block.init_with_output, jax.random.key(0), inputs)[0].dtype == jnp.float32
