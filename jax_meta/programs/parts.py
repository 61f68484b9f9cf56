"""What a function is made of: functions of equal parts do the same, whichever objects they are.

`regression(model.apply)` and `optax.sgd(0.01)` are new functions each time that they are made. Here a function is taken
apart into its code, what its closure holds, and the globals that it reads. JAX arrays in closures become arguments.
What may change unseen, such as an attribute of an object, is never taken for equal: the function that holds it is then
known by its identity, as `jax.jit` knows all functions.
"""

import dataclasses
import functools
import itertools
import site
import sysconfig
import types
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jax_meta.programs.multipliers import Known, multipliers

Make = Callable[[Sequence[Any]], Any]
"""Puts a thing together again, given the values of its arguments."""
PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type(Ellipsis),
    np.dtype,
    np.generic,
    frozenset,
    range,
    slice,
)
PURE = ("jax", "jaxlib", "numpy", "optax")
"""The callables of these do not change."""
LIBRARIES = tuple(
    {
        str(Path(__file__).parents[1]),
        *site.getsitepackages(),
        *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),
    }
)
"""Where code lies whose globals do not change."""


class MayChange(Exception):  # noqa: N818 - not an error: it ends an attempt
    """A value that may change while its identity does not."""


class Parts(NamedTuple):
    """A thing taken apart.

    Attributes:
        key: equal for equal things; the values of arguments are not in it.
        arguments: the arrays in it, and the numbers of optimizers that only multiply.
        make: puts the thing together, from as many values.
        settled: whether it will be taken apart in the same way as long as it lives.
    """

    key: Hashable
    arguments: tuple[Any, ...]
    make: Make
    settled: bool = True


def take_apart(thing: Any, within: tuple[int, ...] = (), *, floats: bool = False) -> Parts:
    """The parts of a function, or of what a function holds.

    Args:
        thing: what is taken apart.
        within: the identities of the functions that hold it.
        floats: whether Python's floats are arguments. Default: they are not.

    Returns:
        Its parts.

    Raises:
        MayChange: for an object that may change while its identity does not, outside of any function.
    """
    if isinstance(thing, jax.Array) or (floats and type(thing) is float):
        return Parts(("argument",), (thing,), lambda values: values[0])
    if isinstance(thing, PLAIN):
        return Parts(constant(thing), (), lambda values: thing)
    if isinstance(thing, optax.GradientTransformation) and not floats:
        return optimizer(thing, within)
    if isinstance(thing, tuple | list | dict):
        return container(thing, within, floats)
    if isinstance(thing, jax.tree_util.Partial):
        return data_function(thing, within)
    if isinstance(thing, types.FunctionType | types.MethodType | functools.partial):
        return by_parts_or_identity(thing, within, floats)
    if dataclasses.is_dataclass(thing) and getattr(type(thing), "__dataclass_params__").frozen:  # noqa: B009
        return record(thing, within, floats)
    if is_fixed(thing):
        return by_identity(thing)
    if (
        isinstance(thing, Hashable) and type(thing).__hash__ is not object.__hash__
    ):  # it says itself what it is equal to
        return Parts(constant(thing), (), lambda values: thing)
    raise MayChange(thing)


def constant(thing: Any) -> Hashable:
    """The key of a value; that of a float has its bits, since 0.0 equals -0.0."""
    return type(thing), thing.hex() if isinstance(thing, float) else thing


def by_identity(thing: Any, *, settled: bool = True) -> Parts:
    """A thing that is equal to itself alone."""
    return Parts(Known(id(thing), thing), (), lambda values: thing, settled)


def by_parts_or_identity(thing: Any, within: tuple[int, ...], floats: bool) -> Parts:
    """A function by its parts, or by its identity if one of them may change."""
    if id(thing) in within:
        return Parts(("recursion", within.index(id(thing))), (), lambda values: thing, False)
    if isinstance(thing, types.FunctionType) and is_library(thing.__code__):
        return settled_parts(Known(id(thing), thing), floats) or function(thing, within, floats)
    if isinstance(thing, types.FunctionType):
        return function(thing, within, floats)
    return applied(thing, within, floats)


