"""Warped gradient descent: layers that adaptation does not move are learned so that its steps are good ones.

Sebastian Flennerhag, Andrei A. Rusu, Razvan Pascanu, Francesco Visin, Hujun Yin, Raia Hadsell: Meta-Learning with
Warped Gradient Descent, arXiv:1909.00025.
"""

from collections.abc import Callable
from functools import partial

import jax
import optax

from jax_meta.algorithms.leap import leap
from jax_meta.algorithms.parts import Part, join, learner_of_part, select_part
from jax_meta.base import LossFn, MetaLearner
from jax_meta.loss_checks import check_inner
from jax_meta.second_derivative import check_second_derivative


def warpgrad(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    is_warp: Part,
    num_steps: int,
    initialization: Callable[..., MetaLearner] = leap,
    batch_size: int | None = None,
) -> MetaLearner:
    """WarpGrad: for the warp layers ω, the query loss after one step from each point of the way (equation 11).

    `gradient = ∇ω Σᵢ L_query(ψᵢ - α ∇ψ L_support(ψᵢ; ω); ω)`, with the points ψᵢ that adaptation passes, from θ on, as
    constants: its memory and its horizon do not grow with `num_steps`. For θ, the other parameters, it is the gradient
    of another learner on the same way, with ω as a constant (equation 13). This is the on-line form: all points of a
    way make one meta-step, where the authors' code stores them and takes a step of ω for each.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole parameters.
        optimizer: the inner optimizer, as in `jax_meta.maml`; it is given θ, with None in place of ω. The step from a
            point of the way starts its state afresh.
        is_warp: whether a parameter is of a warp layer, as in `jax_meta.anil`: a function of its path, or a pattern.
        num_steps: inner steps, 0 or more; the paper takes up to hundreds.
        initialization: the learner of θ, `(loss_fn, optimizer, *, num_steps, batch_size) -> MetaLearner` of plain
            parameters, such as `jax_meta.maml` or `jax_meta.reptile`. Default: `jax_meta.leap`; the authors' leaves
            the loss out, `functools.partial(jax_meta.leap, include_loss=False)`.
        batch_size: examples in an inner step. Default: the whole support set.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: as `jax_meta.maml` does; from `init`, and while tracing, if `is_warp` selects nothing or everything.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda params, inputs: params["warp"] * params["task"] * inputs)
        >>> learner = jax_meta.warpgrad(loss_fn, optax.sgd(0.1), is_warp="warp", num_steps=3)
        >>> params, line = {"task": jnp.zeros(()), "warp": jnp.ones(())}, (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> gradient, metrics = learner.gradient(params, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient["warp"] < 0  # a larger warp makes longer steps, which adapt better
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
    task_part = partial(select_part, part=is_warp, name="is_warp", inverse=True)
    learner = learner_of_part(loss_fn, optimizer, task_part, num_steps=num_steps, batch_size=batch_size)

    def gradient(params, task, key):
        check_second_derivative(optimizer, task_part(params), num_steps=1)
        adapt_key, step_key, loss_key, task_key = jax.random.split(key, 4)

        def warp_loss(warp):
            def loss_after_a_step(point):
                start = join(warp, point)
                return loss_fn(learner.adapt(start, task.support, step_key, num_steps=1), task.query, loss_key)[0]

            adapted, losses = learner.adapt(params, task.support, adapt_key, observe=loss_after_a_step)
            return losses[:-1].sum(), adapted  # all points but the last, which no step was taken from

        def task_loss(task_params, batch, key):
            return loss_fn(join(task_params, params), batch, key)

        warp = select_part(params, is_warp, "is_warp")
        warp_gradient, adapted = jax.grad(warp_loss, has_aux=True)(warp)  # ∇ω
        of_task = initialization(task_loss, optimizer, num_steps=num_steps, batch_size=batch_size)
        task_gradient, _ = of_task.gradient(task_part(params), task, task_key)  # ∇θ
        return join(warp_gradient, task_gradient), loss_fn(adapted, task.query, loss_key)[1]

    return MetaLearner(init=learner.init, adapt=learner.adapt, gradient=gradient)
