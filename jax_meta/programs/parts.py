"""What a function is made of: functions of equal parts do the same, whichever objects they are.

`regression(model.apply)` and `optax.sgd(0.01)` are new functions each time that they are made. Here a function is taken
apart into its code, what its closure holds, and the globals that it reads. JAX arrays in closures become arguments.
A thing that may change unseen, such as an attribute of an object, is never taken for equal: `MayChange` ends the
attempt, and what holds it is traced again at each call, or known by its identity, as `jax.jit` knows all functions.
"""

import dataclasses
import functools
import inspect
import itertools
import sys
import types
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jax_meta.programs.known import Known, Make, MayChange, Parts, Unsettled, settled
from jax_meta.programs.libraries import is_library, is_library_module
from jax_meta.programs.multipliers import with_multipliers

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), np.dtype, np.generic, range, slice)
PURE = ("jax", "jaxlib", "numpy", "optax")
"""The callables of these do not change."""
MOST_BYTES = 2**16
"""NumPy arrays of no more are known by what is in them."""
MADE = (
    "__init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__setattr__",
    "__delattr__",
)
"""The methods that dataclasses make."""


def take_apart(thing: Any, within: tuple[int, ...] = (), *, numbers: bool = False) -> Parts:
    """The parts of a function, or of what a function holds.

    Args:
        thing: what is taken apart.
        within: the identities of the functions and classes that hold it.
        numbers: whether Python's floats are arguments, too. Default: they are not.

    Returns:
        Its parts.

    Raises:
        MayChange: for what may change while its identity does not.
    """
    if isinstance(thing, jax.Array) or (numbers and type(thing) is float):
        return Parts(("argument",), (thing,), lambda values: values[0], not isinstance(thing, jax.Array))
    if isinstance(thing, PLAIN):
        return Parts(constant(thing), (), lambda values: thing)
    if isinstance(thing, optax.GradientTransformation) and not numbers:
        return with_multipliers(container(thing, within, True))
    if isinstance(thing, tuple | list | dict):
        return container(thing, within, numbers)
    if isinstance(thing, np.ndarray):
        return numpy_array(thing)
    if isinstance(thing, set | frozenset):
        items = [take_apart(item, within) for item in thing]
        fixed = isinstance(thing, frozenset) and all(item.settled for item in items)
        return Parts((type(thing), frozenset(item.key for item in items)), (), lambda values: thing, fixed)
    if id(thing) in within:
        return Parts(("recursion", within.index(id(thing))), (), lambda values: thing, False)
    if isinstance(thing, jax.tree_util.Partial):
        return data_function(thing, within)
    if isinstance(thing, types.FunctionType):
        return library_function(thing, numbers) if is_library(thing.__code__) else function(thing, within, numbers)
    if isinstance(thing, types.MethodType | functools.partial):
        return applied(thing, within, numbers)
    if isinstance(thing, type):
        return by_identity(thing, class_key(thing, within))
    if is_frozen(thing):
        return record(thing, within, numbers)
    if isinstance(thing, types.BuiltinFunctionType) or (callable(thing) and module_of(type(thing)) in PURE):
        return by_identity(thing)
    if says_what_it_equals(thing):
        of_class = class_key(type(thing), within)
        return Parts((constant(thing), of_class), (), lambda values: thing, not of_class)
    raise MayChange(thing)


def says_what_it_equals(thing: Any) -> bool:
    """Whether a thing has a hash that is not of its identity, as a Flax module of hashable fields."""
    own: Any = type(thing).__hash__
    if own is object.__hash__:
        return False
    try:
        hash(thing)
    except TypeError:
        return False
    return True


def is_frozen(thing: Any) -> bool:
    """Whether a thing is a frozen dataclass, with its fields in a dictionary."""
    is_record = dataclasses.is_dataclass(thing) and hasattr(thing, "__dict__")
    return is_record and getattr(type(thing), "__dataclass_params__").frozen  # noqa: B009


def constant(thing: Any) -> Hashable:
    """The key of a value; that of a float has its bits, since 0.0 equals -0.0."""
    return type(thing), thing.hex() if isinstance(thing, float) else thing


def by_identity(thing: Any, *more: Hashable) -> Parts:
    """A thing that is equal to itself alone."""
    return Parts((Known(id(thing), thing), *more), (), lambda values: thing, not any(more))


def module_of(kind: type) -> str:
    """The package that a class is of."""
    return kind.__module__.partition(".")[0]


def numpy_array(array: np.ndarray) -> Parts:
    """A NumPy array by what it holds now."""
    if array.nbytes > MOST_BYTES or array.dtype.hasobject:
        raise MayChange(array)
    return Parts((np.ndarray, array.dtype, array.shape, array.tobytes()), (), lambda values: array, False)


def library_function(thing: types.FunctionType, numbers: bool) -> Parts:
    """The parts of a library's function, found again if they cannot change."""
    try:
        return settled_function(Known(id(thing), thing), numbers)
    except Unsettled as found:
        return found.args[0]


@functools.lru_cache(maxsize=1024)
def settled_function(known: Known, numbers: bool) -> Parts:
    """The parts of a library's function that cannot change; raises Unsettled with those of another."""
    return settled(function(known.thing, (), numbers))


def function(thing: types.FunctionType, within: tuple[int, ...], numbers: bool) -> Parts:
    """A function: its code, defaults and closure, and the globals that it reads."""
    within, code = (*within, id(thing)), thing.__code__
    try:
        contents = tuple(cell.cell_contents for cell in thing.__closure__ or ())
    except ValueError as empty:  # a cell that is filled later
        raise MayChange(thing) from empty
    keywords = thing.__kwdefaults__ or {}
    held = (thing.__defaults__, tuple(keywords.items()), contents, tuple(thing.__dict__.items()))
    parts = container(held, within, numbers)
    read = () if is_library(code) else read_by(thing, within)
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


