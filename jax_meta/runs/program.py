"""A digest of a traced program: equal for programs that compute the same numbers, in this process and in any other.

The text of a jaxpr would not do: it holds addresses, the names of functions, and what is shared in memory.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

Seen = dict[int, tuple[Any, str]]
"""What was digested already, by its place in memory, where it is held for as long: each jaxpr and array once."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
IGNORED = {
    *("name", "debug_info", "jvp_jaxpr_fun", "ctx_mesh", "inline", "keep_unused", "donated_invars"),
    *("in_shardings", "out_shardings", "in_layouts", "out_layouts", "compiler_options_kvs"),
}
"""Parameters of primitives that say how, where or under which name, and not what."""
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")


def program_digest(program: ClosedJaxpr, seen: Seen) -> str:
    """The digest of a program with its constants: one pass over its equations, and SHA-256 of the constants' bytes."""
    return shorten(text_of(program, seen))


def array_digest(array: Any, seen: Seen) -> str:
    """Dtype, shape and a digest of the bytes, as in `float32[2, 3] 4f1c...`."""
    return once(array, seen, describe_array)


def constants_of(seen: Seen) -> list[str]:
    """The arrays that were digested on the way, sorted."""
    return sorted(text for value, text in seen.values() if not isinstance(value, Jaxpr))


def text_of(value: Any, seen: Seen) -> str:
    """A value in a text of its own."""
    if isinstance(value, ClosedJaxpr):
        return f"{text_of(value.jaxpr, seen)} of {text_of(value.consts, seen)}"
    if isinstance(value, Jaxpr):
        return once(value, seen, lambda jaxpr: shorten(text_of_jaxpr(jaxpr, seen)))
    if isinstance(value, PLAIN):
        return repr(value)
    if is_array(value):
        is_number = value.ndim == 0 and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        return repr(np.asarray(value).item()) if is_number else array_digest(value, seen)
    if isinstance(value, np.dtype | type | Enum):
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{key}: {text_of(item, seen)}' for key, item in value.items()))}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(text_of(item, seen) for item in value)})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(text_of(item, seen) for item in value))}}}"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{type(value).__qualname__}{text_of(fields, seen)}"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return ADDRESS.sub("", repr(value))


def text_of_jaxpr(jaxpr: Jaxpr, seen: Seen) -> str:
    """Its equations in order, with its variables numbered as they come."""
    numbers: dict[Var, int] = {}

    def atom(variable: Any) -> str:
        if isinstance(variable, Literal):
            return f"{text_of(variable.val, seen)}: {kind(variable)}"
        return f"{numbers.setdefault(variable, len(numbers))}: {kind(variable)}"

    def atoms(variables: Any) -> str:
        return " ".join(map(atom, variables))

    lines = [f"{atoms(jaxpr.constvars)} | {atoms(jaxpr.invars)}"]
    for equation in live_equations(jaxpr):
        options = {key: item for key, item in equation.params.items() if key not in IGNORED}
        lines.append(
            f"{atoms(equation.outvars)} = {equation.primitive.name}{text_of(options, seen)} {atoms(equation.invars)}"
        )
    return "\n".join([*lines, atoms(jaxpr.outvars)])


def live_equations(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """Those on which the outputs depend, or that have an effect: JAX leaves others, or not, by what it has cached."""
    live = {variable for variable in jaxpr.outvars if isinstance(variable, Var)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not live.isdisjoint(equation.outvars):
            live.update(variable for variable in equation.invars if isinstance(variable, Var))
            kept.append(equation)
    return kept[::-1]


def kind(variable: Any) -> str:
    """The dtype and shape of a variable."""
    aval = variable.aval
    return f"{aval.dtype}{list(aval.shape)}" if hasattr(aval, "dtype") else ADDRESS.sub("", str(aval))


def is_array(value: Any) -> bool:
    """Whether this is an array or a number of NumPy or JAX, among whose constants there are arrays of its own."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return True
    return type(value).__module__.startswith("jax.") and hasattr(value, "__array__") and hasattr(value, "dtype")


def describe_array(array: Any) -> str:
    """As `array_digest` says; keys by their data."""
    kind = f"{array.dtype}{list(array.shape)}"
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    content = np.ascontiguousarray(np.asarray(array)).reshape(-1)
    return f"{kind} {hashlib.sha256(content.view(np.uint8).data).hexdigest()[:16]}"


def once(value: Any, seen: Seen, describe: Callable[[Any], str]) -> str:
    """`describe(value)`, the first time."""
    if id(value) not in seen:
        seen[id(value)] = (value, describe(value))
    return seen[id(value)][1]


def shorten(text: str) -> str:
    """A digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
