"""The tensors of a model file: their names in a tree of parameters, and whether they fit a model."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import MetaLearner, Params, PyTree
from jax_meta.checks import describe
from jax_meta.saved.names import shown
from jax_meta.saved.settings import Settings, checked_input_shape

DTYPES = {
    **{"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"},
    **{
        f"{letter}{bits}": f"{word}{bits}" for letter, word in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
    },
}
MAX_DEPTH = 32
WRAPPED = (
    *("meta_sgd", "maml_plus_plus", "meta_curvature", "kfo", "lstm_optimizer"),
    *("carried_reptile", "r2d2"),
)
"""Learners whose meta-parameters have more than a model's parameters, which they keep under `params`."""


def names(tree: PyTree) -> dict[str, Any]:
    """The leaves by their tensors' names, in the order of the tree; raises ValueError if two would be one."""
    leaves = jax.tree.leaves_with_path(tree)
    found = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(found) < len(leaves) or "__metadata__" in found:
        raise ValueError(f"every tensor needs a name of its own, got {shown(sorted(found))}: rename the parameters.")
    return found


def to_arrays(meta_params: Params) -> dict[str, np.ndarray]:
    """The leaves by name, as safetensors writes them: contiguous and in little-endian bytes."""
    arrays = {}
    for name, leaf in names(meta_params).items():
        if getattr(getattr(leaf, "dtype", None), "name", None) not in DTYPES.values():
            raise ValueError(
                f"{name} must be an array of floats or integers, got {shown(leaf)}: convert or leave it out."
            )
        arrays[name] = np.asarray(leaf).astype(np.asarray(leaf).dtype.newbyteorder("<"), order="C")
    return arrays


def read_shapes(file: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of each tensor in an open file; raises ValueError for those that no array here could have."""
    shapes = {}
    for name in file.keys():  # noqa: SIM118 - an open file cannot be iterated
        tensor = file.get_slice(name)
        shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
        if dtype not in DTYPES or len(shape) > MAX_DEPTH or math.prod(filter(None, shape)) > 2**48:
            raise ValueError(f"no parameter can be as tensor {shown(name)}, {dtype} {shown(shape)}: get the file anew.")
        shapes[name] = jax.ShapeDtypeStruct(shape, DTYPES[dtype])
    return shapes


def structure(settings: Settings, learner: MetaLearner, model: Any, tensors: Mapping[str, Any]) -> PyTree:
    """The meta-parameters' shapes and dtypes, in their structure, according to the settings.

    A Flax module of known input shape says what its parameters are; otherwise the tensors' names and shapes do. Raises
    ValueError unless the tensors are those, no less and no more.
    """
    shape = checked_input_shape(settings)
    wrapped = settings["learner"]["name"] in WRAPPED
    if isinstance(model, nn.Module) and shape is not None:
        params = initial_shapes(model, shape)
    elif wrapped:
        prefix = "params."
        params = nest({name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)})
    else:
        params = nest(tensors)
    made = jax.eval_shape(learner.init, params)
    check_tensors(names(made), tensors)
    return made


def nest(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Dicts within dicts, by the parts of the tensors' names; raises ValueError for names that do not fit."""
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *outer, last = name.split(".")
        branch = tree
        for part in outer[:MAX_DEPTH]:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                break
        if len(outer) > MAX_DEPTH or not isinstance(branch, dict) or last in branch:
            raise ValueError(f"tensor {shown(name)} lies too deep, or within another tensor: rename the parameters.")
        branch[last] = tensor
    return tree


def initial_shapes(model: nn.Module, input_shape: tuple[int, ...]) -> PyTree:
    """The shapes and dtypes of a module's parameters, without making them."""
    try:
        return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *input_shape), jnp.float32))
    except Exception as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise ValueError(
            f"{type(model).__name__} cannot take inputs of shape {input_shape} ({type(error).__name__}: {reason}): "
            "give the model and the input_shape that the parameters were made for."
        ) from error


def check_tensors(expected: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Raises ValueError unless tensors have the names, the shapes and the kind of dtype that a model asks for."""
    wrong = sorted(set(expected) ^ set(tensors))
    if wrong:
        state = "is missing" if wrong[0] in expected else "is not the model's"
        raise ValueError(f"tensor {shown(wrong[0])} {state}: save it again with the model and learner that it is for.")
    for name, leaf in expected.items():
        tensor = tensors[name]
        floating = [jnp.issubdtype(either.dtype, jnp.floating) for either in (leaf, tensor)]
        if tensor.shape != leaf.shape or floating[0] != floating[1]:
            raise ValueError(
                f"tensor {shown(name)} is {describe(tensor)} where the model has {describe(leaf)}: save it again with "
                "the model, input_shape and learner that it is for."
            )
