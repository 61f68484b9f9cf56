"""Implicit MAML: the gradient at the solution of a regularised inner problem, whatever the path that led there.

Aravind Rajeswaran, Chelsea Finn, Sham Kakade, Sergey Levine: Meta-Learning with Implicit Gradients, arXiv:1909.04630.
"""

import jax
import numpy as np
import optax
from jax.scipy.sparse.linalg import cg

from jax_meta.base import LossFn, MetaLearner
from jax_meta.checks import check_num_steps
from jax_meta.inner import adapt


def imaml(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    strength: float | jax.Array,
    cg_steps: int = 5,
    damping: float | jax.Array = 0.0,
    batch_size: int | None = None,
) -> MetaLearner:
    """Implicit MAML: MAML's gradient through the minimum of `L_support(φ) + λ/2 ‖φ - θ‖²` (equations 3 and 6).

    `gradient = (I + H/λ)⁻¹ ∇φ L_query(φ)`, with H the Hessian of the support loss at φ. It is exact where adaptation
    reached the minimum, and needs no memory of the steps taken there.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: the inner optimizer, any optax transformation; it minimises the regularised loss.
        num_steps: inner steps, 0 or more, enough to come near the minimum.
        strength: λ > 0, how strongly adaptation is held near the initialization.
        cg_steps: steps of conjugate gradients, 1 or more, each with one Hessian-vector product. Default: 5.
        damping: added to the diagonal of `I + H/λ`, 0 or more; for a Hessian with negative curvature below -λ, where
            conjugate gradients would diverge. Default: 0.
        batch_size: examples in an inner step. Default: the whole support set, which H uses always.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for `num_steps`, `strength`, `cg_steps` or `damping` out of range.
    """
    check_num_steps(num_steps)
    check_system(strength, cg_steps, damping)

    def inner(params, batch, key, *, num_steps=num_steps, observe=None):
        def regularised_loss(adapted, batch, key):
            loss, metrics = loss_fn(adapted, batch, key)
            distance = optax.tree.norm(optax.tree.sub(adapted, params), squared=True)
            return loss + strength / 2 * distance, metrics  # L_support(φ) + λ/2 ‖φ - θ‖²

        return adapt(
            regularised_loss, optimizer, params, batch, key, num_steps=num_steps, batch_size=batch_size, observe=observe
        )

    def gradient(params, task, key):
        adapt_key, support_key, query_key = jax.random.split(key, 3)
        loss_gradient = jax.grad(loss_fn, has_aux=True)
        adapted = inner(params, task.support, adapt_key)  # φ
        query_gradient, metrics = loss_gradient(adapted, task.query, query_key)  # ∇φ L_query(φ)
        hessian = jax.linearize(lambda params: loss_gradient(params, task.support, support_key)[0], adapted)[1]

        def system(vector):
            return jax.tree.map(lambda v, hv: v + hv / strength + damping * v, vector, hessian(vector))  # (I + H/λ) v

        return cg(system, query_gradient, tol=0.0, maxiter=cg_steps)[0], metrics

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def check_system(strength: float | jax.Array, cg_steps: int, damping: float | jax.Array) -> None:
    """Raises ValueError for a linear system that cannot be solved; a traced number cannot be checked."""
    if not isinstance(strength, jax.core.Tracer) and not strength > 0:
        raise ValueError(f"strength must be above 0, got {strength!r}: for adaptation that is not held back, use maml.")
    if not isinstance(damping, jax.core.Tracer) and not damping >= 0:
        raise ValueError(f"damping must be 0 or more, got {damping!r}: 0 solves the paper's system.")
    if isinstance(cg_steps, bool) or not isinstance(cg_steps, int | np.integer) or cg_steps < 1:
        raise ValueError(f"cg_steps must be an integer of 1 or more, got {cg_steps!r}.")
