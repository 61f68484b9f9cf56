"""`call`: a function compiled once for all behaviour of equal parts."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jax_meta.programs.multipliers import Known
from jax_meta.programs.parts import is_traced, take_apart

MOST_PROGRAMS = 128
"""The programs kept; then the one that was used longest ago is forgotten, with all that was compiled for it."""


def call(function: Callable[..., Any], behaviour: tuple, data: tuple, **options: Any) -> Any:
    """`function(*behaviour, *data, **options)`, compiled once, and found again.

    Args:
        function: a pure function of this package.
        behaviour: functions, such as a learner or a loss. Those of equal parts are one program; see `parts`.
        data: pytrees of arrays.
        options: hashable; another value is another program.

    Returns:
        What the function returns. Inside `jax.jit`, `jax.vmap`, `jax.grad`, or where a function holds a traced value,
        it is called as it is.
    """
    parts = take_apart((behaviour, tuple(options.items())))
    if any(map(is_traced, jax.tree.leaves((parts.arguments, data)))):
        return function(*behaviour, *data, **options)
    return program(Known((function, parts.key), (function, parts.make)))(parts.arguments, data)


@functools.lru_cache(maxsize=MOST_PROGRAMS)
def program(known: Known) -> Callable[[tuple, tuple], Any]:
    """The program, compiled for each shape of its arguments and data when it is first called."""
    function, make = known.thing

    def run(arguments: tuple, data: tuple) -> Any:
        behaviour, options = make(arguments)
        return function(*behaviour, *data, **dict(options))

    run.__name__ = run.__qualname__ = function.__name__  # for profiles and logs
    return jax.jit(run)
