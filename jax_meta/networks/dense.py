"""A dense layer whose kernel differs from task to task, fast for the small batches of an inner loop.

It is the trilinear form Σ outputs · (inputs kernel), see `jax_meta.trilinear`; under `vmap` its three faces are batched
matrix products. XLA's CPU backend has a slow product for a left factor that is transposed, as it is in the gradient of
the kernel. Here the transpose is written down first, and the whole meta-step takes three quarters of the time.
"""

import jax
import jax.numpy as jnp

from jax_meta.networks.trilinear import make_form

ROLES = ("inputs", "kernel", "outputs")
PRODUCTS = {"outputs": "ei,io->eo", "inputs": "io,eo->ei", "kernel": "ei,eo->io"}


def dense(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """The matrix product of a dense layer; `jax.vmap` gives each task its own kernel.

    Args:
        inputs: `[examples, inputs]`.
        kernel: `[inputs, outputs]`, of the same dtype.

    Returns:
        `[examples, outputs]`, of the same dtype.

    Raises:
        ValueError: if the shapes or dtypes do not fit together.
    """
    if inputs.ndim != 2 or kernel.ndim != 2 or inputs.shape[1] != kernel.shape[0] or inputs.dtype != kernel.dtype:
        raise ValueError(
            "dense needs inputs [examples, inputs] and a kernel [inputs, outputs] of one dtype, got "
            f"{inputs.dtype}{list(inputs.shape)} and {kernel.dtype}{list(kernel.shape)}: reshape or cast them."
        )
    return form("outputs", {"inputs": inputs[None], "kernel": kernel[None]}, None)[0]


def on_any_platform(left: jax.Array, right: jax.Array, *, wanted: str, geometry: None) -> jax.Array:
    """A matrix product, batched by task unless there is one alone."""
    del geometry
    if left.shape[0] == 1:
        return jnp.einsum(PRODUCTS[wanted], left[0], right[0])[None]
    return jax.vmap(lambda left, right: jnp.einsum(PRODUCTS[wanted], left, right))(left, right)


def on_cpu(left: jax.Array, right: jax.Array, *, wanted: str, geometry: None) -> jax.Array:
    """The same; the barrier keeps XLA from folding the transpose back into the product."""
    if wanted == "kernel" and left.shape[-1] > 1 and right.shape[-1] > 1:
        return jax.lax.optimization_barrier(left.mT) @ right
    return on_any_platform(left, right, wanted=wanted, geometry=geometry)


form = make_form("dense", ROLES, on_any_platform=on_any_platform, on_cpu=on_cpu)
