"""Which numbers of an optimizer do nothing but multiply: another value of theirs needs no other program.

A step size multiplies updates, and is the same, to the order of products, as a constant of the program or as its
argument. A decay β does not: 1 - β is taken in double precision where β is a constant, and in that of the arrays where
it is an argument.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.programs.known import Known, MayChange, Parts, is_traced


def with_multipliers(parts: Parts) -> Parts:
    """The parts of an optimizer, of whose floats only those that multiply are arguments: a step size, but no decay."""
    free = frozenset(multipliers(parts))
    fixed = {
        place: value for place, value in enumerate(parts.arguments) if isinstance(value, float) and place not in free
    }
    rest = [place for place in range(len(parts.arguments)) if place not in fixed]
    make_optimizer = parts.make  # and not the arrays

    def make(values: Sequence[Any]) -> Any:
        own = fixed | dict(zip(rest, values, strict=True))
        return make_optimizer([own[place] for place in range(len(own))])

    key = parts.key, tuple((place, value.hex()) for place, value in fixed.items())
    return Parts(key, tuple(parts.arguments[place] for place in rest), make, parts.settled)


def of_small_size(parts: Parts) -> Parts:
    """The parts of an optimizer whose multipliers are SMALL, 0 or -SMALL: known by all its numbers, without arguments.

    Raises MayChange if another of its numbers is traced.
    """
    free = multipliers(parts)
    values = [small(value) if place in free else value for place, value in enumerate(parts.arguments)]
    if any(map(is_traced, values)):
        raise MayChange(parts)
    made = parts.make(values)
    return Parts((parts.key, tuple(map(bits, values))), (), lambda values: made)


def bits(value: Any) -> bytes:
    """A number or an array by what is in it."""
    is_key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if is_key else value).tobytes()


SMALL = 0.01
"""A size of steps that lead to no special place."""


def small(value: Any) -> Any:
    """The sign of a number, times SMALL; SMALL of one that is traced."""
    if is_traced(value):
        return np.full(value.shape, SMALL, value.dtype)
    return float(SMALL * np.sign(value)) if isinstance(value, float) else SMALL * np.sign(np.asarray(value))


def shape_of(array: Any) -> jax.ShapeDtypeStruct:
    """The shape of an array, also of a traced one, in its place."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def multipliers(parts: Parts) -> tuple[int, ...]:
    """The places, among the numbers of an optimizer, of those that only multiply."""
    shapes = [value if isinstance(value, float) else shape_of(value) for value in parts.arguments]
    kinds = tuple("float" if isinstance(value, float) else str(value) for value in shapes)
    return found_multipliers(Known((parts.key, kinds), (parts.make, shapes)))


@functools.lru_cache(maxsize=256)
def found_multipliers(optimizer: Known) -> tuple[int, ...]:
    """The places of the numbers that only multiply.

    Args:
        optimizer: the key of its parts, and with it the pair of `make`, which puts it together, and its numbers, of
            which arrays are given by their shapes.

    Returns:
        Places among the numbers. The optimizer is traced on a matrix; of one that refuses it, none.
    """
    make, numbers = optimizer.thing
    return find_multipliers(make, numbers) if numbers else ()


def find_multipliers(make: Callable[[Sequence[Any]], Any], numbers: Sequence[Any]) -> tuple[int, ...]:
    """`multipliers`, worked out."""

    def update(numbers, gradient):
        made = make(numbers)
        return made.update(gradient, made.init(gradient), gradient)[0]

    try:
        jaxpr = jax.make_jaxpr(update)(list(numbers), jnp.zeros((2, 2))).jaxpr
    except Exception:  # whatever this optimizer asks for: its numbers then are constants, as they are written
        return ()
    return tuple(place for place, scalar in enumerate(jaxpr.invars[:-1]) if only_multiplies(jaxpr, scalar))


def only_multiplies(jaxpr: Any, scalar: Any) -> bool:
    """Whether a scalar is used, and does nothing but multiply arrays, perhaps after a change of sign or dtype."""
    uses = [equation for equation in jaxpr.eqns if any(scalar is operand for operand in equation.invars)]
    returned = any(scalar is output for output in jaxpr.outvars)
    return bool(uses) and not returned and all(is_product(use, scalar) or is_passed_on(jaxpr, use) for use in uses)


def is_product(equation: Any, scalar: Any) -> bool:
    """Whether an equation multiplies an array by a scalar."""
    others = [operand for operand in equation.invars if operand is not scalar]
    return equation.primitive.name == "mul" and len(others) == 1 and others[0].aval.ndim > 0


def is_passed_on(jaxpr: Any, equation: Any) -> bool:
    """Whether an equation changes sign, dtype or shape alone, and what comes of it only multiplies."""
    unary = equation.primitive.name in ("convert_element_type", "neg", "broadcast_in_dim", "reshape")
    return unary and only_multiplies(jaxpr, equation.outvars[0])