@functools.lru_cache(maxsize=1024)
def settled_parts(known: Known, floats: bool) -> Parts | None:
    """The parts of a library's function, kept if they cannot change; None otherwise."""
    parts = function(known.thing, (), floats)
    return parts if parts.settled else None


def function(thing: types.FunctionType, within: tuple[int, ...], floats: bool) -> Parts:
    """A function: its code, defaults and closure, and the globals that it reads."""
    within, code = (*within, id(thing)), thing.__code__
    keywords, contents = thing.__kwdefaults__ or {}, tuple(cell.cell_contents for cell in thing.__closure__ or ())
    held = (thing.__defaults__, tuple(keywords.items()), contents, tuple(thing.__dict__.items()))
    try:
        parts = container(held, within, floats)
        read = () if is_library(code) else read_by(thing, contents, within)
    except (MayChange, ValueError):  # ValueError: a cell that is empty yet
        return by_identity(thing, settled=False)
    key = code, code.co_filename, Known(id(thing.__globals__), thing.__globals__), parts.key, read
    return Parts(key, parts.arguments, rebuild(thing, parts.make), parts.settled and is_library(code))


def rebuild(thing: types.FunctionType, make_held: Make) -> Make:
    """Makes a function of the same code, and of other contents; it does not keep `thing` with its arrays."""
    arguments, closed = (thing.__code__, thing.__globals__, thing.__name__), thing.__closure__ is not None
    names = {"__qualname__": thing.__qualname__, "__module__": thing.__module__, "__doc__": thing.__doc__}

    def make(values: Sequence[Any]) -> types.FunctionType:
        defaults, keywords, contents, attributes = make_held(values)
        made = types.FunctionType(*arguments, defaults, tuple(map(types.CellType, contents)) if closed else None)
        made.__kwdefaults__ = dict(keywords) or None
        made.__dict__.update(attributes)
        for name, value in names.items():
            setattr(made, name, value)
        return made

    return make


def read_by(thing: types.FunctionType, contents: tuple[Any, ...], within: tuple[int, ...]) -> Hashable:
    """The key of the globals that a function of the user reads; arrays there are known by their identity.

    Raises MayChange where it reads a list or a dict, which it may write, too.
    """
    read = {name: thing.__globals__[name] for name in sorted(names(thing.__code__)) if name in thing.__globals__}
    if any(isinstance(value, list | dict | set) for value in (*contents, *read.values())):
        raise MayChange(thing)
    parts = [take_apart(value, within) for value in read.values()]
    return tuple(
        (name, part.key, tuple(Known(id(value), value) for value in part.arguments))
        for name, part in zip(read, parts, strict=True)
    )


