"""`call`: a function compiled once for all behaviour of equal parts."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jax_meta.label_checks import Before, noting_outputs
from jax_meta.programs.known import Known, MayChange, Parts, Unsettled, is_traced, settled
from jax_meta.programs.parts import take_apart

MOST_PROGRAMS = 64
"""The programs kept; then the one that was used longest ago is forgotten, with all that was compiled for it."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Noted:
    """What was noted while a program was traced.

    Attributes:
        outputs: the numbers of outputs that labels are compared with.
    """

    outputs: frozenset[int]


def call(
    function: Callable[..., Any],
    behaviour: tuple,
    data: tuple,
    *,
    before: Before | None = None,
    otherwise: Callable[..., Any] | None = None,
    **options: Any,
) -> Any:
    """`function(*behaviour, *data, **options)`, compiled once, and found again.

    Args:
        function: a pure function of this package.
        behaviour: functions, such as a learner or a loss. Those of equal parts are one program; see `parts`.
        data: pytrees of arrays.
        before: a last check, before anything runs. Default: none.
        otherwise: what is called inside `jax.jit`, `jax.vmap`, `jax.grad`; where behaviour holds what may change
            unseen, or a traced value; and where it looks at the values of an array that it holds. Default: `function`.
        options: hashable; another value is another program.

    Returns:
        What the function returns.
    """
    if not any(map(is_traced, jax.tree.leaves(data))):
        parts = parts_of(behaviour)
        if parts is not None and not any(map(is_traced, parts.arguments)):
            told = tuple((name, type(value), value) for name, value in options.items())  # 1 is not True
            compiled = program(Known((function, parts.key, told), (function, parts.make, options)))
            try:
                if before is not None:
                    shapes, noted = compiled.eval_shape(parts.arguments, data)
                    before(shapes, noted.outputs)
                return compiled(parts.arguments, data)[0]
            except jax.errors.ConcretizationTypeError:  # it is raised again, if it is not of such a look
                pass
    if before is not None:
        before(None, None)
    return (otherwise or function)(*behaviour, *data, **options)


def parts_of(behaviour: tuple) -> Parts | None:
    """The parts of behaviour, their key hashed; None if it may change unseen."""
    try:
        return settled_behaviour(Known(tuple(map(id, behaviour)), behaviour))
    except Unsettled as found:
        return found.args[0]
    except (MayChange, RecursionError):  # such as a list that holds itself
        return None


@functools.lru_cache(maxsize=MOST_PROGRAMS)
def settled_behaviour(behaviour: Known) -> Parts:
    """The parts of behaviour that cannot change, taken apart once; raises Unsettled with those of another."""
    parts = take_apart(behaviour.thing)
    return settled(parts._replace(key=Known(parts.key, None)))


@functools.lru_cache(maxsize=MOST_PROGRAMS)
def program(known: Known) -> Any:
    """The program, compiled for each shape of its arguments and data when it is first called."""
    function, make, options = known.thing

    def run(arguments: tuple, data: tuple) -> tuple[Any, Noted]:
        with noting_outputs() as outputs:
            returned = function(*make(arguments), *data, **options)
        return returned, Noted(frozenset(outputs))

    run.__name__ = run.__qualname__ = function.__name__  # for profiles and logs
    return jax.jit(run)
