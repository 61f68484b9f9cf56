"""Flax Linen modules whose parameters are their only state."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax

from jax_meta.arguments import named
from jax_meta.base import PyTree
from jax_meta.checks import check_choice
from jax_meta.networks.layers import (
    BatchNorm,
    Context,
    Convolution,
    Dense,
    FiLM,
    batch_statistics,
    max_pool,
)
from jax_meta.networks.residual import ResNet, ResNet12
from jax_meta.networks.siren import SIREN, uniform

__all__ = ["MLP", "SIREN", "Conv4", "ConvBlock", "ResNet", "ResNet12", "split_head", "uniform_fan_in"]


def __dir__() -> list[str]:
    return __all__


def uniform_fan_in(fan_in: int) -> Callable[..., jax.Array]:
    """An initializer uniform in ±1/√fan_in: PyTorch's default for the weights and biases of a linear layer.

    Args:
        fan_in: the number of inputs of the layer, 1 or more.

    Returns:
        `(key, shape, dtype) -> array`, as `flax.linen.Module.param` takes it.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> weights = jax_meta.models.uniform_fan_in(4)(jax.random.key(0), (4, 10))
        >>> assert (jnp.abs(weights) <= 1 / 2).all()
    """

    return uniform(fan_in**-0.5)


class MLP(nn.Module):
    """A multilayer perceptron; the default is the sine network of the MAML paper, 1-40-40-1 with ReLU.

    Weights and biases start uniform in ±1/√fan_in, as the post's PyTorch layers do. The MAML paper's network without
    convolution for Omniglot is `MLP(hidden=(256, 128, 64, 64), outputs=ways, normalise=True)`.

    Attributes:
        hidden: the widths of the hidden layers.
        outputs: the number of outputs; None leaves the head out, and the last hidden layer is what comes out.
        activation: applied after each hidden layer.
        normalise: whether to apply `BatchNorm` before each activation. Default: False.
        context: how many numbers of a `Context` join the inputs, for `jax_meta.cavia`. Default: 0.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model = jax_meta.models.MLP(hidden=(16,), outputs=2)
        >>> outputs, params = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones((5, 3)))
        >>> assert outputs.shape == (5, 2) and set(params) == {"params"}
    """

    hidden: Sequence[int] = (40, 40)
    outputs: int | None = 1
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    normalise: bool = False
    context: int = 0

    @nn.compact
    def __call__(self, inputs: jax.Array) -> PyTree:
        """`[examples, ...]`, flattened to features, to `[examples, outputs]`."""
        inputs = inputs.reshape(len(inputs), -1)
        if self.context:
            inputs = Context(self.context)(inputs)
        for width in self.hidden:
            inputs = linear(inputs, width)
            inputs = self.activation(BatchNorm()(inputs) if self.normalise else inputs)
        return inputs if self.outputs is None else linear(inputs, self.outputs)


def linear(inputs: jax.Array, width: int) -> jax.Array:
    """A dense layer with PyTorch's default initialization; call it inside a compact Linen method."""
    initializer = uniform_fan_in(inputs.shape[-1])
    return Dense(width, kernel_init=initializer, bias_init=initializer)(inputs)


