"""Arguments of another kind fail at once, with the remedy: a number for an optimizer, a state for parameters."""

import functools
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Params, TrainState
from jax_meta.checks import describe


def check_optimizer(optimizer: Any) -> None:
    """Raises TypeError unless `optimizer` is an optax transformation."""
    if not has_functions(optimizer, "init", "update"):
        raise TypeError(
            f"the optimizer must be an optax transformation, such as optax.sgd(0.1), got {named(optimizer)}"
            f"{': call it' if callable(optimizer) else ''}."
        )


def check_learner(learner: Any) -> None:
    """Raises TypeError unless `learner` has the functions of a `MetaLearner`."""
    if not has_functions(learner, "init", "adapt", "gradient"):
        raise TypeError(
            "the learner must be a jax_meta.MetaLearner, such as jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1), "
            f"got {named(learner)}{': call it' if callable(learner) else ''}."
        )


def check_key(key: Any) -> None:
    """Raises TypeError unless `key` is one key of `jax.random`, typed or of the old kind."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        keys = shape
    elif dtype == jnp.uint32 and shape and shape[-1] in (2, 4):  # jax.random.PRNGKey
        keys = shape[:-1]
    else:
        seed = f"jax.random.key({key})" if isinstance(key, int | np.integer) else "jax.random.key(0)"
        raise TypeError(f"the key must be one of jax.random, got {named(key)}: give {seed}.")
    if keys:
        raise TypeError(f"one key is needed, got an array of them, {list(keys)}: map over the keys with jax.vmap.")


def check_state(state: Any) -> None:
    """Raises TypeError unless `state` is a `TrainState` with one key."""
    if not isinstance(state, TrainState):
        raise TypeError(
            f"the state must be a jax_meta.TrainState, got {named(state)}: make it with "
            "jax_meta.init(learner, optimizer, params, key)."
        )
    check_key(state.key)


def check_opt_state(state: TrainState, optimizer: Any) -> None:
    """Raises ValueError unless the optimizer's state has the structure and shapes that this optimizer begins with."""
    expected = jax.eval_shape(optimizer.init, state.params)
    if not same_shapes(expected, state.opt_state):
        raise ValueError(
            "state.opt_state is another optimizer's, or of other parameters: make the state with "
            "jax_meta.init(learner, optimizer, params, key), of the same learner and optimizer."
        )


def same_shapes(left: Any, right: Any) -> bool:
    """Whether two trees have one structure, and leaves of the same shapes."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (left, right)]
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (left, right)]
    return structures[0] == structures[1] and shapes[0] == shapes[1]


def check_params(params: Any) -> None:
    """Raises an error unless `params` are all to be learned: real numbers, and no collection of something else.

    A running average or a counter among them would be moved by gradients, too, and a complex number would descend in
    its real part and ascend in its imaginary one, since `jax.grad` returns the conjugate.
    """
    if "params" in getattr(params, "_fields", ()):
        raise TypeError(
            f"the model's parameters are needed, got a {named(params)}: give its `.params` alone, and to each learner "
            "the state that jax_meta.init makes for it."
        )
    others = [name for name in params if name != "params"] if isinstance(params, Mapping) and "params" in params else []
    if others:
        raise ValueError(
            f"besides params there are the collections {', '.join(map(str, others))}, which gradients would move, too. "
            "jax_meta.layers.BatchNorm keeps no running averages; of other models give {'params': variables['params']} "
            "alone, and let the loss's apply add the rest."
        )
    check_variables(params)
    for path, leaf in jax.tree.leaves_with_path(params):
        check_parameter(path, leaf)


@functools.lru_cache(maxsize=64)
def is_real(dtype: Any) -> bool:
    """Whether a dtype is of real floats; None is not."""
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating)


def check_parameter(path: Any, leaf: Any) -> None:
    """Raises TypeError unless a leaf is an array of real numbers."""
    dtype = getattr(leaf, "dtype", None)
    if is_real(dtype):
        return
    place = jax.tree_util.keystr(path) or "the root"
    if dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(
            f"parameters must be real, got {describe(leaf)} at {place}: hold the real and the imaginary part as two "
            "arrays, and join them with jax.lax.complex in the loss."
        )
    if isinstance(leaf, float):
        raise TypeError(f"parameters must be arrays, got {leaf} at {place}: make them with jnp.asarray.")
    what = named(leaf) if dtype is None else describe(leaf)
    raise TypeError(
        f"parameters must be arrays of floats, which gradients can move, got {what} at {place}. Split the rest off: of "
        "an NNX model with graph, params, rest = nnx.split(model, nnx.Param, ...); of an Equinox one with "
        "params, rest = eqx.partition(model, eqx.is_inexact_array)."
    )


def check_variables(params: Params) -> None:
    """Raises TypeError for NNX variables that are no parameters, as running averages and random states."""
    nnx = sys.modules.get("flax.nnx")  # whoever has such variables has imported it, and it takes a second
    if nnx is None:
        return
    others = (nnx.BatchStat, nnx.Cache, nnx.Intermediate, nnx.RngState)
    leaves = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, nnx.Variable))
    kinds = sorted({type(leaf).__name__ for leaf in leaves if isinstance(leaf, others)})
    if kinds:
        raise TypeError(
            f"parameters must be nnx.Param, got {', '.join(kinds)} among them, which gradients would move, too: "
            "graph, params, rest = nnx.split(model, nnx.Param, ...)."
        )


def check_meta_params(meta_params: Any, kind: type, learner: str) -> None:
    """Raises TypeError unless the meta-parameters are of the kind that a learner learns."""
    if isinstance(meta_params, TrainState):
        raise TypeError("meta-parameters are needed, got a TrainState: give its `.params` alone.")
    if not isinstance(meta_params, kind):
        raise TypeError(
            f"jax_meta.{learner} learns {kind.__name__}, got {named(meta_params)}: make them with "
            "learner.init(params), or a state of them with jax_meta.init(learner, optimizer, params, key)."
        )


def has_functions(value: Any, *names: str) -> bool:
    """Whether a value has functions of these names, and is no class."""
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in names)


def named(value: Any) -> str:
    """What an argument is, in a few words: a number itself, a function by its name, others by their type."""
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return f"the {'class' if isinstance(value, type) else 'function'} {name}"
    return type(value).__name__
