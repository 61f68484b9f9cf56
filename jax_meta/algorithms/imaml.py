"""Implicit MAML: the gradient at the solution of a regularised inner problem, whatever the path that led there.

Aravind Rajeswaran, Chelsea Finn, Sham Kakade, Sergey Levine: Meta-Learning with Implicit Gradients, arXiv:1909.04630.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.checks import check_count, check_positive
from jax_meta.inner import adapt
from jax_meta.loss_checks import check_inner


def imaml(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    strength: float | jax.Array,
    cg_steps: int = 5,
    damping: float | jax.Array = 0.0,
    neumann_terms: int | None = None,
    neumann_step: float | jax.Array = 1.0,
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
        neumann_terms: how many terms of the Neumann series solve the system instead, `Σⱼ s (I - s (I + H/λ))ʲ q` for
            `(I + H/λ)⁻¹ q` (Jonathan Lorraine, Paul Vicol, David Duvenaud: Optimizing Millions of Hyperparameters by
            Implicit Differentiation, arXiv:1911.02590). One term with s = 1 is `jax_meta.fomaml`'s gradient
            at φ. Default: none, conjugate gradients.
        neumann_step: s, above 0. The series converges where `I + H/λ` has eigenvalues from 0 to below 2/s, and with
            s = 1 only where ‖H‖ < λ; nothing tells where it does not. Default: 1.
        batch_size: examples in an inner step. Default: the whole support set, which H uses always.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for `num_steps`, or a number of the system, out of range.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> learner = jax_meta.imaml(loss_fn, optax.sgd(0.1), num_steps=50, strength=2.0)
        >>> gradient, metrics = learner.gradient(jnp.zeros(()), jax_meta.Task(line, line), jax.random.key(0))
        >>> assert jnp.allclose(gradient, -1.5, atol=1e-3)  # φ = 3/2, where the loss falls by 3, and I + H/λ = 2
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
    check_system(strength, cg_steps, damping)
    if neumann_terms is not None:
        check_count(neumann_terms, "neumann_terms", least=1)
    check_positive(neumann_step, "neumann_step")

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
        dtype = widest(query_gradient)

        def system(vector):
            products = hessian(cast_like(adapted, vector))
            weighted = optax.tree.scale(1 / strength, optax.tree.cast(products, dtype))
            return optax.tree.cast(
                jax.tree.map(lambda v, hv: v + hv + damping * v, vector, weighted), dtype
            )  # (I + H/λ) v

        right = optax.tree.cast(query_gradient, dtype)
        if neumann_terms is not None:
            solution = neumann(system, right, terms=neumann_terms, step_size=neumann_step)
        else:
            solution = conjugate_gradients(system, right, cg_steps)
        return cast_like(query_gradient, solution), metrics

    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def neumann(system: Callable[[Params], Params], right: Params, *, terms: int, step_size: float | jax.Array) -> Params:
    """`Σⱼ s (I - s A)ʲ q` over so many terms: steps of size s down the residual of `A v = q`, from v = 0."""

    def step(_, solution):
        residual = optax.tree.sub(right, system(solution))
        return jax.tree.map(lambda leaf, change: (leaf + step_size * change).astype(leaf.dtype), solution, residual)

    first = jax.tree.map(lambda leaf: (step_size * leaf).astype(leaf.dtype), right)
    return jax.lax.fori_loop(1, terms, step, first)


def conjugate_gradients(system: Callable[[Params], Params], right: Params, cg_steps: int) -> Params:
    """Solves `A v = q` by up to `cg_steps` conjugate gradients, and none beyond rounding, where 0 / 0 waits.

    They are taken on a right side of size one: their squares stay within a dtype, and what is not finite comes back,
    where it would end them at once with a solution of zero.
    """
    size = jax.tree.reduce(jnp.maximum, jax.tree.map(lambda leaf: jnp.abs(leaf).max(initial=0), right))
    size = jax.lax.stop_gradient(jnp.where(size == 0, 1, size))  # whatever it is, the result is the same
    unit = jax.tree.map(lambda leaf: leaf / size, right)
    solution, _ = cg(system, unit, tol=float(jnp.finfo(size.dtype).eps), maxiter=cg_steps)
    return jax.tree.map(lambda leaf: leaf * size, solution)


def widest(tree: Params) -> jnp.dtype:
    """The widest dtype among the leaves, and float32 at least: one for all of a linear system."""
    return max(
        [jnp.dtype("float32"), *(leaf.dtype for leaf in jax.tree.leaves(tree))], key=lambda dtype: jnp.finfo(dtype).bits
    )


def cast_like(like: Params, tree: Params) -> Params:
    """The leaves of `tree` in the dtypes of those of `like`."""
    return jax.tree.map(lambda like, leaf: leaf.astype(like.dtype), like, tree)


def check_system(strength: float | jax.Array, cg_steps: int, damping: float | jax.Array) -> None:
    """Raises ValueError for a linear system that cannot be solved; a traced number cannot be checked."""
    if not isinstance(strength, jax.core.Tracer) and not strength > 0:
        raise ValueError(f"strength must be above 0, got {strength!r}: for adaptation that is not held back, use maml.")
    if not isinstance(damping, jax.core.Tracer) and not damping >= 0:
        raise ValueError(f"damping must be 0 or more, got {damping!r}: 0 solves the paper's system.")
    check_count(cg_steps, "cg_steps", least=1)
