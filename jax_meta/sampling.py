"""What `fit` reads off the jaxpr of a sampler first: that it draws by its key, and the room it needs."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jax_meta.base import Sampler, Task

Draw = Callable[[jax.Array], Task]
"""`(key) -> Task`: the tasks of one meta-step."""

SAMPLE_AHEAD_BYTES = 2**20
"""`fit` samples the tasks of as many meta-steps at once as fit in this: one large draw costs less than many small."""

REMEDY = (
    "A sampler runs once, while JAX traces it, and draws of NumPy, PyTorch or Python's random are frozen in what is "
    "compiled. Draw with jax.random from the key, or give tasks that are made on the host as jax_meta.host_tasks; one "
    "batch that is meant for all meta-steps as jax_meta.host_tasks(lambda rng, num_tasks: tasks), or to fit_tasks."
)


def check_sampler(sample_tasks: Sampler, key: jax.Array, num_tasks: int) -> None:
    """Raises ValueError if a sampler draws on the host: if its tasks do not depend on its key, or on more than that."""
    function = without_jit(sample_tasks)
    check_draw(lambda key: function(key, num_tasks), key)


def steps_ahead(draw: Draw, key: jax.Array) -> int:
    """How many meta-steps' tasks to draw at once, at most, given the draw of one; raises what `check_draw` does."""
    return max(1, SAMPLE_AHEAD_BYTES // max(1, check_draw(draw, key)))


def check_draw(draw: Draw, key: jax.Array) -> int:
    """The most bytes that the tasks of a meta-step, or an operation on the way to them, take; raises ValueError.

    The jaxpr tells that a task depends on the key, and not that it varies with it: `0 * jax.random.normal(key)` passes.
    To see that, two batches would have to be drawn, which costs a compilation of its own, or be compared within the
    compiled steps, which costs each of them a pass over its tasks. It is not worth it: a batch that was drawn on the
    host is found below by what is fixed in it, and one that is the same each time was made so on purpose.
    """
    traced = trace(draw, key)
    # With another precision, which says nothing about the tasks, but has functions that were compiled traced anew.
    is_highest = getattr(jax.config, "jax_default_matmul_precision", None) == "highest"
    with jax.default_matmul_precision("high" if is_highest else "highest"):
        again = trace(draw, key)
    depends, most = follow(traced.jaxpr, [True])
    if not any(depends):
        raise ValueError(f"what sample_tasks returns does not depend on its key: all tasks would be the same. {REMEDY}")
    if not all(same(*pair) for pair in zip_longest(fixed(traced), fixed(again))):
        raise ValueError(f"sample_tasks gives other tasks when it is traced again, with the same key. {REMEDY}")
    return max(most, sum(map(bytes_of, traced.out_avals)))


class Blocks(NamedTuple):
    """Meta-steps in `number` blocks of `size`; the last of them may be more than there are to take."""

    number: int
    size: int


def in_blocks(num_meta_steps: int, most: int) -> Blocks:
    """Blocks of at most `most` meta-steps, and of half as many at least, whatever divides `num_meta_steps`."""
    most = max(1, min(most, num_meta_steps))
    size = next((size for size in range(most, max(most // 2, 1) - 1, -1) if num_meta_steps % size == 0), None)
    number = -(-num_meta_steps // (size or most))
    return Blocks(number, size or -(-num_meta_steps // number))


def trace(draw: Draw, key: jax.Array) -> ClosedJaxpr:
    """The jaxpr of a draw, as a function of one key like that or those given."""
    shape = () if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key.shape[-1:]
    try:
        return jax.make_jaxpr(lambda key: draw(key))(jax.ShapeDtypeStruct(shape, key.dtype))
    except (TypeError, StopIteration) as error:  # such as those of np.asarray(key), or of tensors that are returned
        error.add_note(f"while sample_tasks was traced. {REMEDY}")
        raise


def without_jit(function: Callable) -> Callable:
    """A function as it was before `jax.jit`, which keeps what it traced first."""
    if isinstance(function, functools.partial):
        return functools.partial(without_jit(function.func), *function.args, **function.keywords)
    wrapped = getattr(function, "__wrapped__", None)  # and not by inspect.unwrap, which goes on through decorators
    return without_jit(wrapped) if wrapped and isinstance(function, jax.stages.Wrapped) else function


def follow(jaxpr: Jaxpr, depends: Sequence[bool]) -> tuple[list[bool], int]:
    """Which outputs depend on the inputs that are marked in `depends`, and the most bytes of one operation on these."""
    marked = {var for var, is_marked in zip(jaxpr.invars, depends, strict=True) if is_marked}
    most = 0
    for equation in jaxpr.eqns:
        inputs = [not isinstance(var, Literal) and var in marked for var in equation.invars]
        if any(inputs):
            outputs, inside = follow_equation(equation, inputs)
            made = [var for var, is_marked in zip(equation.outvars, outputs, strict=True) if is_marked]
            marked.update(made)
            most = max(most, inside, sum(bytes_of(var.aval) for var in made))
    return [not isinstance(var, Literal) and var in marked for var in jaxpr.outvars], most


def follow_equation(equation: JaxprEqn, inputs: list[bool]) -> tuple[list[bool], int]:
    """`follow` of one equation: through what it calls, else from every input to every output."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return follow_loop(params["jaxpr"].jaxpr, inputs, params["num_consts"], params["num_carry"])
    if name == "while":
        until, constants = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        carried, most = follow_loop(
            params["body_jaxpr"].jaxpr, inputs[until:], params["body_nconsts"], len(inputs) - constants
        )
        (ends,), _ = follow(params["cond_jaxpr"].jaxpr, inputs[:until] + carried)
        return [ends or value for value in carried], most
    if name == "cond":
        flows = [follow(branch.jaxpr, inputs[1:]) for branch in params["branches"]]
        outputs = [inputs[0] or any(branches) for branches in zip(*(flow[0] for flow in flows), strict=True)]
        return outputs, max(flow[1] for flow in flows)
    bodies: list[Any] = [value for value in params.values() if isinstance(value, Jaxpr | ClosedJaxpr)]
    bodies = [getattr(body, "jaxpr", body) for body in bodies]
    if len(bodies) == 1 and (len(bodies[0].invars), len(bodies[0].outvars)) == (len(inputs), len(equation.outvars)):
        return follow(bodies[0], inputs)
    return [True] * len(equation.outvars), 0


def follow_loop(body: Jaxpr, inputs: list[bool], constants: int, carried: int) -> tuple[list[bool], int]:
    """`follow` of a loop, whose carry comes back until no more of it is marked."""
    while True:
        outputs, most = follow(body, inputs)
        carry = [a or b for a, b in zip(inputs[constants : constants + carried], outputs, strict=False)]
        following = inputs[:constants] + carry + inputs[constants + carried :]
        if following == inputs:
            return carry + outputs[carried:], most
        inputs = following


def bytes_of(aval: Any) -> int:
    """The room that an array takes."""
    return math.prod(aval.shape) * aval.dtype.itemsize


def fixed(value: Any) -> Iterator[Any]:
    """All numbers that are fixed in a jaxpr, in order: constants, and those in its equations and their parameters."""
    if isinstance(value, ClosedJaxpr):
        yield from value.consts
        yield from fixed(value.jaxpr)
    elif isinstance(value, Jaxpr):
        for equation in value.eqns:
            yield from fixed(equation.invars)
            yield from fixed(tuple(equation.params.values()))
        yield from fixed(value.outvars)
    elif isinstance(value, tuple | list):
        yield from (number for part in value for number in fixed(part))
    elif isinstance(value, Literal):
        yield value.val
    elif isinstance(value, int | float | complex | np.ndarray | np.generic):
        yield value


def same(left: Any, right: Any) -> bool:
    """Whether two numbers or arrays are equal; of what is traced, or elsewhere, nothing can be said."""
    if left is right or any(isinstance(value, jax.core.Tracer) for value in (left, right)):
        return True
    if left is None or right is None:  # one has more of them
        return False
    if jnp.shape(left) != jnp.shape(right) or jnp.result_type(left) != jnp.result_type(right):
        return False
    if not all(getattr(value, "is_fully_addressable", True) for value in (left, right)):
        return True
    if jnp.issubdtype(jnp.result_type(left), jax.dtypes.prng_key):
        left, right = jax.random.key_data(left), jax.random.key_data(right)
    left, right = np.asarray(left), np.asarray(right)
    if left.__array_interface__ == right.__array_interface__:  # one array, which may be a whole data set
        return True
    left, right = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (left, right))
    return np.array_equal(left, right)
