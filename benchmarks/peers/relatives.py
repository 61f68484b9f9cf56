"""ANIL and prototypical networks: PyTorch by itself, and parallel-metalearn as its documentation writes them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.harness.torch_networks import Tensors, conv4_features, criterion, network, one_by_one
from benchmarks.harness.workloads import Batch, Tasks, Weights, Workload
from benchmarks.peers import libraries
from benchmarks.peers.peer import Peer
from benchmarks.peers.torch_peers import Params, Step, adam, gradient_peer, torch_peer

TaskLoss = Callable[[Workload, Tensors, Batch, Batch], torch.Tensor]


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """A loop over tasks; the features of a task are computed once, however many steps the head takes."""
    task_loss = {"anil": anil_loss, "protonet": prototype_loss}[workload.learner]

    def gradient(params: Params, tasks: Tasks) -> tuple[Params, torch.Tensor]:
        leaves = list(params.values())
        losses = torch.stack([task_loss(workload, leaves, *task) for task in one_by_one(tasks)])
        slopes = torch.autograd.grad(losses.mean(), leaves, materialize_grads=True)  # 0 for a head that is not read
        plain = (slope.contiguous() for slope in slopes)  # fused Adam reads a gradient in the order of memory
        return dict(zip(params, plain, strict=True)), losses.mean().detach()

    return gradient_peer(workload, weights, device, gradient)


def anil_loss(workload: Workload, weights: Tensors, support: Batch, query: Batch) -> torch.Tensor:
    measure, head = criterion(workload), list(weights[-2:])
    known, asked = (conv4_features(weights[:-2], batch[0]) for batch in (support, query))
    for _ in range(workload.inner_steps):
        slopes = torch.autograd.grad(measure(functional.linear(known, *head), support[1]), head, create_graph=True)
        head = [weight - workload.learning_rate * slope for weight, slope in zip(head, slopes, strict=True)]
    return measure(functional.linear(asked, *head), query[1])


def prototype_loss(workload: Workload, weights: Tensors, support: Batch, query: Batch) -> torch.Tensor:
    known, asked = (conv4_features(weights[:-2], batch[0]) for batch in (support, query))
    members = functional.one_hot(support[1], workload.ways).to(known)
    centers = (members / members.sum(0)).t() @ known
    return functional.cross_entropy(-(torch.cdist(asked, centers) ** 2), query[1])


def make_parallel_metalearn(workload: Workload, weights: Weights, device: str) -> Peer:
    """`metalearn.algorithms.MAML` of the head's weights, and `PrototypicalNetwork`."""
    if workload.learner == "anil":
        return libraries.make_parallel_metalearn(workload, weights, device)
    from metalearn.algorithms import PrototypicalNetwork
    from metalearn.model_wrappers import ProtoNet_Model

    def start() -> Step:
        body = Body(network(workload, weights, device))
        latent = weights["params/Dense_0/kernel"].shape[0]
        model = ProtoNet_Model(body, max_classes=workload.ways, latent_dim=latent)
        algorithm = PrototypicalNetwork(
            model=model,
            optimizer=adam(model.parameters()),
            loss_fn=libraries.parallel_loss(workload),
            chunk_size=workload.num_tasks,
            device=torch.device(device),
        )
        return libraries.parallel_step(algorithm)

    return torch_peer(workload, device, start)


class Body(nn.Module):
    """A network without its last layer, which is given options that it has no use for."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.layers = module[:-1]

    def forward(self, inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.layers(inputs)
