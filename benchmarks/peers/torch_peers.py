"""Plain PyTorch: `autograd.grad(create_graph=True)` in a loop over tasks, on lists of weights."""

from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.peers.peer import Peer
from benchmarks.peers.torch_models import Loss, Step, adam, conv4, criterion, mlp, one_by_one, torch_peer, weight_list
from benchmarks.peers.workloads import Tasks, Weights, Workload


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """The peer."""
    forward, measure = mlp if workload.model == "mlp" else conv4, criterion(workload)
    gradient = partial(
        meta_gradient,
        lambda weights, batch: measure(forward(weights, batch[0]), batch[1]),
        learning_rate=workload.learning_rate,
        steps=workload.inner_steps,
        second_order=workload.second_order,
    )

    def start() -> Step:
        leaves = weight_list(weights, device)
        optimizer = adam(leaves)

        def step(tasks: Tasks) -> torch.Tensor:
            loss, slopes = gradient(leaves, tasks)
            for leaf, slope in zip(leaves, slopes, strict=True):
                leaf.grad = slope
            optimizer.step()
            return loss

        return step

    return torch_peer(workload, device, start)


def meta_gradient(
    loss: Loss,
    weights: Sequence[torch.Tensor],
    tasks: Tasks,
    *,
    learning_rate: float,
    steps: int,
    second_order: bool = True,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The mean query loss after adaptation, and its gradient with respect to the initial weights."""
    num_tasks = len(tasks[0][0])
    losses, totals = [], [torch.zeros_like(weight) for weight in weights]
    for support, query in one_by_one(tasks):
        adapted = list(weights)
        for _ in range(steps):
            slopes = torch.autograd.grad(loss(adapted, support), adapted, create_graph=second_order)
            adapted = [weight - learning_rate * slope for weight, slope in zip(adapted, slopes, strict=True)]
        query_loss = loss(adapted, query)
        for total, slope in zip(totals, torch.autograd.grad(query_loss, weights), strict=True):
            total += slope / num_tasks
        losses.append(query_loss.detach())
    return torch.stack(losses).mean(), totals
