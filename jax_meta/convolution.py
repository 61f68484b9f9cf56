"""Convolution whose kernel differs from task to task, fast under `vmap`, `grad` and `grad` of `grad`.

A convolution is one trilinear form, Σ outputs · (images ∗ kernel). Fixing two of its three arguments gives the third's
gradient: the outputs themselves, the gradient of the images, the gradient of the kernel. Derivatives of every order are
again one of these three, so there is one primitive, `form`, whose derivatives are itself, and each of the three is
computed in the way that was measured to be the fastest on the platform (`jax_meta.convolution_cpu`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_meta import convolution_cpu
from jax_meta.convolution_cpu import Geometry

Role = Literal["images", "kernel", "outputs"]
ROLES: tuple[Role, ...] = ("images", "kernel", "outputs")

UNROLL_TASKS = 8
"""On CPU, up to so many tasks are written out one after the other; more are a loop, which compiles sooner."""


def convolution(
    images: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | tuple[int, int] = 1,
    padding: Literal["SAME", "VALID"] = "SAME",
) -> jax.Array:
    """Convolves images with a kernel, as `flax.linen.Conv` does; `jax.vmap` gives each task its own kernel.

    Args:
        images: `[examples, height, width, channels]`.
        kernel: `[kernel_height, kernel_width, channels, features]`, of the same dtype.
        strides: the step between outputs, down and across. Default: 1.
        padding: "SAME" pads with zeros to ⌈size / stride⌉ outputs, "VALID" does not pad. Default: "SAME".

    Returns:
        `[examples, output_height, output_width, features]`, of the same dtype.

    Raises:
        ValueError: if the shapes or dtypes do not fit together.
    """
    if images.ndim != 4 or kernel.ndim != 4 or images.shape[3] != kernel.shape[2] or images.dtype != kernel.dtype:
        raise ValueError(
            "convolution needs images [examples, height, width, channels] and a kernel [kernel_height, kernel_width, "
            f"channels, features] of one dtype, got {images.dtype}{list(images.shape)} and "
            f"{kernel.dtype}{list(kernel.shape)}: convert uint8 images to float, and add a last axis to grey ones."
        )
    down_across = (strides, strides) if isinstance(strides, int) else tuple(strides)
    image, window = images.shape[1:3], kernel.shape[:2]
    padded = tuple(jax.lax.padtype_to_pads(image, window, down_across, padding))
    geometry = Geometry((image[0], image[1]), (window[0], window[1]), (down_across[0], down_across[1]), padded)
    if min(geometry.outputs) < 1:
        raise ValueError(f"a kernel of {window} does not fit into images of {image}: pad them, or make them larger.")
    return form("outputs", {"images": images[None], "kernel": kernel[None]}, geometry)[0]


def form(wanted: Role, known: dict[Role, jax.Array], geometry: Geometry) -> jax.Array:
    """The gradient of Σ outputs · (images ∗ kernel) in `wanted`, given the other two, each with a leading `[tasks]`."""
    return form_p.bind(*(known[role] for role in others(wanted)), wanted=wanted, geometry=geometry)


def others(wanted: Role) -> list[Role]:
    """The two arguments from which the wanted one is computed, in the order of `ROLES`."""
    return [role for role in ROLES if role != wanted]


def abstract(left: Any, right: Any, *, wanted: Role, geometry: Geometry) -> Any:
    """The shape of what is wanted, from the shapes of the other two."""
    shapes = dict(zip(others(wanted), (left.shape, right.shape), strict=True))
    if wanted == "outputs":
        shape = (*shapes["images"][:2], *geometry.outputs, shapes["kernel"][-1])
    elif wanted == "images":
        shape = (*shapes["outputs"][:2], *geometry.image, shapes["kernel"][-2])
    else:
        shape = (shapes["images"][0], *geometry.kernel, shapes["images"][-1], shapes["outputs"][-1])
    return jax.core.ShapedArray(shape, left.dtype)


def transpose_left(cotangent: jax.Array, left: Any, right: jax.Array, *, wanted: Role, geometry: Geometry) -> jax.Array:
    """The transpose in the first argument: the same form, with the cotangent in the place of what was wanted."""
    del left
    first, second = others(wanted)
    return form(first, {second: right, wanted: cotangent}, geometry)


def transpose_right(
    cotangent: jax.Array, left: jax.Array, right: Any, *, wanted: Role, geometry: Geometry
) -> jax.Array:
    """The transpose in the second argument."""
    del right
    first, second = others(wanted)
    return form(second, {first: left, wanted: cotangent}, geometry)


class Batched(NamedTuple):
    """An argument under `vmap`, and the axis that counts tasks in it, if there is one."""

    value: jax.Array
    axis: int | None


def batch(args, axes, *, wanted: Role, geometry: Geometry) -> tuple[jax.Array, int]:
    """`vmap`: tasks that share a kernel are more examples of one task, tasks that do not are more tasks."""
    known = {role: Batched(*pair) for role, pair in zip(others(wanted), zip(args, axes, strict=True), strict=True)}
    size = next(value.shape[axis] for value, axis in known.values() if axis is not None)
    if "kernel" in known and known["kernel"].axis is None:
        role = next(role for role in known if role != "kernel")
        value = jnp.moveaxis(known[role].value, known[role].axis or 0, 1)
        tasks, _, examples = value.shape[:3]
        folded = value.reshape(tasks, size * examples, *value.shape[3:])
        result = form(wanted, {role: folded, "kernel": known["kernel"].value}, geometry)
        return result.reshape(tasks, size, examples, *result.shape[2:]), 1

    def to_front(value, axis):
        return jnp.broadcast_to(value, (size, *value.shape)) if axis is None else jnp.moveaxis(value, axis, 0)

    fronts = {role: to_front(*argument) for role, argument in known.items()}
    result = form(wanted, {role: value.reshape(-1, *value.shape[2:]) for role, value in fronts.items()}, geometry)
    return result.reshape(size, -1, *result.shape[1:]), 0


def on_any_platform(left: jax.Array, right: jax.Array, *, wanted: Role, geometry: Geometry) -> jax.Array:
    """`jax.lax`'s own convolution, grouped by task."""
    return jax.vmap(partial(convolution_cpu.BY_XLA[wanted], geometry=geometry, row_step=1))(left, right)


def on_cpu(left: jax.Array, right: jax.Array, *, wanted: Role, geometry: Geometry) -> jax.Array:
    """One task after the other, each on all cores."""
    one: Callable[..., jax.Array] = partial(convolution_cpu.choose(wanted, left, right, geometry), geometry=geometry)
    tasks = left.shape[0]
    if tasks > UNROLL_TASKS:
        return jax.lax.map(lambda pair: one(*pair), (left, right))
    return jnp.stack([one(left[task], right[task]) for task in range(tasks)])


form_p = Primitive("convolution_form")
form_p.def_impl(jax.jit(form_p.bind, static_argnames=("wanted", "geometry")))
form_p.def_abstract_eval(abstract)
ad.defbilinear(form_p, transpose_left, transpose_right)
batching.primitive_batchers[form_p] = batch
mlir.register_lowering(form_p, mlir.lower_fun(on_any_platform, multiple_results=False))
mlir.register_lowering(form_p, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
