"""What the inner loop keeps in memory for its own derivative: all of it, its parameters, or less."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Batch, LossFn, Params, PyTree
from jax_meta.checks import check_choice

UNROLL_LIMIT = 8
"""Loops of at most this many steps are unrolled where all is kept: XLA then fuses across steps."""

Remat = Literal["none", "steps", "blocks", "updates"]
INNER_GRADIENT = "inner gradient"
"""The name under which "updates" keeps the inner gradients."""


def loop(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    inputs: PyTree,
    *,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> tuple[Any, Any]:
    """`jax.lax.scan` which computes again in the backward pass what `remat` did not keep.

    "none" keeps every intermediate of every step. "steps" keeps what each step starts from. "blocks" keeps what each
    block of about √num_steps steps starts from and, while it goes back through a block, what each of its steps starts
    from, for the price of one more pass: Tianqi Chen, Bing Xu, Chiyuan Zhang, Carlos Guestrin: Training Deep Nets with
    Sublinear Memory Cost, arXiv:1604.06174, section 3. "updates" keeps what the blocks start from and what is named
    INNER_GRADIENT in each step, so that a block is computed again without its gradients: less than "steps" where the
    optimizer has a state, without the price of "blocks".

    Args:
        step: `(carry, input) -> (carry, output)`.
        carry: what the first step starts from.
        inputs: leaves `[num_steps, ...]`, at least one.
        remat: see above. Default: "none".
        mixed_mode: whether the steps keep no more than what they start from anyway. Default: False.

    Returns:
        The last carry, and the outputs, leaves `[num_steps, ...]`.

    Raises:
        ValueError: for another `remat`; for "updates" without `mixed_mode`.
    """
    check_choice("remat", remat, get_args(Remat))
    if remat == "updates" and not mixed_mode:
        raise ValueError(
            'remat="updates" keeps inner gradients but nothing to differentiate them by: add mixed_mode=True.'
        )
    num_steps = jax.tree.leaves(inputs)[0].shape[0]

    def scan(carry, inputs):
        if remat == "none" and 0 < num_steps <= UNROLL_LIMIT:
            return unrolled(step, carry, inputs)
        again = remat == "steps" or (remat == "blocks" and not mixed_mode)
        return jax.lax.scan(jax.checkpoint(step) if again else step, carry, inputs)

    if remat not in ("blocks", "updates") or num_steps < 2:
        return scan(carry, inputs)
    policy = jax.checkpoint_policies.save_only_these_names(INNER_GRADIENT) if remat == "updates" else None
    block = jax.checkpoint(scan, policy=policy)
    size = math.isqrt(num_steps)
    whole = num_steps - num_steps % size
    blocks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), inputs)
    carry, outputs = jax.lax.scan(block, carry, blocks)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), outputs)
    if whole == num_steps:
        return carry, outputs
    carry, rest = block(carry, jax.tree.map(lambda leaf: leaf[whole:], inputs))
    return carry, jax.tree.map(lambda start, end: jnp.concatenate([start, end]), outputs, rest)


def unrolled(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: PyTree) -> tuple[Any, Any]:
    """The scan as a Python loop, whose first step starts, under `vmap`, from parameters that all tasks share.

    All steps are one function to JAX, so that what traces, differentiates, batches and transposes it does so once. The
    compiler sees it written out.
    """
    step, outputs = jax.jit(step), []
    for index in range(jax.tree.leaves(inputs)[0].shape[0]):
        carry, output = step(carry, jax.tree.map(lambda leaf, index=index: leaf[index], inputs))
        outputs.append(output)
    return carry, jax.tree.map(lambda *steps: jnp.stack(steps), *outputs)


def value_and_grad(loss_fn: LossFn, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Params]:
    """The loss and its gradient with respect to the parameters."""
    (value, _), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params, batch, key)
    return value, gradient


def mixed_mode_value_and_grad(
    loss_fn: LossFn, params: Params, batch: Batch, key: jax.Array
) -> tuple[jax.Array, Params]:
    """The loss and its gradient, whose own derivative is taken in forward mode: `value_and_grad` in less memory.

    The cotangent ḡ of the gradient g(θ, x) meets a symmetric Hessian: ḡᵀ ∂g/∂(θ, x) = ∂/∂ε ∇(θ, x) L(θ + ε ḡ, x) at
    ε = 0, one forward-mode derivative of one gradient. It keeps θ and x instead of the gradient's intermediates.
    Iurii Kemaev, Dan A. Calian, Luisa M. Zintgraf, Gregory Farquhar, Hado van Hasselt: Scalable Meta-Learning via
    Mixed-Mode Differentiation, arXiv:2505.00793, section 3.

    What `loss_fn` closes over is differentiated, too. The result cannot be differentiated in forward mode. A Hessian is
    symmetric where g is a gradient: a `jax.custom_vjp` in the loss that returns something else, as gradient reversal
    does, gives another ḡᵀ ∂g/∂(θ, x) than reverse mode, and nothing tells.
    """
    value_fn, closed_over = jax.closure_convert(lambda *args: loss_fn(*args)[0], params, batch, key)
    floats, rest, join = split_floats((batch, closed_over))

    def value(params, floats, rest, key):
        batch, closed_over = join(floats, rest)
        return value_fn(params, batch, key, *closed_over)

    def forward(*args):
        return jax.value_and_grad(value)(*args), args

    def backward(residuals, cotangents):
        params, floats, rest, key = residuals
        value_cotangent, direction = cotangents

        def gradient(params):
            return jax.grad(value, argnums=(0, 1))(params, floats, rest, key)

        slopes, curvatures = jax.jvp(gradient, (params,), (direction,))  # ∇L, and ∂/∂ε ∇L(θ + ε ḡ)
        cotangents = jax.tree.map(
            lambda slope, curvature: value_cotangent.astype(slope.dtype) * slope + curvature, slopes, curvatures
        )
        return (*cotangents, jax.tree.map(no_cotangent, rest), no_cotangent(key))

    differentiate = jax.custom_vjp(jax.value_and_grad(value))
    differentiate.defvjp(forward, backward)
    return differentiate(params, floats, rest, key)


def split_floats(tree: PyTree) -> tuple[list, list, Callable[[list, list], PyTree]]:
    """The leaves that can be differentiated, the others, and a function that puts both together again."""
    leaves, structure = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def join(floats, rest):
        sources = (iter(rest), iter(floats))
        return jax.tree.unflatten(structure, [next(sources[known]) for known in is_float])

    pairs = list(zip(leaves, is_float, strict=True))
    return [leaf for leaf, known in pairs if known], [leaf for leaf, known in pairs if not known], join


def no_cotangent(leaf: jax.Array) -> np.ndarray:
    """The cotangent of what cannot be differentiated."""
    return np.zeros(leaf.shape, jax.dtypes.float0)
