"""`torch.func`: `functional_call`, `grad` and one `vmap` over tasks; eager, and with `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch.func import functional_call, grad, grad_and_value, vmap

from benchmarks.peers.peer import Peer
from benchmarks.peers.torch_models import Step, adam, criterion, network, torch_peer
from benchmarks.peers.workloads import Batch, Tasks, Weights, Workload

Params = dict[str, torch.Tensor]


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """The peer, eager."""
    return functional_peer(workload, weights, device, meta_gradient(workload, network(workload, weights, device)))


def make_compiled(workload: Workload, weights: Weights, device: str) -> Peer:
    """The peer with its meta-gradient compiled as one graph."""
    gradient = meta_gradient(workload, network(workload, weights, device))
    return functional_peer(workload, weights, device, torch.compile(gradient, fullgraph=True, dynamic=False))


def functional_peer(workload: Workload, weights: Weights, device: str, gradient: Callable[..., Any]) -> Peer:
    """Feeds the meta-gradient to Adam."""

    def start() -> Step:
        params = {
            name: leaf.detach().requires_grad_() for name, leaf in network(workload, weights, device).named_parameters()
        }
        optimizer = adam(list(params.values()))

        def step(tasks: Tasks) -> torch.Tensor:
            slopes, loss = gradient({name: leaf.detach() for name, leaf in params.items()}, tasks)
            for name, leaf in params.items():
                leaf.grad = slopes[name]
            optimizer.step()
            return loss

        return step

    return torch_peer(workload, device, start)


def meta_gradient(workload: Workload, module: torch.nn.Module) -> Callable[[Params, Tasks], tuple[Params, Any]]:
    """`(params, tasks) -> (mean gradient, mean query loss)`."""
    measure = criterion(workload)

    def loss(params: Params, batch: Batch) -> torch.Tensor:
        return measure(functional_call(module, params, (batch[0],)), batch[1])

    def adapt(params: Params, support: Batch) -> Params:
        for _ in range(workload.inner_steps):
            slopes = grad(loss)(params, support)
            params = {name: leaf - workload.learning_rate * slopes[name] for name, leaf in params.items()}
        return params

    def query_loss(params: Params, support: Batch, query: Batch) -> torch.Tensor:
        return loss(adapt(params, support), query)

    def mean_query_loss(params: Params, tasks: Tasks) -> torch.Tensor:
        return vmap(query_loss, (None, 0, 0))(params, *tasks).mean()

    def gradient_where_adapted(params: Params, support: Batch, query: Batch) -> tuple[Params, torch.Tensor]:
        return grad_and_value(loss)(adapt(params, support), query)

    def first_order(params: Params, tasks: Tasks) -> tuple[Params, torch.Tensor]:
        slopes, losses = vmap(gradient_where_adapted, (None, 0, 0))(params, *tasks)
        return {name: slope.mean(0) for name, slope in slopes.items()}, losses.mean()

    return grad_and_value(mean_query_loss) if workload.second_order else first_order
