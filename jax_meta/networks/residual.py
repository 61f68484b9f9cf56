"""Residual networks: of few-shot learning, normalised by the batch; for transfer, each example by itself."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jax_meta.base import PyTree
from jax_meta.networks.layers import BatchNorm, Convolution, Dense, GroupNorm, max_pool


class ResNet12(nn.Module):
    """The residual network of few-shot learning: four blocks of three convolutions, then the mean over space.

    Widths and activation are those of Lee, Maji, Ravichandran, Soatto, arXiv:1904.03758, without their DropBlock.

    Attributes:
        ways: the number of outputs; None leaves the head out, and its features are what comes out.
        widths: the features of each block. Default: 64, 160, 320, 640.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model = jax_meta.models.ResNet12(ways=5, widths=(4, 8))
        >>> logits = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones((3, 32, 32, 3)))[0]
        >>> assert logits.shape == (3, 5)
    """

    ways: int | None
    widths: Sequence[int] = (64, 160, 320, 640)

    @nn.compact
    def __call__(self, images: jax.Array) -> PyTree:
        """`[examples, height, width, channels]` to logits `[examples, ways]`, or to features."""
        for width in self.widths:
            shortcut = BatchNorm(use_scale=True)(Convolution(width, (1, 1), use_bias=False)(images))
            for layer in range(3):
                images = BatchNorm(use_scale=True)(Convolution(width, use_bias=False)(images))
                images = leaky_relu(images + shortcut if layer == 2 else images)
            images = max_pool(images)
        features = images.mean((1, 2))
        return features if self.ways is None else Dense(self.ways)(features)


class ResNet(nn.Module):
    """A small residual network of basic blocks with `GroupNorm` and standardised weights, for transfer.

    A convolution of 3 by 3, pooling, one block of two convolutions a width, of which all but the first halve the size,
    and the mean over space. The blocks are those of Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun,
    arXiv:1512.03385; that normalisation and weights of this kind suit transfer is from Kolesnikov et al.,
    arXiv:1912.11370. No example depends on another, and there is nothing but parameters.

    Attributes:
        ways: the number of outputs; None leaves the head out, and its features are what comes out.
        widths: the features of each block. Default: 32, 64, 128, which is 0.31 million parameters.
        groups: of the normalisation, a divisor of every width. Default: 8.
        zero_head: whether the head starts at zero, so that the order of the labels has no effect. Default: False.

    Raises:
        ValueError: if `groups` does not divide a width.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model = jax_meta.models.ResNet(ways=5, widths=(8, 16), zero_head=True)
        >>> logits = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones((3, 32, 32, 3)))[0]
        >>> assert logits.shape == (3, 5)
    """

    ways: int | None
    widths: Sequence[int] = (32, 64, 128)
    groups: int = 8
    zero_head: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> PyTree:
        """`[examples, height, width, channels]` to logits `[examples, ways]`, or to features."""

        def normalised(images, width, kernel=3, strides=1):
            layer = Convolution(width, (kernel, kernel), strides, use_bias=False, standardise=True)
            return GroupNorm(self.groups)(layer(images))

        images = max_pool(nn.relu(normalised(images, self.widths[0])))
        for block, width in enumerate(self.widths):
            strides = 2 if block else 1
            residual = normalised(nn.relu(normalised(images, width, strides=strides)), width)
            if residual.shape != images.shape:
                images = normalised(images, width, kernel=1, strides=strides)
            images = nn.relu(images + residual)
        features = images.mean((1, 2))
        if self.ways is None:
            return features
        options: dict[str, Any] = {"kernel_init": nn.initializers.zeros} if self.zero_head else {}
        return Dense(self.ways, **options)(features)


def leaky_relu(inputs: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.1."""
    return nn.leaky_relu(inputs, 0.1)
