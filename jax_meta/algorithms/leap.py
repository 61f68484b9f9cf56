"""Leap: an initialization from which training travels the shortest way, for adaptation of hundreds of steps.

Sebastian Flennerhag, Pablo G. Moreno, Neil D. Lawrence, Andreas Damianou: Transferring Knowledge across Learning
Processes, arXiv:1812.01054.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_meta.algorithms.imaml import widest
from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.inner import adapt, inner_loop
from jax_meta.loss_checks import check_inner


class Way(NamedTuple):
    """The state of an optimizer that measures its way: where it was last, and the gradient of the way until there."""

    opt_state: optax.OptState
    params: Params
    value: jax.Array
    slope: Params
    total: Params


def leap(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    energy: bool = False,
    include_loss: bool = True,
    stabilise: bool = True,
    batch_size: int | None = None,
) -> MetaLearner:
    """Leap: the gradient of the length of the way that training takes on the loss surface (equation 8).

    `gradient = -Σᵢ (Δfᵢ ∇f(ψᵢ) + Δψᵢ) / ‖(Δψᵢ, Δfᵢ)‖`, for the steps Δψ from ψ₀ = θ on and the changes Δf of the loss;
    with `energy`, without the denominator, and without the equation's factor 2, as the authors' code has it. Each
    step's end, and the Jacobian of the way, are constants. Only the support set teaches; the query set is for metrics.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation.
        num_steps: inner steps, 0 or more; the paper takes 100.
        energy: whether to take the sum of squared lengths. Default: False.
        include_loss: whether the loss is a dimension of the way; without it, `energy` is `jax_meta.reptile`. Default:
            True.
        stabilise: whether a step that raises the loss counts as one that lowers it. Default: True.
        batch_size: examples in an inner step; Δf is then between minibatches. Default: the whole support set.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> learner = jax_meta.leap(loss_fn, optax.sgd(0.1), num_steps=1, include_loss=False)
        >>> gradient, metrics = learner.gradient(jnp.zeros(()), jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient == -1  # the derivative of a distance
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)

    def segment(way, params, value):
        step = optax.tree.sub(params, way.params)  # Δψ
        rise = value - way.value if include_loss else jnp.zeros_like(value)  # Δf
        squared = rise**2 + optax.tree.norm(step, squared=True).astype(rise.dtype)
        weight = 1.0 if energy else jnp.where(squared > 0, jax.lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0)
        rise = -jnp.abs(rise) if stabilise else rise
        return jax.tree.map(lambda d, g: (-weight * (rise * g + d)).astype(d.dtype), step, way.slope)

    def measure(optimizer):
        inner_update = optax.with_extra_args_support(optimizer).update

        def init(params):
            zeros = optax.tree.zeros_like(params)
            return Way(optimizer.init(params), params, jnp.zeros((), widest(params)), zeros, zeros)

        def update(gradient, way, params, *, value, **extra):
            value = value.astype(way.value.dtype)
            total = optax.tree.add(way.total, segment(way, params, value))  # 0 of the first, whose slope was 0
            updates, opt_state = inner_update(gradient, way.opt_state, params, value=value, **extra)
            return updates, Way(opt_state, params, value, gradient, total)

        return optax.GradientTransformationExtraArgs(init, update)

    measured: Any = measure(optimizer)

    def gradient(params, task, key):
        adapt_key, end_key, loss_key = jax.random.split(key, 3)
        start = (params, measured.init(params))
        options = {"num_steps": num_steps, "batch_size": batch_size}
        (adapted, way), _ = inner_loop(loss_fn, measured, start, task.support, adapt_key, **options)
        value, _ = loss_fn(adapted, task.support, end_key)
        _, metrics = loss_fn(adapted, task.query, loss_key)
        return optax.tree.add(way.total, segment(way, adapted, value.astype(way.value.dtype))), metrics

    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size)
    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)
