"""A state as named arrays on the host, and back; what differs, and a digest by which damage shows."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from jax_meta.base import TrainState


def step_of(state: TrainState) -> int:
    """The meta-steps taken; of many networks trained at once, those of the first."""
    return int(np.ravel(np.asarray(state.step))[0])


def to_arrays(state: TrainState) -> dict[str, np.ndarray]:
    """The arrays of a state by their path in it, on the host; keys as their data, arrays of no size left out."""
    named = jax.tree.leaves_with_path(state)
    arrays = {jax.tree_util.keystr(path, simple=True, separator="."): on_host(leaf) for path, leaf in named}
    return {name: array for name, array in arrays.items() if array.size}


def on_host(leaf: Any) -> np.ndarray:
    """A whole array on the host, also where its parts are on the devices of several processes."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def from_arrays(like: TrainState, arrays: Mapping[str, np.ndarray]) -> TrainState:
    """The inverse of `to_arrays`, given a state of the same structure; arrays are placed as its are."""

    def fill(path, leaf):
        value = arrays.get(jax.tree_util.keystr(path, simple=True, separator="."))
        if value is None:
            return leaf
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if is_key else jnp.asarray(value)
        sharding = getattr(leaf, "sharding", None)
        return jax.device_put(value, sharding) if isinstance(sharding, NamedSharding) else value

    return jax.tree.map_with_path(fill, like)


def check_like(arrays: Mapping[str, np.ndarray], like: TrainState, step: int) -> None:
    """Raises ValueError unless saved arrays have the names, shapes and dtypes of a state's."""
    theirs, ours = (
        {name: f"{array.dtype}{list(array.shape)}" for name, array in found.items()}
        for found in (arrays, to_arrays(like))
    )
    wrong = [name for name in dict.fromkeys([*ours, *theirs]) if theirs.get(name) != ours.get(name)]
    if wrong:
        told = "; ".join(f"{name} is {theirs.get(name)} there and {ours.get(name)} here" for name in wrong[:5])
        raise ValueError(
            f"the checkpoint of meta-step {step} is of another model or optimizer: {told}. Give a state that "
            "jax_meta.init makes of the learner, the outer optimizer and the model that it was saved with."
        )


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, dtypes, shapes and contents."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        total.update(f"{name} {array.dtype} {array.shape};".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
