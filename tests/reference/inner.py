"""The inner loop and its optimizers: each update is an expression of tensors, so that autograd can go through it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Params = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
LossFn = Callable[[Params, Batch], torch.Tensor]


class Optimizer(NamedTuple):
    """For one tensor: its state before the first step, and `(gradient, state) -> (change, state)`."""

    initial_state: Any
    update: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]]


def sgd(learning_rate: float) -> Optimizer:
    """-α g."""

    def update(gradient, state):
        return -learning_rate * gradient, state

    return Optimizer(None, update)


def momentum(learning_rate: float, decay: float) -> Optimizer:
    """v ← g + decay v, then -α v."""

    def update(gradient, velocity):
        velocity = gradient + decay * velocity
        return -learning_rate * velocity, velocity

    return Optimizer(0.0, update)


def adam(learning_rate: float, *, eps_root: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """m ← β₁ m + (1 - β₁) g and v ← β₂ v + (1 - β₂) g², then -α m̂ / (√(v̂ + eps_root) + eps)."""

    def update(gradient, state):
        step, first, second = state
        step = step + 1
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        unbiased_first = first / (1 - b1**step)
        unbiased_second = second / (1 - b2**step)
        change = -learning_rate * unbiased_first / (torch.sqrt(unbiased_second + eps_root) + eps)
        return change, (step, first, second)

    return Optimizer((0, 0.0, 0.0), update)


def differentiate(loss: torch.Tensor, params: Params) -> Params:
    """The gradient of `loss` with respect to each of `params`, itself differentiable."""
    gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    return dict(zip(params, gradients, strict=True))


def adapt(loss_fn: LossFn, optimizer: Optimizer, num_steps: int, params: Params, batch: Batch) -> Params:
    """`num_steps` steps on `batch`, from `params`; the result still depends on `params`."""
    states = dict.fromkeys(params, optimizer.initial_state)
    for _ in range(num_steps):
        gradient = differentiate(loss_fn(params, batch), params)
        stepped = {}
        for name in params:
            change, states[name] = optimizer.update(gradient[name], states[name])
            stepped[name] = params[name] + change
        params = stepped
    return params
