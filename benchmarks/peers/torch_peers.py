"""PyTorch without other libraries: a loop over tasks, and `torch.func`, eager and with `torch.compile`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, grad_and_value, vmap

from benchmarks.harness.torch_networks import criterion, network, tasks_to_torch, value_and_gradient
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Batch, Tasks, Weights, Workload, task_source
from benchmarks.peers.peer import Peer

Params = Mapping[str, torch.Tensor]
Gradient = Callable[[Params, Tasks], tuple[Params, torch.Tensor]]
"""`(params, tasks) -> (mean gradient, mean query loss)`."""
Step = Callable[[Tasks], torch.Tensor]  # one meta-step on tasks that are tensors; it returns the mean query loss


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """`autograd.grad(create_graph=True)` in a loop over tasks, on lists of weights."""
    on_lists = value_and_gradient(workload)

    def gradient(params: Params, tasks: Tasks) -> tuple[Params, torch.Tensor]:
        loss, slopes = on_lists(list(params.values()), tasks)
        return dict(zip(params, slopes, strict=True)), loss

    return gradient_peer(workload, weights, device, gradient)


def make_functional(
    workload: Workload, weights: Weights, device: str, transform: Callable[[Gradient], Gradient] = lambda same: same
) -> Peer:
    """`functional_call`, `grad` and one `vmap` over tasks."""
    gradient = transform(functional_gradient(workload, network(workload, weights, device)))

    def of_detached(params: Params, tasks: Tasks) -> tuple[Params, torch.Tensor]:
        return gradient({name: leaf.detach() for name, leaf in params.items()}, tasks)

    return gradient_peer(workload, weights, device, of_detached)


make_compiled = partial(make_functional, transform=partial(torch.compile, fullgraph=True, dynamic=False))
"""The same with its meta-gradient compiled as one graph."""


def functional_gradient(workload: Workload, module: torch.nn.Module) -> Gradient:
    measure = criterion(workload)

    def loss(params: Params, batch: Batch) -> torch.Tensor:
        return measure(functional_call(module, dict(params), (batch[0],)), batch[1])

    def adapt(params: Params, support: Batch) -> Params:
        for _ in range(workload.inner_steps):
            slopes = grad(loss)(params, support)
            params = {name: leaf - workload.learning_rate * slopes[name] for name, leaf in params.items()}
        return params

    def where_adapted(function: Callable[..., Any]) -> Callable[..., Any]:
        return vmap(lambda params, support, query: function(adapt(params, support), query), (None, 0, 0))

    def mean_query_loss(params: Params, tasks: Tasks) -> torch.Tensor:
        return where_adapted(loss)(params, *tasks).mean()

    def first_order(params: Params, tasks: Tasks) -> tuple[Params, torch.Tensor]:
        slopes, losses = where_adapted(grad_and_value(loss))(params, *tasks)
        return {name: slope.mean(0) for name, slope in slopes.items()}, losses.mean()

    return grad_and_value(mean_query_loss) if workload.second_order else first_order


def gradient_peer(workload: Workload, weights: Weights, device: str, gradient: Gradient) -> Peer:
    def start() -> Step:
        params = dict(network(workload, weights, device).named_parameters())
        optimizer = adam(params.values())

        def step(tasks: Tasks) -> torch.Tensor:
            slopes, loss = gradient(params, tasks)
            for name, leaf in params.items():
                leaf.grad = slopes[name]
            optimizer.step()
            return loss

        return step

    return torch_peer(workload, device, start)


def adam(weights: Any) -> torch.optim.Optimizer:
    """The outer optimizer, fused: on small networks it takes a third of the default one's time."""
    return torch.optim.Adam(weights, lr=OUTER_LEARNING_RATE, fused=True)


def torch_peer(workload: Workload, device: str, start: Callable[[], Step]) -> Peer:
    """A peer that draws its tasks with NumPy; `start` returns a meta-step that begins at the given weights."""
    draw, generator, running = task_source(workload), np.random.default_rng(0), start()

    def losses(batches: Sequence[Tasks]) -> list[float]:
        step = start()
        return [float(step(tasks_to_torch(tasks, device))) for tasks in batches]

    def run(num_steps: int) -> None:
        for _ in range(num_steps):
            running(tasks_to_torch(draw(generator), device))
        if device == "cuda":
            torch.cuda.synchronize()

    return Peer(losses, run)
