"""A linear layer whose kernel differs from task to task, as one primitive, fast under `vmap`, `grad`, `grad` of `grad`.

Such a layer is one trilinear form, Σ outputs · layer(inputs, kernel). Fixing two of its three arguments gives the
gradient of the third: the outputs themselves, the gradient of the inputs, the gradient of the kernel. Derivatives of
every order are again one of these three, so there is one primitive, whose derivatives are itself, and each of its three
faces is computed in the way that was measured to be the fastest on the platform.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Roles = tuple[str, str, str]
"""The names of inputs, kernel and outputs, in this order."""


class Form(Protocol):
    """`(wanted, known, geometry) -> array`: the gradient of the form in `wanted`, given the other two by name.

    Every argument has a leading `[tasks]`; inputs and outputs then have `[examples]`. `geometry` is static, and so is
    `precision`: that of `jax.default_matmul_precision` where it is called, unless one is given.
    """

    def __call__(
        self, wanted: str, known: dict[str, jax.Array], geometry: Any, precision: str | None = None, /
    ) -> jax.Array: ...


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
    *,
    on_any_platform: Face,
    on_cpu: Face,
) -> Form:
    """Makes the primitive.

    Args:
        name: of the primitive.
        roles: what inputs, kernel and outputs are called.
        on_any_platform: computes a face, by `jax.lax` alone, whose rules then say what its type is.
        on_cpu: computes it on CPU.

    Returns:
        The form, which can be differentiated, mapped and compiled.
    """
    primitive = Primitive(name)

    typed = jax.jit(with_precision(on_any_platform), static_argnames=OPTIONS)
    compiled = jax.jit(primitive.bind, static_argnames=OPTIONS)

    def form(wanted, known, geometry, precision=None):
        operands = vary_alike(*(known[role] for role in others(roles, wanted)))
        precision = precision or getattr(jax.config, "jax_default_matmul_precision", None)
        return primitive.bind(*operands, wanted=wanted, geometry=geometry, precision=precision)

    @lru_cache(maxsize=4096)  # since JAX asks anew at each operation
    def abstract(left, right, **options):  # by jax.lax's own rules: dtype, sharding, the axes it varies over
        return typed.trace(left, right, **options).jaxpr.out_avals[0]

    def compute(left, right, **options):  # compiled even where a user has turned jit off, as jax.lax's own are
        with jax.disable_jit(False):
            return compiled(left, right, **options)

    def transpose_left(cotangent, left, right, *, wanted, **options):  # the form, with the cotangent for what it gave
        del left
        first, second = others(roles, wanted)
        return form(first, {second: right, wanted: cotangent}, options["geometry"], options["precision"])

    def transpose_right(cotangent, left, right, *, wanted, **options):
        del right
        first, second = others(roles, wanted)
        return form(second, {first: left, wanted: cotangent}, options["geometry"], options["precision"])

    primitive.def_impl(compute)
    primitive.def_abstract_eval(abstract)
    ad.defbilinear(primitive, transpose_left, transpose_right)
    batching.primitive_batchers[primitive] = partial(map_over_tasks, form, roles)
    for platform, face in {None: on_any_platform, "cpu": on_cpu}.items():
        mlir.register_lowering(
            primitive, mlir.lower_fun(with_precision(face), multiple_results=False), platform=platform
        )
    return form


OPTIONS = ("wanted", "geometry", "precision")
"""Of the primitive. The precision is one, as of `jax.lax.dot_general`, since a face is traced again elsewhere."""


def with_precision(face: Face) -> Callable[..., jax.Array]:
    """A face, computed in the precision of matrix products that is given."""

    def computed(left, right, *, precision, **options):
        with jax.default_matmul_precision(precision):
            return face(left, right, **options)

    return computed


def others(roles: Roles, wanted: str) -> list[str]:
    """The two arguments from which the wanted one is computed, in the order of the roles."""
    return [role for role in roles if role != wanted]


def vary_alike(*operands: jax.Array) -> list[jax.Array]:
    """The operands, cast to vary over every axis of a `jax.shard_map` over which one of them does.

    The cast of a value that is the same on all devices is transposed to the sum of the devices' cotangents.
    """
    axes = [varying_axes(operand) for operand in operands]
    missing = [tuple(sorted(frozenset.union(*axes) - own, key=str)) for own in axes]
    return [vary(operand, names) if names else operand for operand, names in zip(operands, missing, strict=True)]


def vary(operand: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """The operand, cast to vary over more axes; `jax.lax.pcast` is newer than JAX 0.8.0."""
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(operand, axes, to="varying")
    return getattr(jax.lax, "pvary")(operand, axes)  # noqa: B009


def varying_axes(operand: jax.Array) -> frozenset[str]:
    """The axes of a `jax.shard_map` over which a value differs from device to device."""
    kind = jax.typeof(operand)
    return kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying  # the second since JAX 0.10


def map_over_tasks(
    form: Form, roles: Roles, args, axes, *, wanted: str, geometry: Any, precision: str | None
) -> tuple[jax.Array, int]:
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
        result = form(wanted, {role: folded, kernel: known[kernel].value}, geometry, precision)
        return result.reshape(tasks, size, examples, *result.shape[2:]), 1

    def to_front(value, axis):
        return jnp.broadcast_to(value, (size, *value.shape)) if axis is None else jnp.moveaxis(value, axis, 0)

    fronts = {role: to_front(*argument) for role, argument in known.items()}
    operands = {role: value.reshape(-1, *value.shape[2:]) for role, value in fronts.items()}
    result = form(wanted, operands, geometry, precision)
    return result.reshape(size, -1, *result.shape[1:]), 0
