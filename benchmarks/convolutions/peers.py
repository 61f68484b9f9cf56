"""The same meta-gradient in two other ways: plain Flax under `vmap`, and PyTorch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from jax_meta import Task


class NaiveConv4(nn.Module):
    """`jax_meta.models.Conv4` from Flax's own layers, with its parameters in the same order."""

    ways: int
    filters: int

    @nn.compact
    def __call__(self, images):
        """`[examples, height, width, channels]` to logits `[examples, ways]`."""
        for _ in range(4):
            images = nn.Conv(self.filters, (3, 3), use_bias=False)(images)
            images = nn.BatchNorm(use_running_average=False, use_scale=False)(images)
            images = nn.max_pool(nn.relu(images), (2, 2), (2, 2))
        return nn.Dense(self.ways)(images.reshape(len(images), -1))


def naive_loss(ways: int, filters: int) -> Callable[..., jax.Array]:
    """`(params, images, labels) -> loss`, with the parameters of `jax_meta.models.Conv4`."""
    model = NaiveConv4(ways, filters)

    def loss(params, images, labels):
        ours = params["params"]
        theirs = {"Dense_0": ours["Dense_0"]}
        for block in range(4):
            theirs[f"Conv_{block}"] = ours[f"ConvBlock_{block}"]["Convolution_0"]
            theirs[f"BatchNorm_{block}"] = ours[f"ConvBlock_{block}"]["BatchNorm_0"]
        logits, _ = model.apply({"params": theirs}, images, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return loss


def naive_meta_gradient(loss: Callable[..., jax.Array], learning_rate: float, steps: int) -> Callable[..., Any]:
    """`(params, tasks) -> meta-gradient`: a scan over inner steps, a vmap over tasks."""

    def query_loss(params, task):
        def inner_step(params, _):
            gradient = jax.grad(loss)(params, *task.support)
            return jax.tree.map(lambda leaf, slope: leaf - learning_rate * slope, params, gradient), None

        adapted, _ = jax.lax.scan(inner_step, params, None, length=steps)
        return loss(adapted, *task.query)

    def meta_gradient(params, tasks):
        gradients = jax.vmap(jax.grad(query_loss), (None, 0))(params, tasks)
        return jax.tree.map(lambda leaf: leaf.mean(0), gradients)

    return meta_gradient


def torch_meta_gradient(params: Any, tasks: Task, learning_rate: float, steps: int) -> Callable[[], Any]:
    """PyTorch's meta-gradient of the same tasks, as a function without arguments; its leaves are as in `params`."""
    import torch
    from torch.nn import functional

    leaves, structure = jax.tree.flatten(params)

    def to_torch(leaf):
        tensor = torch.tensor(np.array(leaf))
        return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor

    weights = [to_torch(leaf).requires_grad_() for leaf in leaves]
    order = {jax.tree_util.keystr(path): index for index, (path, _) in enumerate(jax.tree.leaves_with_path(params))}
    blocks = [[order[f"['params']['ConvBlock_{block}']['{name}']"] for name in NAMES] for block in range(4)]
    head = [order[f"['params']['Dense_0']['{name}']"] for name in ("kernel", "bias")]
    ones = torch.ones_like(weights[blocks[0][1]], requires_grad=False)  # without a scale it has no second derivative
    data = [batches_to_torch(torch, batch) for batch in tasks]

    def loss(weights, batch):
        images, labels = batch
        for kernel, bias in blocks:
            images = functional.conv2d(images, weights[kernel], padding=1)
            images = functional.batch_norm(images, None, None, ones, weights[bias], training=True)
            images = functional.max_pool2d(functional.relu(images), 2)
        features = images.permute(0, 2, 3, 1).reshape(len(images), -1)
        return functional.cross_entropy(features @ weights[head[0]] + weights[head[1]], labels)

    def meta_gradient():
        totals = None
        for support, query in zip(*data, strict=True):
            adapted = weights
            for _ in range(steps):
                slopes = torch.autograd.grad(loss(adapted, support), adapted, create_graph=True)
                adapted = [weight - learning_rate * slope for weight, slope in zip(adapted, slopes, strict=True)]
            slopes = torch.autograd.grad(loss(adapted, query), weights)
            totals = slopes if totals is None else [a + b for a, b in zip(totals, slopes, strict=True)]
        means = [total / len(data[0]) for total in totals]
        arrays = [mean.permute(2, 3, 1, 0).numpy() if mean.ndim == 4 else mean.numpy() for mean in means]
        return jax.tree.unflatten(structure, arrays)

    return meta_gradient


NAMES = ("Convolution_0']['kernel", "BatchNorm_0']['bias")


def batches_to_torch(torch: Any, batch: tuple[jax.Array, jax.Array]) -> list[tuple[Any, Any]]:
    """Each task's images, `[examples, channels, height, width]` as PyTorch has them, and labels."""
    images, labels = (torch.tensor(np.array(leaf)) for leaf in batch)
    return list(zip(images.permute(0, 1, 4, 2, 3).contiguous(), labels.long(), strict=True))
