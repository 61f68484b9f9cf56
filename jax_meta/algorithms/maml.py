"""Model-agnostic meta-learning, and its first-order approximation.

Chelsea Finn, Pieter Abbeel, Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks,
arXiv:1703.03400.
"""

from functools import partial

import jax
import optax

from jax_meta.base import LossFn, LossGradient, MetaLearner
from jax_meta.checks import check_num_steps
from jax_meta.inner import adapt, check_second_derivative
from jax_meta.memory import Remat


def maml(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """MAML: the gradient of the query loss after adaptation, with respect to the initialization (section 2.2).

    `gradient = ∇θ L_query(U(θ))`, where `U` takes `num_steps` optimizer steps on the support set.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation with a finite second derivative: sgd, momentum,
            rmsprop, adagrad, lion, adabelief, yogi, or adam with `eps_root > 0`.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`: "none", "steps", "blocks" or, with
            `mixed_mode`, "updates". Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, for less memory. Default: False.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`; from `gradient`, while tracing, for an optimizer whose second derivative
            is not finite, such as plain `optax.adam`.
    """
    check_num_steps(num_steps)
    inner = partial(
        adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size, remat=remat, mixed_mode=mixed_mode
    )

    def query_loss(params, task, key):
        check_second_derivative(optimizer, params, num_steps=num_steps)
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # θ' = θ - α ∇L_support(θ), num_steps times
        return loss_fn(adapted, task.query, loss_key)  # L_query(θ')

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=LossGradient(query_loss))  # ∇θ L_query(θ')


def fomaml(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
) -> MetaLearner:
    """First-order MAML: the query gradient at the adapted parameters, as if adaptation were a shift (section 5.2).

    `gradient = ∇φ L_query(φ) at φ = U(θ)`: the Jacobian of `U` is taken to be the identity, whatever the optimizer.

    Args, returns and errors are those of `maml`, but any optimizer will do, and there is no memory to save: nothing
    is differentiated twice.
    """
    check_num_steps(num_steps)
    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size)

    def gradient(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # θ' = θ - α ∇L_support(θ), num_steps times
        return jax.grad(loss_fn, has_aux=True)(adapted, task.query, loss_key)  # ∇θ' L_query(θ')

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)
