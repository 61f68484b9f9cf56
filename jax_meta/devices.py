"""The tasks of a meta-step on many devices: each takes its share, and one all-reduce adds up their gradients."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jax_meta.base import Params, PyTree, Task

AXIS = "tasks"
WHOLE = PartitionSpec()


def mean_over_devices(mean: Callable[..., Any], mesh: Mesh, meta_params: Params, tasks: Task, keys: jax.Array) -> Any:
    """`mean(meta_params, tasks, keys, counted)`, a tree of means, with the tasks spread over the mesh.

    Where the number of devices does not divide that of tasks, some tasks are done twice, and the copies do not count.
    """
    mesh = check_mesh(mesh)
    if mesh.is_multi_process:  # outside jit each process has its arrays on its own device
        meta_params, tasks, keys = replicate((meta_params, tasks, keys), mesh)
    num_tasks, devices = len(keys), mesh.shape[AXIS]
    places = jnp.arange(num_tasks + -num_tasks % devices)
    counted = None
    if len(places) > num_tasks:
        counted = places < num_tasks
        tasks, keys = jax.tree.map(lambda leaf: leaf[places % num_tasks], (tasks, keys))

    def share(*inputs):
        return in_one_message(lambda values: jax.lax.pmean(values, AXIS), mean(*inputs))

    shares = PartitionSpec(AXIS)
    on_mesh = jax.shard_map(
        share, mesh=mesh, in_specs=(WHOLE, shares, shares, shares), out_specs=WHOLE, check_vma=False
    )
    means = on_mesh(meta_params, tasks, keys, counted)
    return means if counted is None else optax.tree.scale(len(places) / num_tasks, means)


def in_one_message(collective: Callable[[jax.Array], jax.Array], tree: PyTree) -> PyTree:
    """`collective` of all arrays of a dtype as one, since a message costs as much as the numbers in many a network."""
    leaves, structure = jax.tree.flatten(tree)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        places = [place for place, leaf in enumerate(leaves) if leaf.dtype == dtype]
        ends = np.cumsum([leaves[place].size for place in places])
        parts = jnp.split(collective(jnp.concatenate([leaves[place].ravel() for place in places])), ends[:-1])
        for place, part in zip(places, parts, strict=True):
            leaves[place] = part.reshape(leaves[place].shape)
    return jax.tree.unflatten(structure, leaves)


def spread(tasks: Task, mesh: Mesh | None) -> Task:
    """Tasks of many meta-steps, `[num_steps, num_tasks, ...]`, of which each device holds its share if it can."""
    if mesh is None:
        return tasks
    num_tasks, devices = jax.tree.leaves(tasks)[0].shape[1], check_mesh(mesh).shape[AXIS]
    return replicate(tasks, mesh, WHOLE if num_tasks % devices else PartitionSpec(None, AXIS))


def replicate(tree: PyTree, mesh: Mesh | None, spec: PartitionSpec = WHOLE) -> PyTree:
    """The arrays of `tree` on all devices of the mesh, whole or by `spec`; those that are on it already stay.

    Where several processes hold the mesh each gives its own copy; ValueError if the copies differ.
    """
    if mesh is None:
        return tree
    mesh = check_mesh(mesh)
    leaves, structure = jax.tree.flatten(tree)
    places = [place for place, leaf in enumerate(leaves) if not is_placed(leaf, mesh)]
    if mesh.is_multi_process:
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):  # inside jit, where the compiler places all
            return tree
        check_equal([leaves[place] for place in places], mesh)
    for place in places:
        leaves[place] = copy_to(mesh, leaves[place], spec)
    return jax.tree.unflatten(structure, leaves)


def is_placed(leaf: jax.Array, mesh: Mesh) -> bool:
    """Whether an array is on the mesh, or is traced, and so is placed by the compiler."""
    sharding = getattr(leaf, "sharding", None)
    return isinstance(leaf, jax.core.Tracer) or (isinstance(sharding, NamedSharding) and sharding.mesh == mesh)


def copy_to(mesh: Mesh, leaf: jax.Array, spec: PartitionSpec = WHOLE) -> jax.Array:
    """A copy of an array, or of a part of it, on each device of the mesh."""
    sharding = NamedSharding(mesh, spec)
    if not mesh.is_multi_process:
        return jax.device_put(leaf, sharding)
    # device_put refuses keys and arrays that were put on a device, as restored ones are
    leaf = jnp.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])


def check_equal(leaves: list[jax.Array], mesh: Mesh) -> None:
    """Raises ValueError unless each process of the mesh has arrays of the same bytes."""
    if not leaves:
        return
    checksums = copy_to(mesh, jnp.array([checksum(leaf) for leaf in leaves], jnp.uint32))
    differences = jax.shard_map(
        lambda sums: jax.lax.pmax(sums, mesh.axis_names) - jax.lax.pmin(sums, mesh.axis_names),
        mesh=mesh,
        in_specs=WHOLE,
        out_specs=WHOLE,
        check_vma=False,
    )
    different = int(np.count_nonzero(jax.jit(differences)(checksums)))
    if different:
        raise ValueError(
            f"{different} of the {len(leaves)} arrays of the state, the tasks or the sampler differ from process to "
            "process: make them in each process from the same key, or restore them from the same checkpoint."
        )


def checksum(leaf: jax.Array) -> int:
    """A number of 32 bits that tells arrays of different bytes apart."""
    is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
    array = np.ascontiguousarray(jax.random.key_data(leaf) if is_key else leaf)
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def check_mesh(mesh: Mesh) -> Mesh:
    """The mesh, with shardings left to the compiler; raises ValueError unless it has an axis for the tasks.

    Within `jax.set_mesh` of explicit axes, the default since JAX 0.9, nothing is left to the compiler: ValueError, too.
    """
    if AXIS not in mesh.shape:
        raise ValueError(
            f"the mesh needs an axis {AXIS!r}, and has {tuple(mesh.shape)}: make it with "
            f"jax.make_mesh((jax.device_count(),), ({AXIS!r},))."
        )
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        raise ValueError(
            "mesh= leaves shardings to the compiler, and jax.set_mesh has set explicit axes: call this outside of it, "
            "or set a mesh made with jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,) * number_of_axes)."
        )
    return Mesh(mesh.devices, mesh.axis_names)
