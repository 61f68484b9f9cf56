"""One idea: the inner optimizer has parameters, which are meta-learned beside the initialization.

Meta-SGD, MAML++, Meta-Curvature, KFO and the learned optimizer differ in what those are, and in the update they make.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_meta.arguments import check_meta_params, check_optimizer, check_params
from jax_meta.base import LossFn, LossGradient, MetaLearner, Params, PyTree
from jax_meta.checks import check_first_order, check_num_steps, check_weights
from jax_meta.inner import adapt, first_order_of
from jax_meta.loss_checks import checked_loss
from jax_meta.memory import Remat
from jax_meta.second_derivative import check_second_derivative


class OptimizerParams(NamedTuple):
    """What `meta_optimizer` learns.

    Attributes:
        params: θ, the initialization.
        optimizer: ω, the inner optimizer's parameters, a pytree of arrays of floats.
    """

    params: Params
    optimizer: PyTree


def meta_optimizer(
    loss_fn: LossFn,
    *,
    make_optimizer: Callable[[PyTree], optax.GradientTransformation],
    optimizer_params: PyTree,
    num_steps: int,
    weights: jax.Array | np.ndarray | None = None,
    first_order: bool = False,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """MAML's gradient with respect to the initialization and to any parameters of the inner optimizer.

    `gradient = ∇(θ, ω) Σᵢ vᵢ L_query(ψᵢ)`, where ψᵢ is what i steps of the optimizer that `make_optimizer(ω)` makes
    lead to from θ. Whatever number optax takes as an array can be learned so: a momentum, the decay of a schedule. One
    with bounds is best learned as what a sigmoid or an exponential makes it of. A schedule is a function of the step,
    as below: `optax.exponential_decay` itself asks whether its decay is 0, which JAX cannot tell while it traces.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        make_optimizer: `(ω) -> optimizer`, an optax transformation; it is called while JAX traces ω.
        optimizer_params: where ω starts, a pytree of arrays of floats.
        num_steps: inner steps, 0 or more.
        weights: v, of the query loss after each step, `[num_steps]`. Default: 1 after the last step and 0 before.
        first_order: whether inner gradients are constants for the meta-gradient; that of ω, and any inner optimizer,
            are then still right to the first order. Default: False.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns `OptimizerParams`. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`, `weights` of another shape, `first_order` without inner steps; from
            `init`, for an optimizer whose second derivative is not finite, such as plain `optax.adam`.
        TypeError: for a loss that is none; for `make_optimizer` that makes no optimizer; from `adapt` and `gradient`,
            for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> def make_optimizer(omega):
        ...     rate = lambda step: 0.1 * jnp.exp(omega["log_decay"] * step)
        ...     return optax.sgd(rate, momentum=jax.nn.sigmoid(omega["momentum"]))
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> start = {"log_decay": jnp.array(-0.1), "momentum": jnp.array(0.0)}
        >>> options = {"make_optimizer": make_optimizer, "optimizer_params": start, "num_steps": 3}
        >>> learner, line = jax_meta.meta_optimizer(loss_fn, **options), (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> meta_params = learner.init(jnp.zeros(()))
        >>> gradient, metrics = jax.jit(learner.gradient)(meta_params, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient.optimizer["momentum"] < 0 and gradient.optimizer["log_decay"] < 0  # both adapt too slowly
    """
    check_params(optimizer_params)

    def initial(params):
        check_optimizer(make_optimizer(optimizer_params))
        optimizer = of_one_dtype(make_optimizer(optimizer_params))
        if not first_order:
            check_second_derivative(optimizer, params, num_steps=num_steps)
        return jax.tree.map(jnp.asarray, optimizer_params)

    return learner_of_optimizer(
        loss_fn,
        OptimizerParams,
        initial,
        make_optimizer,
        name="meta_optimizer",
        num_steps=num_steps,
        weights=weights,
        first_order=first_order,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )


def learner_of_optimizer(
    loss_fn: LossFn,
    kind: Any,
    initial: Callable[[Params], PyTree],
    make_optimizer: Callable[[PyTree], optax.GradientTransformation],
    *,
    name: str,
    num_steps: int,
    weights: jax.Array | np.ndarray | None = None,
    first_order: bool = False,
    draw: Callable[[jax.Array], Params] | None = None,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """The learner of `kind(θ, ω)`, a NamedTuple, whose inner optimizer is `make_optimizer(ω)`; see `meta_optimizer`.

    Args:
        initial: `(params) -> ω`, before the first meta-step.
        name: of the learner, for messages.
        draw: `(key) -> params`, where adaptation starts instead of at θ. Default: at θ.
    """
    check_num_steps(num_steps)
    check_first_order(first_order, num_steps)
    check_weights(weights, num_steps)
    loss_fn = checked_loss(loss_fn)

    def inner(meta_params, batch, key, *, num_steps=num_steps, observe=None):
        check_meta_params(meta_params, kind, name)
        params, optimizer_params = meta_params
        optimizer = of_one_dtype(make_optimizer(optimizer_params))
        if draw is not None:
            draw_key, key = jax.random.split(key)
            params = draw(draw_key)
        return adapt(
            loss_fn,
            first_order_of(optimizer) if first_order else optimizer,
            params,
            batch,
            key,
            num_steps=num_steps,
            batch_size=batch_size,
            observe=observe,
            remat=remat,
            mixed_mode=mixed_mode,
        )

    def query_loss(meta_params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        if weights is None:
            adapted = inner(meta_params, task.support, adapt_key)  # U(θ, ω)
            return loss_fn(adapted, task.query, loss_key)  # L_query(U(θ, ω))

        def observe(params):
            return loss_fn(params, task.query, loss_key)

        _, (losses, metrics) = inner(meta_params, task.support, adapt_key, observe=observe)
        loss = jnp.asarray(weights, losses.dtype) @ losses[1:]  # Σᵢ vᵢ L_query(ψᵢ), from the first step on
        return loss, jax.tree.map(lambda metric: metric[-1], metrics)

    return MetaLearner(lambda params: kind(params, initial(params)), inner, LossGradient(query_loss))


def of_one_dtype(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The optimizer, whose state keeps its dtypes though the optimizer's parameters have more bits than the model's."""
    inner_update = optax.with_extra_args_support(optimizer).update

    def update(gradient, state, params=None, **extra):
        updates, following = inner_update(gradient, state, params, **extra)
        return updates, jax.tree.map(lambda old, new: new.astype(old.dtype), state, following)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def descent(direction: Callable[[PyTree, Params], Params], step_size: Any) -> Callable[[PyTree], Any]:
    """`make_optimizer` of steps `-α direction(ω, gradient)` without a state."""

    def make_optimizer(optimizer_params):
        return optax.stateless(lambda gradient, _: optax.tree.scale(-step_size, direction(optimizer_params, gradient)))

    return make_optimizer
