"""Networks with warp layers, which adaptation does not move, for WarpGrad."""

from collections.abc import Sequence

import flax.linen as nn

from jax_meta.networks.layers import Convolution, Dense
from jax_meta.networks.models import Conv4, ConvBlock

WARP = "*Warp*"


class WarpedMLP(nn.Module):
    """The sine network with a linear warp layer after each hidden one, which adaptation does not move."""

    hidden: Sequence[int] = (40, 40)

    @nn.compact
    def __call__(self, inputs):
        for layer, width in enumerate(self.hidden):
            inputs = nn.relu(Dense(width)(inputs))
            inputs = Dense(width, kernel_init=nn.initializers.orthogonal(), name=f"Warp_{layer}")(inputs)
        return Dense(1)(inputs)


class WarpedConv4(nn.Module):
    """Conv4 with a convolution after each block, which adaptation does not move."""

    plain: Conv4

    @nn.compact
    def __call__(self, images):
        for block in range(4):
            images = ConvBlock(self.plain.filters, self.plain.downsample, False)(images)
            images = Convolution(self.plain.filters, use_bias=False, name=f"Warp_{block}")(images)
        features = images.mean((1, 2)) if self.plain.head == "mean" else images.reshape(len(images), -1)
        return Dense(self.plain.ways)(features)
