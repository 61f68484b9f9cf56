"""The meta-gradient of each learner for one task, a pair `(support, query)`, and the outer loop."""

from collections.abc import Callable, Iterable

import torch

from tests.reference.inner import Batch, LossFn, Optimizer, Params, adapt, differentiate

Task = tuple[Batch, Batch]
GradientFn = Callable[[Params, Task], Params]


def transfer(loss_fn: LossFn, optimizer: Optimizer, num_steps: int, params: Params, task: Task) -> Params:
    """∇θ L_query(θ)."""
    del optimizer, num_steps
    _, query = task
    return differentiate(loss_fn(params, query), params)


def maml(loss_fn: LossFn, optimizer: Optimizer, num_steps: int, params: Params, task: Task) -> Params:
    """∇θ L_query(U(θ)), with respect to the parameters before adaptation."""
    support, query = task
    adapted = adapt(loss_fn, optimizer, num_steps, params, support)
    return differentiate(loss_fn(adapted, query), params)


def fomaml(loss_fn: LossFn, optimizer: Optimizer, num_steps: int, params: Params, task: Task) -> Params:
    """∇φ L_query(φ) at φ = U(θ), with respect to the parameters after adaptation."""
    support, query = task
    adapted = adapt(loss_fn, optimizer, num_steps, params, support)
    return differentiate(loss_fn(adapted, query), adapted)


def reptile(loss_fn: LossFn, optimizer: Optimizer, num_steps: int, params: Params, task: Task) -> Params:
    """θ - U(θ)."""
    support, _ = task
    adapted = adapt(loss_fn, optimizer, num_steps, params, support)
    return {name: params[name] - adapted[name] for name in params}


def published(loss_fn: LossFn, learning_rate: float, first_order: bool, params: Params, task: Task) -> Params:
    """What the outer optimizer of the post's notebook receives: `.grad` after two calls of `.backward()`.

    The first, on the support set, gives the inner step its gradient. The second, on the query set, adds to the same
    `.grad`, which was not cleared in between.
    """
    support, query = task
    params = leaves(params)
    loss_fn(params, support).backward(create_graph=not first_order)
    adapted = {name: leaf - learning_rate * accumulated(leaf) for name, leaf in params.items()}
    loss_fn(adapted, query).backward()
    return {name: accumulated(leaf) for name, leaf in params.items()}


def accumulated(leaf: torch.Tensor) -> torch.Tensor:
    """`.grad`, which every leaf has after a call of `.backward()`."""
    assert leaf.grad is not None
    return leaf.grad


def leaves(params: Params) -> Params:
    """Copies to differentiate with respect to."""
    return {name: leaf.detach().clone().requires_grad_() for name, leaf in params.items()}


def meta_gradient(gradient_fn: GradientFn, params: Params, tasks: Iterable[Task]) -> Params:
    """The mean of `gradient_fn(params, task)` over tasks."""
    params = leaves(params)
    gradients = [gradient_fn(params, task) for task in tasks]
    return {name: torch.stack([gradient[name].detach() for gradient in gradients]).mean(dim=0) for name in params}


def fit(gradient_fn: GradientFn, learning_rate: float, params: Params, steps: Iterable[Iterable[Task]]) -> Params:
    """One outer Adam step on the meta-gradient of each entry of `steps`, in order."""
    params = leaves(params)
    optimizer = torch.optim.Adam(params.values(), lr=learning_rate)
    for tasks in steps:
        for name, gradient in meta_gradient(gradient_fn, params, tasks).items():
            params[name].grad = gradient
        optimizer.step()
    return {name: leaf.detach() for name, leaf in params.items()}
