"""Model-agnostic meta-learning, and its first-order approximation.

Chelsea Finn, Pieter Abbeel, Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks,
arXiv:1703.03400.
"""

from functools import partial

import jax
import optax

from jax_meta.base import LossFn, LossGradient, MetaLearner
from jax_meta.inner import adapt
from jax_meta.loss_checks import check_inner
from jax_meta.memory import Remat
from jax_meta.second_derivative import check_second_derivative


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
            rmsprop, adagrad, lion, adabelief, yogi, or adam with `eps_root > 0`; none that divides by the norm of a
            part. With one that divides by the norm of all, as `optax.clip_by_global_norm` does, the gradient is right
            but where all of a task's support gradient is zero, and there it is NaN, as a warning says.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`: "none", "steps", "blocks" or, with
            `mixed_mode`, "updates". Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, for less memory; not where the loss
            has a gradient that is none, such as gradient reversal, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`; from `gradient`, while tracing, for an optimizer whose second derivative
            is not finite, such as plain `optax.adam`.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> learner = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1)
        >>> gradient, metrics = learner.gradient(jnp.zeros(()), jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient < 0 < metrics["loss"]  # a larger slope adapts better
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
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

    Nothing is differentiated twice, so that any optimizer will do, and there is no memory to save.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> task = jax_meta.Task((jnp.ones((2, 1)), jnp.ones((2, 1))), (jnp.ones((2, 1)), 3 * jnp.ones((2, 1))))
        >>> learner = jax_meta.fomaml(loss_fn, optax.adam(0.1), num_steps=1)
        >>> gradient, metrics = learner.gradient(jnp.zeros(()), task, jax.random.key(0))
        >>> assert gradient < 0  # towards the query's slope of 3, from where the support's slope of 1 led
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size)

    def gradient(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # θ' = θ - α ∇L_support(θ), num_steps times
        return jax.grad(loss_fn, has_aux=True)(adapted, task.query, loss_key)  # ∇θ' L_query(θ')

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)
