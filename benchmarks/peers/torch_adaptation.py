"""One new task in PyTorch: inner steps whose graph nobody needs, by itself and by the libraries that have them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from benchmarks.harness.torch_networks import conv4, criterion, mlp, network, one_by_one, tasks_to_torch, weight_list
from benchmarks.harness.workloads import Weights, Workload, task_source
from benchmarks.peers.peer import Peer

Model = Callable[[torch.Tensor], torch.Tensor]
Adapt = Callable[[Any], Model]
"""`(support) -> adapted model`."""


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """`autograd.grad` on a list of weights."""
    forward, measure, start = (
        mlp if workload.model == "mlp" else conv4,
        criterion(workload),
        weight_list(weights, device),
    )

    def adapt(support: Any) -> Model:
        adapted = start
        for _ in range(workload.inner_steps):
            slopes = torch.autograd.grad(measure(forward(adapted, support[0]), support[1]), adapted)
            pairs = zip(adapted, slopes, strict=True)
            adapted = [(weight - workload.learning_rate * slope).detach().requires_grad_() for weight, slope in pairs]
        return lambda inputs: forward(adapted, inputs)

    return adapting(workload, device, adapt)


def make_higher(workload: Workload, weights: Weights, device: str) -> Peer:
    """`higher.innerloop_ctx` without higher gradients."""
    import higher

    module, measure = network(workload, weights, device), criterion(workload)
    inner = torch.optim.SGD(module.parameters(), lr=workload.learning_rate)

    def adapt(support: Any) -> Model:
        with higher.innerloop_ctx(module, inner, track_higher_grads=False) as (fast, inner_steps):
            for _ in range(workload.inner_steps):
                inner_steps.step(measure(fast(support[0]), support[1]))
        return fast

    return adapting(workload, device, adapt)


def make_torchopt(workload: Workload, weights: Weights, device: str) -> Peer:
    """The functional `torchopt.sgd`."""
    import torchopt

    module, measure = network(workload, weights, device), criterion(workload)
    inner, start = torchopt.sgd(lr=workload.learning_rate), dict(module.named_parameters())

    def adapt(support: Any) -> Model:
        adapted = tuple(start.values())
        state = inner.init(adapted)
        for _ in range(workload.inner_steps):
            loss = measure(model(adapted)(support[0]), support[1])
            updates, state = inner.update(torch.autograd.grad(loss, adapted), state, inplace=False)
            moved = torchopt.apply_updates(adapted, updates, inplace=False)
            adapted = tuple(leaf.detach().requires_grad_() for leaf in moved)
        return model(adapted)

    def model(leaves: Any) -> Model:
        return lambda inputs: functional_call(module, dict(zip(start, leaves, strict=True)), (inputs,))

    return adapting(workload, device, adapt)


def adapting(workload: Workload, device: str, adapt: Adapt) -> Peer:
    """A peer that adapts to the first task of a batch, from the given weights."""
    measure = criterion(workload)
    support, _ = next(one_by_one(tasks_to_torch(task_source(workload)(np.random.default_rng(0)), device)))

    def query_loss(tasks: Any) -> float:
        known, asked = next(one_by_one(tasks_to_torch(tasks, device)))
        return float(measure(adapt(known)(asked[0]), asked[1]))

    def run(times: int) -> None:
        for _ in range(times):
            adapt(support)
        if device == "cuda":
            torch.cuda.synchronize()

    return Peer(lambda batches: [query_loss(tasks) for tasks in batches], run)
