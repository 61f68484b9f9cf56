"""Models `apply(params, inputs)` and their losses; weights `[out, in, ...]`, images `[examples, channels, ...]`."""

from collections.abc import Callable

import torch
from torch.nn import functional

from tests.reference.inner import LossFn, Params

Apply = Callable[[Params, torch.Tensor], torch.Tensor]


def mlp(params: Params, inputs: torch.Tensor) -> torch.Tensor:
    """Two hidden ReLU layers and a linear one."""
    hidden = torch.relu(linear(params, "Dense_0", inputs))
    hidden = torch.relu(linear(params, "Dense_1", hidden))
    return linear(params, "Dense_2", hidden)


def convolution(params: Params, images: torch.Tensor) -> torch.Tensor:
    """A 3x3 convolution with tanh, the mean over space, and a linear layer."""
    features = functional.conv2d(images, params["Conv_0/kernel"], params["Conv_0/bias"], padding=1)
    return linear(params, "Dense_0", torch.tanh(features).mean(dim=(2, 3)))


def attention(params: Params, sequences: torch.Tensor) -> torch.Tensor:
    """One head of self-attention over `[examples, length, features]`, the mean over positions, and a linear layer."""
    query = linear(params, "query", sequences)
    key = linear(params, "key", sequences)
    value = linear(params, "value", sequences)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    attended = torch.softmax(scores, dim=-1) @ value
    return linear(params, "output", attended.mean(dim=1))


def linear(params: Params, layer: str, inputs: torch.Tensor) -> torch.Tensor:
    """x Wᵀ + b, with b where the layer has one."""
    return functional.linear(inputs, params[f"{layer}/kernel"], params.get(f"{layer}/bias"))


def squared_error(apply: Apply) -> LossFn:
    """The mean squared error on a batch `(inputs, targets)`."""

    def loss_fn(params, batch):
        inputs, targets = batch
        return ((apply(params, inputs) - targets) ** 2).mean()

    return loss_fn


def cross_entropy(apply: Apply) -> LossFn:
    """The mean of -log p(label) on a batch `(inputs, labels)`."""

    def loss_fn(params, batch):
        inputs, labels = batch
        return functional.cross_entropy(apply(params, inputs), labels)

    return loss_fn
