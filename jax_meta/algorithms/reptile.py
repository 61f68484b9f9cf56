"""Reptile: move the initialization towards the parameters that each task's training ends in.

Alex Nichol, Joshua Achiam, John Schulman: On First-Order Meta-Learning Algorithms, arXiv:1803.02999.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_meta.arguments import check_meta_params, check_optimizer, named
from jax_meta.base import Batch, LossFn, MetaLearner, Params, PyTree
from jax_meta.inner import Order, adapt, at_once, inner_loop, shuffled
from jax_meta.loss_checks import check_inner


class ReptileParams(NamedTuple):
    """What Reptile learns where its inner optimizer's state is carried from task to task.

    Attributes:
        params: θ, the initialization.
        opt_state: of the inner optimizer, where every task's adaptation starts from.
    """

    params: Params
    opt_state: optax.OptState


def reptile(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
    order: Order = shuffled,
) -> MetaLearner:
    """Reptile: `gradient = θ - U(θ)`, the way back from the adapted parameters (algorithms 1 and 2).

    With `optax.sgd(step_size)` outside, a meta-step is the paper's interpolation, see `interpolate`. The gradient uses
    the support set alone; the query set serves only the metrics, and may be the support set again.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation.
        num_steps: inner steps, 0 or more. With one, Reptile is joint training on all tasks; it learns to learn from two
            on (section 5).
        batch_size: examples in an inner step. Default: the whole support set. Reptile learns to generalise from one
            minibatch to the next, so that the support set should have enough for several (section 5.1).
        order: `(key, batch) -> indices`, the order of a pass. Default: `jax_meta.shuffled`, as in the paper;
            `jax_meta.balanced` has equally many of each class in every minibatch.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line, slope = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1))), jnp.zeros(())
        >>> learner = jax_meta.reptile(loss_fn, optax.sgd(0.1), num_steps=5)
        >>> gradient, metrics = learner.gradient(slope, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient == slope - learner.adapt(slope, line, jax.random.key(0))
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
    inner = partial(adapt, loss_fn, optimizer, num_steps=num_steps, batch_size=batch_size, order=order)

    def gradient(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # φ = U(θ)
        _, metrics = loss_fn(adapted, task.query, loss_key)
        return optax.tree.sub(params, adapted), metrics  # θ - φ

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def carried_reptile(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
    order: Order = shuffled,
) -> MetaLearner:
    """Reptile as its authors ran it: the inner optimizer's state is carried from task to task.

    Their Adam keeps its second moment when the parameters return to θ, which the paper does not say, and which matters:
    a state that starts afresh makes every first step of Adam ±α in each parameter, whatever its gradient.
    `gradient = (θ - U(θ), s - s')` for the state s, which the tasks of a meta-step start from, and s', which they end
    in; the authors take the tasks of a meta-step one after the other.

    The state follows all the way, whatever the outer step ε: the outer optimizer is `carry_state(optax.sgd(ε))`, and
    `jax_meta.init` and `jax_meta.fit` refuse another.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation; the authors' is `optax.adam(α, b1=0.0)`.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        order: `(key, batch) -> indices`, the order of a pass. Default: `jax_meta.shuffled`.

    Returns:
        A `MetaLearner` that learns `ReptileParams` and adapts from both. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss or an optimizer that is none; from `adapt` and `gradient`, for meta-parameters of another
            learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> learner = jax_meta.carried_reptile(loss_fn, optax.adam(0.1, b1=0.0), num_steps=5)
        >>> state = jax_meta.init(learner, jax_meta.carry_state(optax.sgd(0.5)), jnp.zeros(()), jax.random.key(0))
        >>> assert optax.tree.get(state.params.opt_state, "count") == 0
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)

    def inner(meta_params, batch, key, *, num_steps=num_steps, observe=None):
        check_meta_params(meta_params, ReptileParams, "carried_reptile")
        options = {"num_steps": num_steps, "batch_size": batch_size}
        given = meta_params.params, tuple(meta_params), batch, key
        end, observations = at_once(adapt_both, (loss_fn, optimizer, order, observe), *given, **options)
        return ReptileParams(*end), observations

    def adapt(meta_params, batch, key, *, num_steps=num_steps, observe=None):
        adapted, observations = inner(meta_params, batch, key, num_steps=num_steps, observe=observe)
        return adapted.params if observe is None else (adapted.params, observations)

    def gradient(meta_params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        adapted, _ = inner(meta_params, task.support, adapt_key)  # φ, s' = U(θ, s)
        _, metrics = loss_fn(adapted.params, task.query, loss_key)
        return optax.tree.sub(meta_params, adapted), metrics  # θ - φ, s - s'

    return MetaLearner(lambda params: ReptileParams(params, optimizer.init(params)), adapt, gradient)


def adapt_both(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    order: Order,
    observe: Callable[[Params], Any] | None,
    start: tuple[Params, optax.OptState],
    batch: Batch,
    key: jax.Array,
    **options: Any,
) -> tuple[tuple[Params, optax.OptState], Any]:
    """Parameters and optimizer state after the inner steps from both, and the observations or None."""
    return inner_loop(loss_fn, optimizer, start, batch, key, order=order, observe=observe, **options)


class CarriedState(NamedTuple):
    """The state of an optimizer that `carry_state` makes.

    Attributes:
        outer: the state of the optimizer of the initialization.
    """

    outer: optax.OptState


def carry_state(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """For `carried_reptile`: `optimizer` for the initialization, and all the way to its mean for the inner state.

    Args:
        optimizer: the outer optimizer, any optax transformation, such as `optax.sgd(ε)`.

    Returns:
        An optax transformation of `ReptileParams`. It may be wrapped, as in `optax.apply_if_finite`; what changes
        gradients, such as a clip, belongs into `optimizer`, where it does not reach the inner state.

    Raises:
        TypeError: for an optimizer that is none; from `init`, for parameters that are no `ReptileParams`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> outer, params = jax_meta.carry_state(optax.sgd(0.5)), jax_meta.ReptileParams(jnp.zeros(()), jnp.zeros(()))
        >>> gradient = jax_meta.ReptileParams(jnp.ones(()), jnp.ones(()))
        >>> updates, state = outer.update(gradient, outer.init(params), params)
        >>> assert updates == jax_meta.ReptileParams(-0.5, -1)
    """
    check_optimizer(optimizer)
    update_params = optax.with_extra_args_support(optimizer).update

    def init(meta_params):
        if not isinstance(meta_params, ReptileParams):
            raise TypeError(
                f"carry_state is for jax_meta.carried_reptile, which learns ReptileParams, got {named(meta_params)}: "
                "give other learners the optimizer itself."
            )
        return CarriedState(optimizer.init(meta_params.params))

    def update(gradient, state, meta_params=None, **extra):
        params = None if meta_params is None else meta_params.params
        if "grad" in extra:
            extra["grad"] = extra["grad"].params
        updates, outer = update_params(gradient.params, state.outer, params, **extra)
        return ReptileParams(updates, jax.tree.map(jnp.negative, gradient.opt_state)), CarriedState(outer)

    return optax.GradientTransformationExtraArgs(init, update)


def check_carried(meta_params: Params, opt_state: PyTree) -> None:
    """Raises ValueError if meta-parameters hold an inner state that the outer optimizer does not follow all the way."""
    if not isinstance(meta_params, ReptileParams):
        return
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, CarriedState))
    if not any(isinstance(node, CarriedState) for node in nodes):
        raise ValueError(
            "carried_reptile's outer optimizer must follow the inner optimizer's state all the way, and not by steps "
            "of its own: give jax_meta.carry_state(optimizer) to jax_meta.init and to what trains."
        )


def interpolate(params: Params, adapted: Params, step_size: float | jax.Array) -> Params:
    """Reptile's outer step as the paper writes it: θ ← θ + ε (φ - θ) (algorithm 1).

    Args:
        params: θ, the initialization.
        adapted: φ, the adapted parameters, of the same structure; for several tasks, their mean.
        step_size: ε, from 0 (stay) to 1 (jump to φ).

    Returns:
        The new initialization.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> assert jax_meta.interpolate(jnp.array(1.0), jnp.array(3.0), 0.5) == 2
    """
    return optax.incremental_update(adapted, params, step_size)
