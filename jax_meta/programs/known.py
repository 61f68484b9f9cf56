"""What is said of a thing: its parts, and what it is known by."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax

Make = Callable[[Sequence[Any]], Any]
"""Puts a thing together again, given the values of its arguments."""


class MayChange(Exception):  # noqa: N818 - not an error: it ends an attempt
    """A value that may change while its identity does not."""


class Unsettled(Exception):  # noqa: N818 - not an error: what it tells is not to be kept
    """Parts that another look may find changed, or that hold an array: the argument."""


class Parts(NamedTuple):
    """A thing taken apart.

    Attributes:
        key: equal for equal things; the values of arguments are not in it.
        arguments: the arrays in it, and the numbers of optimizers that only multiply.
        make: puts the thing together, from as many values.
        settled: whether it will be taken apart in the same way as long as it lives, so that its parts may be kept; not
            those of what holds an array, which would be kept, too.
    """

    key: Hashable
    arguments: tuple[Any, ...]
    make: Make
    settled: bool = True


def settled(parts: Parts) -> Parts:
    """The parts, to be kept; raises Unsettled with them if they may not be."""
    if not parts.settled:
        raise Unsettled(parts)
    return parts


class Known:
    """Something that is known by a key, beside the thing that has it."""

    __slots__ = ("hashed", "key", "thing")

    def __init__(self, key: Hashable, thing: Any):
        """Both of them."""
        self.key, self.thing, self.hashed = key, thing, hash(key)

    def __eq__(self, other: object) -> bool:
        """Whether the keys are equal."""
        return self is other or (isinstance(other, Known) and self.key == other.key)

    def __hash__(self) -> int:
        """Of the key, which is hashed once."""
        return self.hashed


def is_traced(value: Any) -> bool:
    """Whether a value is not known while JAX traces."""
    return isinstance(value, jax.core.Tracer)
