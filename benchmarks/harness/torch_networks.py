"""The networks in PyTorch, as functions of a list of weights and as modules, and the meta-gradient as written first."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.harness.workloads import Tasks, Weights, Workload

Tensors = Sequence[torch.Tensor]
Gradient = Callable[[Tensors, Tasks], tuple[torch.Tensor, list[torch.Tensor]]]


def mlp(weights: Tensors, inputs: torch.Tensor) -> torch.Tensor:
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        inputs = functional.relu(functional.linear(inputs, weight, bias))
    return functional.linear(inputs, *weights[-2:])


def conv4(weights: Tensors, images: torch.Tensor) -> torch.Tensor:
    """`jax_meta.models.Conv4`, from the kernel and bias of each block and the weight and bias of the linear layer."""
    return functional.linear(conv4_features(weights[:-2], images), *weights[-2:])


def conv4_features(weights: Tensors, images: torch.Tensor) -> torch.Tensor:
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        images = functional.conv2d(images, kernel, padding=1)
        images = functional.max_pool2d(functional.relu(batch_norm(images, bias)), 2)
    return images.permute(0, 2, 3, 1).flatten(1)


def batch_norm(images: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalises by the statistics of the batch and adds a bias; without a scale it would lack a second derivative."""
    scale = torch.ones_like(bias, requires_grad=False)
    return functional.batch_norm(images, None, None, scale, bias, training=True)


class BatchNorm(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return batch_norm(images, self.bias)


class Flatten(nn.Module):
    """Features in the order of `jax_meta.models.Conv4`: channels last."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def to_torch(array: np.ndarray) -> torch.Tensor:
    """Kernels `[height, width, in, out]` to `[out, in, height, width]`, `[in, out]` to `[out, in]`; others stay."""
    axes = {4: (3, 2, 0, 1)}.get(array.ndim, range(array.ndim)[::-1])
    return torch.tensor(np.ascontiguousarray(array.transpose(axes)))


def from_torch(tensor: torch.Tensor) -> np.ndarray:
    axes = {4: (2, 3, 1, 0)}.get(tensor.ndim, range(tensor.ndim)[::-1])
    return tensor.detach().cpu().numpy().transpose(axes)


def layer_order(name: str) -> tuple[bool, str, bool]:
    """Sorts the paths of weights: blocks before linear layers, each weight before its bias; after MLP's and Conv4's."""
    return "Conv" not in name, name.split("/")[1], name.endswith("bias")


def weight_list(weights: Weights, device: str) -> list[torch.Tensor]:
    """Leaves that require gradients, in the order of the layers."""
    return [to_torch(weights[name]).to(device).requires_grad_() for name in sorted(weights, key=layer_order)]


def network(workload: Workload, weights: Weights, device: str) -> nn.Module:
    tensors = weight_list(weights, device)
    layers: list[nn.Module] = []
    for tensor in tensors[:-2:2]:
        if workload.model == "conv4":
            layers.append(nn.Conv2d(tensor.shape[1], len(tensor), 3, padding=1, bias=False))
            layers += [BatchNorm(len(tensor)), nn.ReLU(), nn.MaxPool2d(2)]
        else:
            layers += [nn.Linear(tensor.shape[1], len(tensor)), nn.ReLU()]
    layers += [Flatten()] if workload.model == "conv4" else []
    layers.append(nn.Linear(tensors[-2].shape[1], len(tensors[-2])))
    module = nn.Sequential(*layers).to(device, tensors[0].dtype)
    with torch.no_grad():
        for parameter, tensor in zip(module.parameters(), tensors, strict=True):
            parameter.copy_(tensor)
    return module


def criterion(workload: Workload) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return functional.mse_loss if workload.model == "mlp" else functional.cross_entropy


def tasks_to_torch(tasks: Tasks, device: str) -> Tasks:
    """Tensors, with images as PyTorch has them: `[num_tasks, examples, channels, height, width]`."""

    def convert(inputs: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        if inputs.ndim == 5:
            inputs = np.ascontiguousarray(np.moveaxis(inputs, -1, 2))
        return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)

    support, query = tasks
    return convert(*support), convert(*query)


def one_by_one(tasks: Tasks) -> Iterator[Tasks]:
    support, query = (zip(*batch, strict=True) for batch in tasks)
    return zip(support, query, strict=True)


def value_and_gradient(workload: Workload) -> Gradient:
    """`(weights, tasks) -> (mean query loss, meta-gradient)`: `autograd.grad` with `create_graph`, task by task."""
    forward, measure = mlp if workload.model == "mlp" else conv4, criterion(workload)

    def loss(weights: Tensors, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return measure(forward(weights, batch[0]), batch[1])

    def meta_gradient(weights: Tensors, tasks: Tasks) -> tuple[torch.Tensor, list[torch.Tensor]]:
        losses, totals = [], [torch.zeros_like(weight) for weight in weights]
        for support, query in one_by_one(tasks):
            adapted = list(weights)
            for _ in range(workload.inner_steps):
                slopes = torch.autograd.grad(loss(adapted, support), adapted, create_graph=workload.second_order)
                pairs = zip(adapted, slopes, strict=True)
                adapted = [weight - workload.learning_rate * slope for weight, slope in pairs]
            query_loss = loss(adapted, query)
            for total, slope in zip(totals, torch.autograd.grad(query_loss, weights), strict=True):
                total += slope / workload.num_tasks
            losses.append(query_loss.detach())
        return torch.stack(losses).mean(), totals

    return meta_gradient