class Conv4(nn.Module):
    """Four blocks of 3 by 3 convolution, `BatchNorm` and ReLU, and a linear layer: the network of few-shot learning.

    On Omniglot the MAML and Reptile papers use stride 2 and 64 filters, MAML then the mean over space
    (`Conv4(5, downsample="stride", head="mean")`); on mini-ImageNet both pool, with 32 filters (`Conv4(5, 32)`).

    Attributes:
        ways: the number of outputs; None leaves the head out, and its features are what comes out.
        filters: the features of each block. Default: 64.
        downsample: "pool" for 2 by 2 max-pooling after each convolution, "stride" for convolutions of stride 2.
            Default: "pool".
        head: "flatten", or "mean" over space, before the linear layer. Default: "flatten".
        use_scale: whether normalisation learns a scale, as in the Reptile code. Default: False, as in the MAML code.
        context: how many numbers a `FiLM` of the third block has, before its ReLU, for `jax_meta.cavia`. Default: 0.

    Raises:
        ValueError: for another `downsample` or `head`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model = jax_meta.models.Conv4(ways=5, filters=8, downsample="stride", head="mean")
        >>> logits = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones((3, 28, 28, 1)))[0]
        >>> assert logits.shape == (3, 5)
    """

    ways: int | None
    filters: int = 64
    downsample: Literal["pool", "stride"] = "pool"
    head: Literal["flatten", "mean"] = "flatten"
    use_scale: bool = False
    context: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> PyTree:
        """`[examples, height, width, channels]` to logits `[examples, ways]`, or to features."""
        check_choice("head", self.head, ("flatten", "mean"))
        for block in range(4):
            images = ConvBlock(self.filters, self.downsample, self.use_scale, self.context if block == 2 else 0)(images)
        features = images.mean((1, 2)) if self.head == "mean" else images.reshape(len(images), -1)
        return features if self.ways is None else Dense(self.ways)(features)


class ConvBlock(nn.Module):
    """Convolution, normalisation and ReLU, at half the size.

    Attributes:
        filters: as in `Conv4`.
        downsample: as in `Conv4`.
        use_scale: as in `Conv4`.
        context: how many numbers a `FiLM` before the ReLU has. Default: 0, which is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> block = jax_meta.models.ConvBlock(filters=8, downsample="pool", use_scale=False)
        >>> outputs = jax.eval_shape(block.init_with_output, jax.random.key(0), jnp.ones((3, 28, 28, 1)))[0]
        >>> assert outputs.shape == (3, 14, 14, 8)
    """

    filters: int
    downsample: Literal["pool", "stride"]
    use_scale: bool
    context: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """`[examples, height, width, channels]` to `[examples, height / 2, width / 2, filters]`."""
        check_choice("downsample", self.downsample, ("pool", "stride"))
        strides = 2 if self.downsample == "stride" else 1
        images = Convolution(self.filters, strides=strides, use_bias=False)(images)
        statistics = batch_statistics(images)
        pool_last = self.downsample == "pool" and self.use_scale
        if self.downsample == "pool" and not pool_last:
            images = max_pool(images)  # exact, since what follows increases, and it follows on a quarter of the numbers
        images = BatchNorm(self.use_scale)(images, statistics)
        if self.context:
            images, pool_last = FiLM(self.context)(max_pool(images) if pool_last else images), False
        images = nn.relu(images)
        return max_pool(images) if pool_last else images


def split_head(model: nn.Module) -> tuple[Callable[..., Any], str]:
    """The body of a model and the path of its head: what `jax_meta.protonet`, `proto_maml` and `r2d2` need.

    Args:
        model: an `MLP`, `SIREN`, `Conv4`, `ResNet` or `ResNet12` with a head.

    Returns:
        `(params, inputs) -> [examples, features]`, which reads nothing of the head; and a path, as "params/Dense_0".

    Raises:
        TypeError: for another model, or one without a head: give those learners a function and a path of your own.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> features, head = jax_meta.models.split_head(jax_meta.models.MLP(hidden=(8,), outputs=5))
        >>> params = jax_meta.models.MLP(hidden=(8,), outputs=None).init(jax.random.key(0), jnp.ones((3, 2)))
        >>> assert features(params, jnp.ones((3, 2))).shape == (3, 8) and head == "params/Dense_1"
    """
    if isinstance(model, MLP | SIREN) and model.outputs is not None:
        return model.clone(outputs=None).apply, f"params/Dense_{len(model.hidden)}"
    if isinstance(model, Conv4 | ResNet | ResNet12) and model.ways is not None:
        return model.clone(ways=None).apply, "params/Dense_0"
    raise TypeError(
        f"split_head knows MLP, SIREN, Conv4, ResNet and ResNet12 with a head, got {named(model)}: give the learner "
        "features=(params, inputs) -> [examples, features] and the head's path, such as 'params/Dense_2'."
    )
