"""The libraries, each as its own documentation writes MAML; one that is missing fails when its peer is made."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.harness.torch_networks import criterion, network, one_by_one
from benchmarks.harness.workloads import Tasks, Weights, Workload
from benchmarks.peers.peer import Peer
from benchmarks.peers.torch_peers import Step, adam, torch_peer

QueryLosses = Callable[[Tasks], Iterator[torch.Tensor]]
"""Backpropagates the loss of each task into `.grad` of the network's weights, and yields it."""


def task_loop_peer(prepare: Callable[[Workload, nn.Module], QueryLosses]) -> Callable[[Workload, Weights, str], Peer]:
    """A peer that adapts to one task after the other and sums their gradients in `.grad`."""

    def make(workload: Workload, weights: Weights, device: str) -> Peer:
        def start() -> Step:
            module = network(workload, weights, device)
            parameters = list(module.parameters())
            optimizer, query_losses = adam(parameters), prepare(workload, module)

            def step(tasks: Tasks) -> torch.Tensor:
                optimizer.zero_grad()
                losses = [loss.detach() for loss in query_losses(tasks)]
                for parameter in parameters:
                    assert parameter.grad is not None
                    parameter.grad /= workload.num_tasks
                optimizer.step()
                return torch.stack(losses).mean()

            return step

        return torch_peer(workload, device, start)

    return make


@task_loop_peer
def make_higher(workload: Workload, module: nn.Module) -> QueryLosses:
    """`higher.innerloop_ctx`; in first order its fast weights are cut off, and their gradients are copied back."""
    import higher

    measure, inner = criterion(workload), torch.optim.SGD(module.parameters(), lr=workload.learning_rate)
    options = {"copy_initial_weights": False, "track_higher_grads": workload.second_order}

    def query_losses(tasks: Tasks) -> Iterator[torch.Tensor]:
        for support, query in one_by_one(tasks):
            with higher.innerloop_ctx(module, inner, **options) as (fast, inner_steps):
                for _ in range(workload.inner_steps):
                    inner_steps.step(measure(fast(support[0]), support[1]))
                loss = measure(fast(query[0]), query[1])
                if workload.second_order:
                    loss.backward()
                else:
                    add_gradients(module, torch.autograd.grad(loss, list(fast.parameters())))
                yield loss

    return query_losses


def add_gradients(module: nn.Module, slopes: tuple[torch.Tensor, ...]) -> None:
    """Adds to `.grad` of a network's weights, in their strides: fused Adam takes a transposed gradient as it lies."""
    for parameter, slope in zip(module.parameters(), slopes, strict=True):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad += slope


@task_loop_peer
def make_learn2learn(workload: Workload, module: nn.Module) -> QueryLosses:
    """`learn2learn.algorithms.MAML`: clone, adapt, backward."""
    import learn2learn

    first_order, measure = not workload.second_order, criterion(workload)
    maml = learn2learn.algorithms.MAML(module, lr=workload.learning_rate, first_order=first_order)

    def query_losses(tasks: Tasks) -> Iterator[torch.Tensor]:
        for support, query in one_by_one(tasks):
            learner = maml.clone()
            for _ in range(workload.inner_steps):
                learner.adapt(measure(learner(support[0]), support[1]))
            loss = measure(learner(query[0]), query[1])
            loss.backward()
            yield loss

    return query_losses


@task_loop_peer
def make_torchopt(workload: Workload, module: nn.Module) -> QueryLosses:
    """`torchopt.MetaSGD`; in first order, which it does not have, the functional `torchopt.sgd`."""
    import torchopt

    if not workload.second_order:
        return first_order_torchopt(workload, module)
    measure, inner = criterion(workload), torchopt.MetaSGD(module, lr=workload.learning_rate)

    def query_losses(tasks: Tasks) -> Iterator[torch.Tensor]:
        weights = torchopt.extract_state_dict(module, by="reference", detach_buffers=True)
        inner_state = torchopt.extract_state_dict(inner, by="reference")
        for support, query in one_by_one(tasks):
            for _ in range(workload.inner_steps):
                inner.step(measure(module(support[0]), support[1]))
            loss = measure(module(query[0]), query[1])
            torchopt.recover_state_dict(module, weights)
            torchopt.recover_state_dict(inner, inner_state)
            loss.backward()
            yield loss

    return query_losses