def read_by(thing: types.FunctionType, within: tuple[int, ...]) -> Hashable:
    """The key of the globals that a function of the user reads; arrays there are known by their identity."""
    names = names_in(thing.__code__)
    read = {name: thing.__globals__[name] for name in names if name in thing.__globals__}
    return tuple((name, key_of_global(value, names, within)) for name, value in read.items())


def key_of_global(value: Any, names: tuple[str, ...], within: tuple[int, ...]) -> Hashable:
    """The key of a global: of a user's module, that of the attributes that are named beside it."""
    if not isinstance(value, types.ModuleType):
        parts = take_apart(value, within)
        return parts.key, tuple(Known(id(argument), argument) for argument in parts.arguments)
    if is_library_module(value) or id(value) in within:
        return Known(id(value), value)
    attributes = {name: vars(value)[name] for name in names if name in vars(value)}
    within = (*within, id(value))
    return tuple((name, key_of_global(attribute, names, within)) for name, attribute in attributes.items())


@functools.lru_cache(maxsize=1024)
def names_in(code: types.CodeType) -> tuple[str, ...]:
    """All names that a function, and those defined in it, look up, in order."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return tuple(sorted(set(code.co_names).union(*inner)))


def class_key(kind: type, within: tuple[int, ...]) -> Hashable:
    """The key of what a class of the user defines: its methods, and its plain constants; of a library's, none."""
    if id(kind) in within or is_library_module(sys.modules.get(kind.__module__)):
        return ()
    within = (*within, id(kind))
    members = ((name, written(thing)) for name, thing in vars(kind).items())
    return (
        Known(id(kind), kind),
        *((name, key_of_global(thing, (), within)) for name, thing in members if is_own(name, thing)),
        *(class_key(base, within) for base in kind.__bases__),
    )


def written(member: Any) -> Any:
    """A member of a class as it was written, without what wraps it."""
    return inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)))


def is_own(name: str, member: Any) -> bool:
    """Whether a member is a method of the user's, and none that dataclasses or Flax made; or a plain constant."""
    if isinstance(member, types.FunctionType):
        made = name in MADE and member.__code__.co_filename.startswith("<string")
        return not (made or is_library(member.__code__))
    return isinstance(member, PLAIN) and not name.startswith("__")


def applied(thing: Any, within: tuple[int, ...], numbers: bool) -> Parts:
    """A bound method, or a function with some of its arguments."""
    kind, within = type(thing), (*within, id(thing))
    method = isinstance(thing, types.MethodType)
    held = (thing.__func__, thing.__self__) if method else (thing.func, thing.args, tuple(thing.keywords.items()))
    parts = container(held, within, numbers)
    make_held = parts.make  # and not the arrays

    def make(values: Sequence[Any]) -> Any:
        first, second, *keywords = make_held(values)
        return kind(first, second) if method else kind(first, *second, **dict(keywords[0]))

    return parts._replace(key=(kind, parts.key), make=make)


def container(thing: Any, within: tuple[int, ...], numbers: bool) -> Parts:
    """A tuple, named or not, a list or a dict."""
    kind = type(thing)
    if kind is dict:
        parts = container(tuple(thing.items()), within, numbers)
        make_items = parts.make
        return Parts((dict, parts.key), parts.arguments, lambda values: dict(make_items(values)), False)
    if kind not in (tuple, list) and not hasattr(kind, "_fields"):
        raise MayChange(thing)
    items = [take_apart(item, within, numbers=numbers) for item in thing]
    arguments = tuple(argument for item in items for argument in item.arguments)
    makes = [(item.make, len(item.arguments)) for item in items]  # and not the arrays

    def make(values: Sequence[Any]) -> Any:
        ends = itertools.accumulate(count for _, count in makes)
        made = [make(values[end - count : end]) for (make, count), end in zip(makes, ends, strict=True)]
        return kind._make(made) if hasattr(kind, "_fields") else kind(made)

    fixed = kind is not list and all(item.settled for item in items)
    return Parts((kind, *(item.key for item in items)), arguments, make, fixed)


def data_function(thing: jax.tree_util.Partial, within: tuple[int, ...]) -> Parts:
    """A function of data, such as a sampler: all its arrays are arguments, NumPy's too."""
    parts = take_apart(thing.func, within)
    leaves, structure = jax.tree.flatten((thing.args, thing.keywords))
    count, make_function = len(leaves), parts.make

    def make(values: Sequence[Any]) -> jax.tree_util.Partial:
        args, keywords = jax.tree.unflatten(structure, values[:count])
        return jax.tree_util.Partial(make_function(values[count:]), *args, **keywords)

    return Parts((type(thing), structure, parts.key), (*leaves, *parts.arguments), make, False)


def record(thing: Any, within: tuple[int, ...], numbers: bool) -> Parts:
    """A frozen dataclass, however it is initialised; what a property keeps in it is left out."""
    kind = type(thing)
    names = [name for name in vars(thing) if not isinstance(getattr(kind, name, None), functools.cached_property)]
    parts = container(tuple((name, getattr(thing, name)) for name in names), within, numbers)
    make_fields = parts.make

    def make(values: Sequence[Any]) -> Any:
        made = object.__new__(kind)
        for name, value in make_fields(values):
            object.__setattr__(made, name, value)
        return made

    of_class = class_key(kind, within)
    return Parts((kind, of_class, parts.key), parts.arguments, make, parts.settled and not of_class)