@functools.lru_cache(maxsize=1024)
def names(code: types.CodeType) -> frozenset[str]:
    """All names that a function, and those defined in it, look up."""
    inner = (names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return frozenset(code.co_names).union(*inner)


def applied(thing: Any, within: tuple[int, ...], floats: bool) -> Parts:
    """A bound method, or a function with some of its arguments."""
    kind, within = type(thing), (*within, id(thing))
    method = isinstance(thing, types.MethodType)
    held = (thing.__func__, thing.__self__) if method else (thing.func, thing.args, tuple(thing.keywords.items()))
    try:
        parts = container(held, within, floats)
    except MayChange:
        return by_identity(thing, settled=False)

    def make(values: Sequence[Any]) -> Any:
        first, second, *keywords = parts.make(values)
        return kind(first, second) if method else kind(first, *second, **dict(keywords[0]))

    return parts._replace(key=(kind, parts.key), make=make)


def container(thing: Any, within: tuple[int, ...], floats: bool) -> Parts:
    """A tuple, named or not, a list or a dict."""
    kind = type(thing)
    if kind is dict:
        parts = container(tuple(thing.items()), within, floats)
        return Parts((dict, parts.key), parts.arguments, lambda values: dict(parts.make(values)), False)
    if kind not in (tuple, list) and not hasattr(kind, "_fields"):
        raise MayChange(thing)
    items = [take_apart(item, within, floats=floats) for item in thing]
    arguments = tuple(argument for item in items for argument in item.arguments)
    makes = [(item.make, len(item.arguments)) for item in items]  # and not the arrays

    def make(values: Sequence[Any]) -> Any:
        ends = itertools.accumulate(count for _, count in makes)
        made = [make(values[end - count : end]) for (make, count), end in zip(makes, ends, strict=True)]
        return kind(*made) if hasattr(kind, "_fields") else kind(made)

    settled = kind is not list and all(item.settled for item in items)
    return Parts((kind, *(item.key for item in items)), arguments, make, settled)


def data_function(thing: jax.tree_util.Partial, within: tuple[int, ...]) -> Parts:
    """A function of data, such as a sampler: all its arrays are arguments, NumPy's too."""
    parts = take_apart(thing.func, within)
    leaves, structure = jax.tree.flatten((thing.args, thing.keywords))
    count = len(leaves)

    def make(values: Sequence[Any]) -> jax.tree_util.Partial:
        args, keywords = jax.tree.unflatten(structure, values[:count])
        return jax.tree_util.Partial(parts.make(values[count:]), *args, **keywords)

    return Parts((type(thing), structure, parts.key), (*leaves, *parts.arguments), make, False)


def record(thing: Any, within: tuple[int, ...], floats: bool) -> Parts:
    """A frozen dataclass."""
    fields = tuple((field.name, getattr(thing, field.name)) for field in dataclasses.fields(thing))
    parts, kind = container(fields, within, floats), type(thing)
    return parts._replace(key=(kind, parts.key), make=lambda values: kind(**dict(parts.make(values))))


def optimizer(thing: optax.GradientTransformation, within: tuple[int, ...]) -> Parts:
    """An optimizer, of whose numbers those that only multiply are arguments: a step size, but not a decay."""
    parts = container(thing, within, True)
    numbers = [value if isinstance(value, float) else shape_of(value) for value in parts.arguments]
    free = multipliers(Known(parts.key, (parts.make, numbers)))
    fixed = tuple(None if place in free else constant(value) for place, value in enumerate(parts.arguments))

    def make(values: Sequence[Any]) -> Any:
        own = dict(zip(free, values, strict=True))
        return parts.make([own.get(place, value) for place, value in enumerate(parts.arguments)])

    return Parts((parts.key, fixed), tuple(parts.arguments[place] for place in free), make, parts.settled)


def shape_of(array: jax.Array) -> jax.ShapeDtypeStruct:
    """The shape of an array, also of a traced one, in its place."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def without_tracers(thing: Any) -> Any:
    """The thing, with ones in the place of what is traced."""
    parts = take_apart(thing)
    ones = [np.ones(value.shape, value.dtype) if is_traced(value) else value for value in parts.arguments]
    return parts.make(ones)


def is_traced(value: Any) -> bool:
    """Whether a value is not known while JAX traces."""
    return isinstance(value, jax.core.Tracer)


def is_fixed(thing: Any) -> bool:
    """Whether a thing does not change: a class, a library's module, or a callable such as a jitted function."""
    if isinstance(thing, type | types.BuiltinFunctionType):
        return True
    if isinstance(thing, types.ModuleType):
        return str(getattr(thing, "__file__", None) or LIBRARIES[0]).startswith(LIBRARIES)
    return callable(thing) and type(thing).__module__.partition(".")[0] in PURE


@functools.lru_cache(maxsize=4096)
def is_library(code: types.CodeType) -> bool:
    """Whether code lies in an installed package."""
    return code.co_filename.startswith(LIBRARIES)
