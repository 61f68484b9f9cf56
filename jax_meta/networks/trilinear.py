"""A linear layer whose kernel differs from task to task, as one primitive, fast under `vmap`, `grad`, `grad` of `grad`.

Such a layer is one trilinear form, Σ outputs · layer(inputs, kernel). Fixing two of its three arguments gives the
gradient of the third: the outputs themselves, the gradient of the inputs, the gradient of the kernel. Derivatives of
every order are again one of these three, so there is one primitive, whose derivatives are itself, and each of its three
faces is computed in the way that was measured to be the fastest on the platform.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Roles = tuple[str, str, str]
"""The names of inputs, kernel and outputs, in this order."""


class Form(Protocol):
    """`(wanted, known, geometry) -> array`: the gradient of the form in `wanted`, given the other two by name.

    Every argument has a leading `[tasks]`; inputs and outputs then have `[examples]`. `geometry` is static.
    """

    def __call__(self, wanted: str, known: dict[str, jax.Array], geometry: Any, /) -> jax.Array: ...


class Face(Protocol):
    """`(left, right, *, wanted, geometry) -> array`: one of the three, from the other two in the order of the roles."""

    def __call__(self, left: jax.Array, right: jax.Array, /, *, wanted: str, geometry: Any) -> jax.Array: ...


class Batched(NamedTuple):
    """An argument under `vmap`, and the axis that counts tasks in it, if there is one."""

    value: jax.Array
    axis: int | None


def make_form(
    name: str,
    roles: Roles,
    shape_of: Callable[[str, dict[str, tuple[int, ...]], Any], tuple[int, ...]],
    *,
    on_any_platform: Face,
    on_cpu: Face,
) -> Form:
    """Makes the primitive.

    Args:
        name: of the primitive.
        roles: what inputs, kernel and outputs are called.
        shape_of: `(wanted, shapes of the other two by name, geometry) -> shape`.
        on_any_platform: computes a face.
        on_cpu: computes it on CPU.

    Returns:
        The form, which can be differentiated, mapped and compiled.
    """
    primitive = Primitive(name)

    def form(wanted, known, geometry):
        return primitive.bind(*(known[role] for role in others(roles, wanted)), wanted=wanted, geometry=geometry)

    def abstract(left, right, *, wanted, geometry):
        shapes = dict(zip(others(roles, wanted), (left.shape, right.shape), strict=True))
        return jax.core.ShapedArray(shape_of(wanted, shapes, geometry), left.dtype)

    def transpose_left(cotangent, left, right, *, wanted, geometry):  # the form, with the cotangent for what it gave
        del left
        first, second = others(roles, wanted)
        return form(first, {second: right, wanted: cotangent}, geometry)

    def transpose_right(cotangent, left, right, *, wanted, geometry):
        del right
        first, second = others(roles, wanted)
        return form(second, {first: left, wanted: cotangent}, geometry)

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("wanted", "geometry")))
    primitive.def_abstract_eval(abstract)
    ad.defbilinear(primitive, transpose_left, transpose_right)
    batching.primitive_batchers[primitive] = partial(map_over_tasks, form, roles)
    mlir.register_lowering(primitive, mlir.lower_fun(on_any_platform, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    return form


def others(roles: Roles, wanted: str) -> list[str]:
    """The two arguments from which the wanted one is computed, in the order of the roles."""
    return [role for role in roles if role != wanted]


def map_over_tasks(form: Form, roles: Roles, args, axes, *, wanted: str, geometry: Any) -> tuple[jax.Array, int]:
    """`vmap`: tasks that share a kernel are more examples of one task, tasks that do not are more tasks."""
    pairs = zip(others(roles, wanted), zip(args, axes, strict=True), strict=True)
    known = {role: Batched(*pair) for role, pair in pairs}
    size = next(value.shape[axis] for value, axis in known.values() if axis is not None)
    kernel = roles[1]
    if kernel in known and known[kernel].axis is None:
        role = next(role for role in known if role != kernel)
        value = jnp.moveaxis(known[role].value, known[role].axis or 0, 1)
        tasks, _, examples = value.shape[:3]
        folded = value.reshape(tasks, size * examples, *value.shape[3:])
        result = form(wanted, {role: folded, kernel: known[kernel].value}, geometry)
        return result.reshape(tasks, size, examples, *result.shape[2:]), 1

    def to_front(value, axis):
        return jnp.broadcast_to(value, (size, *value.shape)) if axis is None else jnp.moveaxis(value, axis, 0)

    fronts = {role: to_front(*argument) for role, argument in known.items()}
    result = form(wanted, {role: value.reshape(-1, *value.shape[2:]) for role, value in fronts.items()}, geometry)
    return result.reshape(size, -1, *result.shape[1:]), 0
