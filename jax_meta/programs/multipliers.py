"""Which numbers of an optimizer do nothing but multiply: another value of theirs needs no other program.

A step size multiplies updates, and is the same, to the order of products, as a constant of the program or as its
argument. A decay β does not: 1 - β is taken in double precision where β is a constant, and in that of the arrays where
it is an argument.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


class Known:
    """Something that is known by a key, beside the thing that has it."""

    __slots__ = ("key", "thing")

    def __init__(self, key: Hashable, thing: Any):
        """Both of them."""
        self.key, self.thing = key, thing

    def __eq__(self, other: object) -> bool:
        """Whether the keys are equal."""
        return isinstance(other, Known) and self.key == other.key

    def __hash__(self) -> int:
        """Of the key."""
        return hash(self.key)


@functools.lru_cache(maxsize=256)
def multipliers(optimizer: Known) -> tuple[int, ...]:
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
