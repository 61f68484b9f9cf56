"""Meta-Curvature: learn the initialization and, for each parameter tensor, matrices that transform its gradient.

Eunbyung Park, Junier B. Oliva: Meta-Curvature, arXiv:1902.03356.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_meta.algorithms.meta_optimizer import descent, learner_of_optimizer
from jax_meta.base import LossFn, MetaLearner, Params, PyTree
from jax_meta.memory import Remat


class MetaCurvatureParams(NamedTuple):
    """What Meta-Curvature learns.

    Attributes:
        params: θ, the initialization.
        curvatures: M, for each tensor in `params` a tuple of matrices, one a mode: of a kernel `[inputs, outputs]` two,
            of one `[height, width, inputs, outputs]` three, the first `[height · width, height · width]`; of a vector
            or a scalar one array of its shape. They are free: not kept symmetric or positive.
    """

    params: Params
    curvatures: PyTree


def meta_curvature(
    loss_fn: LossFn,
    *,
    step_size: float | jax.Array,
    num_steps: int,
    first_order: bool = False,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """Meta-Curvature: MAML's gradient with respect to θ and to matrices M on the modes of its gradient.

    `gradient = ∇(θ, M) L_query(U(θ, M))`, where `U` takes `num_steps` steps `θ ← θ - α MC(∇L_support(θ))`, with `MC(G)`
    the products of G and a matrix a mode, `M_in G M_out` for a dense kernel. From identities it is MAML at first.

    A kernel of n inputs has n² numbers more: give convolutional networks the mean over space before the head.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        step_size: α, which stays.
        num_steps: inner steps, 0 or more.
        first_order: whether inner gradients are constants for the meta-gradient. Default: False.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns `MetaCurvatureParams`. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss that is none; from `adapt` and `gradient`, for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> loss_fn = jax_meta.regression(lambda kernel, inputs: inputs @ kernel)
        >>> points = (jnp.eye(2), 3 * jnp.eye(2))
        >>> learner = jax_meta.meta_curvature(loss_fn, step_size=0.1, num_steps=1)
        >>> meta_params = learner.init(jnp.zeros((2, 2)))
        >>> gradient, metrics = learner.gradient(meta_params, jax_meta.Task(points, points), jax.random.key(0))
        >>> assert (jnp.diag(gradient.curvatures[0]) < 0).all()  # longer steps adapt better
    """
    return learner_of_optimizer(  # ∇(θ, M) L_query(θ'), where θ' = θ - α MC(∇L_support(θ)), num_steps times
        loss_fn,
        MetaCurvatureParams,
        lambda params: jax.tree.map(identities, params),
        descent(lambda curvatures, gradient: jax.tree.map(transform, gradient, curvatures), step_size),
        name="meta_curvature",
        num_steps=num_steps,
        first_order=first_order,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )


def identities(leaf: jax.Array) -> tuple[jax.Array, ...]:
    """The matrices that change nothing, one for each mode of a tensor."""
    if leaf.ndim < 2:
        return (jnp.ones(leaf.shape, leaf.dtype),)
    *space, inputs, outputs = leaf.shape
    return tuple(jnp.eye(size, dtype=leaf.dtype) for size in ([math.prod(space)] if space else []) + [inputs, outputs])


def transform(gradient: jax.Array, matrices: tuple[Any, ...]) -> jax.Array:
    """The product of a tensor with a matrix in each mode, the last from the right; of a vector, elementwise."""
    if gradient.ndim < 2:
        return matrices[0] * gradient
    modes = gradient.reshape([len(matrix) for matrix in matrices])
    for axis, matrix in enumerate(matrices[:-1]):
        modes = jnp.moveaxis(jnp.tensordot(matrix, modes, axes=(1, axis)), 0, axis)
    return jnp.tensordot(modes, matrices[-1], axes=1).reshape(gradient.shape)
