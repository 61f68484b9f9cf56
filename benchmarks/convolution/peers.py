"""The same meta-gradient in two other ways: plain Flax under `vmap`, and PyTorch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

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
    value_and_gradient = naive_value_and_gradient(loss, learning_rate, steps)
    return lambda params, tasks: value_and_gradient(params, tasks)[1]


def naive_value_and_gradient(
    loss: Callable[..., jax.Array], learning_rate: float, steps: int, *, second_order: bool = True
) -> Callable[..., Any]:
    """`(params, tasks) -> (mean query loss, meta-gradient)`, that of first-order MAML if asked for."""

    def adapt(params, support):
        def inner_step(params, _):
            gradient = jax.grad(loss)(params, *support)
            return jax.tree.map(lambda leaf, slope: leaf - learning_rate * slope, params, gradient), None

        return jax.lax.scan(inner_step, params, None, length=steps)[0]

    def task_gradient(params, task):
        if second_order:
            return jax.value_and_grad(lambda params: loss(adapt(params, task.support), *task.query))(params)
        return jax.value_and_grad(loss)(adapt(params, task.support), *task.query)

    def value_and_gradient(params, tasks):
        return jax.tree.map(lambda leaf: leaf.mean(0), jax.vmap(task_gradient, (None, 0))(params, tasks))

    return value_and_gradient


def torch_meta_gradient(params: Any, tasks: Task, learning_rate: float, steps: int) -> Callable[[], Any]:
    """PyTorch's meta-gradient of the same tasks, as a function without arguments; its leaves are as in `params`."""
    from torch.nn import functional

    from benchmarks.peers.plain_torch import meta_gradient
    from benchmarks.peers.torch_models import conv4, from_torch, layer_order, tasks_to_torch, weight_list

    arrays = {name: np.array(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    weights, names = weight_list(arrays, "cpu"), sorted(arrays, key=layer_order)
    support, query = ((np.array(inputs), np.array(labels, np.int64)) for inputs, labels in tasks)
    tensors = tasks_to_torch((support, query), "cpu")

    def loss(weights, batch):
        return functional.cross_entropy(conv4(weights, batch[0]), batch[1])

    def run():
        _, slopes = meta_gradient(loss, weights, tensors, learning_rate=learning_rate, steps=steps)
        gradients = {name: from_torch(slope) for name, slope in zip(names, slopes, strict=True)}
        return unflatten_dict(gradients, sep="/")

    return run
