"""Whether an inner optimizer can be differentiated: where a gradient is zero, too, as of a unit that is off."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import JaxprEqn, Literal, jaxpr_as_fun

from jax_meta.arguments import check_params
from jax_meta.base import Params
from jax_meta.inner import adapt
from jax_meta.memory import UNROLL_LIMIT
from jax_meta.programs.known import Known, MayChange, is_traced
from jax_meta.programs.multipliers import of_small_size, shape_of
from jax_meta.programs.parts import container

FIRST_ORDER = "choose a learner that does not differentiate the inner loop: jax_meta.fomaml or jax_meta.reptile"
ARITHMETIC = {"abs", "add", "add_any", "dot_general", "max", "min", "mul", "neg", "reduce_sum", "square", "sub"}
FUNCTIONS = {"clamp", "cos", "exp", "sin", "tanh"}
SELECTION = {"and", "eq", "ge", "gt", "iota", "le", "lt", "ne", "not", "or", "select_n", "sign"}
SHAPES = {"broadcast_in_dim", "concatenate", "convert_element_type", "copy", "reshape", "slice", "squeeze", "transpose"}
SMOOTH = ARITHMETIC | FUNCTIONS | SELECTION | SHAPES
"""Operations whose derivative is finite wherever their result is."""


def check_second_derivative(optimizer: optax.GradientTransformation, params: Params, *, num_steps: int) -> None:
    """Raises ValueError if `num_steps` of the optimizer have no finite derivative where a gradient has zeros.

    A ReLU that is off gives exact zeros, and d√v/dv at 0 is infinite: plain `optax.adam` then turns MAML's gradient
    into NaN. The optimizer is tried, for up to UNROLL_LIMIT steps, on four losses: of one the first unit of each leaf
    has no gradient; of two only the first leaf or the last has one, as where a network's head begins at zero; of the
    last there is none, and where that alone is not finite, it is told in a warning. The optimizer is given few units a
    leaf unless it asks for more, while JAX traces, so that a compiled meta-step does not pay for it; and it is not
    tried at all where it does nothing but what is SMOOTH, as SGD with momentum. Numbers that only multiply, as learning
    rates, are tried as 0.01, traced or not.
    """
    check_params(params)
    few = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct([min(size, 2) for size in leaf.shape], leaf.dtype), params)
    with jax.disable_jit(False):  # it may be set, to step through a loss
        try:
            finite = have_finite_slopes(optimizer, few, num_steps)
        except (TypeError, ValueError):  # such as an optimizer that holds an array of the parameters' shapes
            try:
                finite = have_finite_slopes(optimizer, jax.tree.map(shape_of, params), num_steps)
            except (TypeError, ValueError) as error:
                raise ValueError(f"the inner optimizer's update cannot be differentiated: {FIRST_ORDER}.") from error
    of_parts, of_all = finite[:1] if len(jax.tree.leaves(params)) == 1 else finite[:-1], finite[-1]
    if not all(of_parts):
        raise ValueError(
            "the inner optimizer's update has no finite derivative where the gradient of a unit, or of a whole "
            "parameter, is zero, so a second-order meta-gradient would be NaN. Give it a positive eps_root, as in "
            "optax.adam(1e-3, eps_root=1e-8), clip with optax.clip or optax.clip_by_global_norm instead of by the norm "
            f"of a part, use optax.sgd, or {FIRST_ORDER}."
        )
    if not of_all:
        warnings.warn(
            "the inner optimizer's update has no finite derivative where all of one task's support gradient is zero, "
            "as of a task without examples that count: the meta-gradient is right but there, and there it is NaN. If "
            f"tasks can be such, use optax.clip or optax.sgd, or {FIRST_ORDER}.",
            RuntimeWarning,
            stacklevel=2,
        )


def have_finite_slopes(optimizer: optax.GradientTransformation, shapes: Params, num_steps: int) -> tuple[bool, ...]:
    """Whether the derivatives of the adapted parameters are finite, on each loss; so where it holds traced arrays."""
    leaves, structure = jax.tree.flatten(shapes)
    setting = tuple((leaf.shape, leaf.dtype) for leaf in leaves), structure, min(num_steps, UNROLL_LIMIT)
    try:
        parts = of_small_size(container(optimizer, (), True))
    except MayChange:
        return work_out(optimizer, shapes, num_steps)
    return found_slopes(Known((parts.key, setting), (parts.make(()), shapes, num_steps)))


@functools.lru_cache(maxsize=256)
def found_slopes(known: Known) -> tuple[bool, ...]:
    """`work_out`, found again for an optimizer of the same parts."""
    return work_out(*known.thing)


def work_out(optimizer: optax.GradientTransformation, shapes: Params, num_steps: int) -> tuple[bool, ...]:
    """`have_finite_slopes`, by the operations of an update, or else by a trial."""
    return (True,) * 4 if is_smooth(optimizer, shapes) else try_slopes(optimizer, shapes, num_steps)


def is_smooth(optimizer: optax.GradientTransformation, shapes: Params) -> bool:
    """Whether an update does nothing but what is SMOOTH."""

    def update(gradient):
        return optimizer.update(gradient, optimizer.init(gradient), gradient)[0]

    try:
        return all(is_smooth_operation(equation) for equation in jax.make_jaxpr(update)(shapes).eqns)
    except Exception:  # whatever this optimizer asks for: it is tried with all that an inner loop gives
        return False


def is_smooth_operation(equation: JaxprEqn) -> bool:
    """Whether an operation is SMOOTH, a division by a constant, or a call of such operations."""
    name = equation.primitive.name
    if name in ("jit", "pjit"):
        return all(map(is_smooth_operation, equation.params["jaxpr"].eqns))
    if name == "integer_pow":
        return equation.params["y"] >= 0
    return name in SMOOTH or (name == "div" and isinstance(equation.invars[1], Literal))


def try_slopes(optimizer: optax.GradientTransformation, shapes: Params, num_steps: int) -> tuple[bool, ...]:
    """`have_finite_slopes`, by derivatives of the adapted parameters that are taken at once, though JAX traces."""

    def adapted_sum(params, mask):
        def loss_fn(params, batch, key):  # whose gradient is below one, since steps of sgd(5) on ½ ‖θ‖² leave float16
            terms = jax.tree.map(lambda leaf, mask: jnp.sum(mask * optax.losses.log_cosh(leaf)), params, mask)
            return 1 + sum(term.astype(jnp.float32) for term in jax.tree.leaves(terms)), {}

        steps = min(num_steps, UNROLL_LIMIT)
        key = jax.random.key(0)
        adapted = adapt(loss_fn, optimizer, params, jnp.zeros(1), key, num_steps=steps, remat="steps")
        return sum(leaf.astype(jnp.float32).sum() for leaf in jax.tree.leaves(adapted))

    def slopes_are_finite(params, masks):
        slopes = jax.lax.map(lambda mask: jax.grad(adapted_sum)(params, mask), masks)
        return [jnp.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in jax.tree.leaves(slopes)]

    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    masks = masks_of(ones)
    traced = jax.make_jaxpr(slopes_are_finite)(ones, masks)
    if any(map(is_traced, traced.consts)):
        return (True,) * 4
    leaves = jax.tree.leaves((ones, masks))  # arguments, since the compiler would take seconds to fold such constants
    finite = jax.jit(jaxpr_as_fun(traced)).lower(*leaves).compile()(*leaves)
    return tuple(np.all([np.asarray(of_leaf) for of_leaf in finite], axis=0).tolist())


def masks_of(ones: Params) -> Params:
    """Which parameters have a gradient: all but the first unit of each leaf, the first leaf, the last leaf, none."""

    def live(leaf):
        units = leaf.shape[-1] if leaf.ndim and leaf.shape[-1] > 1 else leaf.size
        return (np.arange(leaf.size) % units > min(0, units - 2)).astype(leaf.dtype).reshape(leaf.shape)

    leaves, structure = jax.tree.flatten(ones)
    zeros = list(map(np.zeros_like, leaves))
    losses = [list(map(live, leaves)), [*leaves[:1], *zeros[1:]], [*zeros[:-1], *leaves[-1:]], zeros]
    return jax.tree.unflatten(structure, [np.stack(of_leaf) for of_leaf in zip(*losses, strict=True)])
