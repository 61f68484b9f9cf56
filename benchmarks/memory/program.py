"""What is measured, with the standard library alone."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Gradient = Mapping[str, Any]
"""The arrays of a meta-gradient by the path of their parameter."""


class Program(NamedTuple):
    """A meta-gradient that is ready to run.

    Attributes:
        run: computes it.
        temporary_bytes: what the compiled program needs beside arguments and results; None for what is not compiled.
    """

    run: Callable[[], Gradient]
    temporary_bytes: int | None


Build = Callable[[], Program]
"""Compiles, if there is anything to compile. What was imported and loaded before is not counted as compilation."""
