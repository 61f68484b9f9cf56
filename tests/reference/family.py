"""Learners that write a head, move a context, learn step sizes or measure their way: for one task, as in `learners`.

The networks are those of `mlp`: layers `Dense_0` to the last, which is the head. Features are what the last one reads.
"""

import torch
from torch.nn import functional

from tests.reference.inner import LossFn, Params, differentiate
from tests.reference.learners import Task

HEAD = ("Dense_1/kernel", "Dense_1/bias")


def features(params: Params, inputs: torch.Tensor) -> torch.Tensor:
    """One hidden layer with tanh."""
    return torch.tanh(functional.linear(inputs, params["Dense_0/kernel"], params["Dense_0/bias"]))


def network(params: Params, inputs: torch.Tensor) -> torch.Tensor:
    """The hidden layer and the head, of inputs beside a context where there is one."""
    if "Context_0/context" in params:
        context = params["Context_0/context"]
        inputs = torch.cat([inputs, context.expand(len(inputs), -1)], dim=1)
    return functional.linear(features(params, inputs), *(params[name] for name in HEAD))


def prototypes(params: Params, support: tuple[torch.Tensor, torch.Tensor], ways: int) -> Params:
    """W_k = 2 c_k and b_k = -‖c_k‖², for the mean c_k of class k."""
    embedded, labels = features(params, support[0]), support[1]
    centers = torch.stack([embedded[labels == label].mean(dim=0) for label in range(ways)])
    return dict(zip(HEAD, (2 * centers, -(centers**2).sum(dim=1)), strict=True))


def protonet(ways: int, body: Params, task: Task) -> Params:
    """∇β of the cross-entropy of -‖z - c_k‖², the distances written out."""
    support, (inputs, labels) = task
    centers = prototypes(body, support, ways)[HEAD[0]] / 2
    distances = ((features(body, inputs)[:, None] - centers[None]) ** 2).sum(dim=2)
    return differentiate(functional.cross_entropy(-distances, labels), body)


def proto_maml(loss_fn: LossFn, step_size: float, num_steps: int, ways: int, body: Params, task: Task) -> Params:
    """∇β L_query after steps of body and head, from the prototypes.

    A step's gradient is that of shifts from 0: with respect to β itself it would go through the prototypes, too.
    """
    support, query = task
    params = body | prototypes(body, support, ways)
    for _ in range(num_steps):
        shifts = {name: torch.zeros_like(leaf).requires_grad_() for name, leaf in params.items()}
        gradient = differentiate(loss_fn({name: leaf + shifts[name] for name, leaf in params.items()}, support), shifts)
        params = {name: leaf - step_size * gradient[name] for name, leaf in params.items()}
    return differentiate(loss_fn(params, query), body)


def r2d2(ways: int, penalty: float, params: Params, task: Task) -> Params:
    """∇(β, a) of the cross-entropy of a X_Q W, W = (XᵀX / n + λI)⁻¹ XᵀY / n, by an explicit inverse."""
    (inputs, labels), (queries, targets) = task
    body = {name: leaf for name, leaf in params.items() if name != "scale"}

    def with_ones(inputs):
        found = features(body, inputs)
        return torch.cat([found, torch.ones(len(found), 1, dtype=found.dtype)], dim=1)

    known = with_ones(inputs)
    one_hot = functional.one_hot(labels, ways).to(known.dtype)
    system = known.T @ known / len(known) + penalty * torch.eye(known.shape[1], dtype=known.dtype)
    weights = torch.linalg.inv(system) @ known.T @ one_hot / len(known)
    logits = params["scale"] * with_ones(queries) @ weights
    return differentiate(functional.cross_entropy(logits, targets), params)


def maml_plus_plus(loss_fn: LossFn, weights: list[float], params: Params, task: Task) -> Params:
    """∇(θ, α) Σᵢ vᵢ L_query(ψᵢ); the step sizes are the tensors whose names begin with "sizes/"."""
    support, query = task
    moving = {name: leaf for name, leaf in params.items() if not name.startswith("sizes/")}
    total = torch.zeros((), dtype=torch.float64)
    for step, weight in enumerate(weights):
        gradient = differentiate(loss_fn(moving, support), moving)
        moving = {name: leaf - params[f"sizes/{name}"][step] * gradient[name] for name, leaf in moving.items()}
        total = total + weight * loss_fn(moving, query)
    return differentiate(total, params)


def cavia(loss_fn: LossFn, step_size: float, num_steps: int, params: Params, task: Task) -> Params:
    """∇θ L_query(c, θ), for steps of the context c from 0."""
    support, query = task
    context = torch.zeros_like(params["Context_0/context"]).requires_grad_()
    shared = {name: leaf for name, leaf in params.items() if name != "Context_0/context"}
    for _ in range(num_steps):
        loss = loss_fn(shared | {"Context_0/context": context}, support)
        context = context - step_size * torch.autograd.grad(loss, context, create_graph=True)[0]
    gradient = differentiate(loss_fn(shared | {"Context_0/context": context}, query), shared)
    return gradient | {"Context_0/context": torch.zeros_like(context)}


def leap(loss_fn: LossFn, step_size: float, num_steps: int, params: Params, task: Task) -> Params:
    """-Σ (Δf ∇f + Δψ) / ‖(Δψ, Δf)‖ with the stabiliser -|Δf|, as equation 8 of the paper, for p = 1."""
    support, _ = task
    total = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    for _ in range(num_steps):
        loss = loss_fn(params, support)
        gradient = differentiate(loss, params)
        stepped = {name: leaf - step_size * gradient[name] for name, leaf in params.items()}
        rise = (loss_fn(stepped, support) - loss).detach()
        step = {name: (stepped[name] - leaf).detach() for name, leaf in params.items()}
        length = torch.sqrt(rise**2 + sum((leaf**2).sum() for leaf in step.values()))
        for name, leaf in step.items():
            total[name] = total[name] - (-rise.abs() * gradient[name].detach() + leaf) / length
        params = {name: leaf.detach().requires_grad_() for name, leaf in stepped.items()}
    return total