def first_order_torchopt(workload: Workload, module: nn.Module) -> QueryLosses:
    """First-order MAML from `torchopt.sgd` and `functional_call`."""
    import torchopt

    measure, inner = criterion(workload), torchopt.sgd(lr=workload.learning_rate)
    names = [name for name, _ in module.named_parameters()]

    def loss_of(weights: tuple[torch.Tensor, ...], batch: Any) -> torch.Tensor:
        named = dict(zip(names, weights, strict=True))
        return measure(torch.func.functional_call(module, named, (batch[0],)), batch[1])

    def query_losses(tasks: Tasks) -> Iterator[torch.Tensor]:
        for support, query in one_by_one(tasks):
            weights = tuple(module.parameters())
            state = inner.init(weights)
            for _ in range(workload.inner_steps):
                slopes = torch.autograd.grad(loss_of(weights, support), weights)
                updates, state = inner.update(slopes, state, inplace=False)
                weights = torchopt.apply_updates(weights, updates, inplace=False)
            loss = loss_of(weights, query)
            loss.backward()
            yield loss

    return query_losses


def make_parallel_metalearn(workload: Workload, weights: Weights, device: str) -> Peer:
    """`metalearn.algorithms.MAML` with its default backend, `vmap`, over all tasks at once."""
    from metalearn.algorithms import MAML
    from metalearn.inner_optimizers import InnerSGD

    def start() -> Step:
        module = Adapted(network(workload, weights, device), only_head=workload.learner == "anil")
        inner = InnerSGD(
            module.get_fast_weights(),
            first_order=not workload.second_order,
            inner_lr=workload.learning_rate,
            max_inner_steps=workload.inner_steps,
            learn_lr=False,
        )
        algorithm = MAML(
            model=module,
            optimizer=adam(module.parameters()),
            inner_optimizer=inner,
            support_loss_fn=parallel_loss(workload),
            inner_steps=workload.inner_steps,
            chunk_size=workload.num_tasks,
            device=torch.device(device),
        )
        return parallel_step(algorithm)

    return torch_peer(workload, device, start)


def parallel_loss(workload: Workload) -> Any:
    """The loss as parallel-metalearn takes it."""
    from metalearn.loss.base import BaseLoss

    measure = criterion(workload)

    class Loss(BaseLoss):
        def forward(self, out_dict, targets, model_states=None, **options):
            loss = measure(out_dict["logits"], targets["labels"])
            return loss, loss.detach()  # twice, since a metric is expected

    return Loss()


def parallel_step(algorithm: Any) -> Step:
    """A meta-step of any of parallel-metalearn's algorithms."""

    def step(tasks: Tasks) -> torch.Tensor:
        (inputs, targets), (query_inputs, query_targets) = tasks
        batch = (inputs, {"labels": targets}, query_inputs, {"labels": query_targets})
        return algorithm.step(iter([batch]), training=True)[0]

    return step


class Adapted(nn.Module):
    """What parallel-metalearn expects of a model, for a network whose weights are all adapted, or those of its head."""

    def __init__(self, module: nn.Module, *, only_head: bool) -> None:
        super().__init__()
        self.module, self.first = module, -2 if only_head else 0

    def forward(self, inputs: torch.Tensor, **options: Any) -> dict:
        return {"logits": self.module(inputs), "buffers": {}}

    def get_fast_weights(self) -> dict[str, torch.Tensor]:
        return dict(list(self.named_parameters())[self.first :])
