"""The tasks of a meta-step on many devices: each takes its share, and one all-reduce adds up their gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_meta.base import Metrics, Params, PyTree, Task

AXIS = "tasks"


def mean_over_devices(
    mean: Callable[..., tuple[Params, Metrics]], mesh: Mesh, meta_params: Params, tasks: Task, keys: jax.Array
) -> tuple[Params, Metrics]:
    """`mean(meta_params, tasks, keys, weights)`, with the tasks spread over the mesh.

    Where the number of devices does not divide that of tasks, some tasks are done twice, and the copies weigh nothing.
    """
    mesh = check_mesh(mesh)
    num_tasks, devices = len(keys), mesh.shape[AXIS]
    places = jnp.arange(num_tasks + -num_tasks % devices)
    weights = None
    if len(places) > num_tasks:
        weights = jnp.where(places < num_tasks, len(places) / num_tasks, 0.0)
        tasks, keys = jax.tree.map(lambda leaf: leaf[places % num_tasks], (tasks, keys))

    def share(*inputs):
        return jax.lax.pmean(mean(*inputs), AXIS)

    whole, spread = PartitionSpec(), PartitionSpec(AXIS)
    on_mesh = jax.shard_map(
        share, mesh=mesh, in_specs=(whole, spread, spread, spread), out_specs=whole, check_vma=False
    )
    return on_mesh(meta_params, tasks, keys, weights)


def replicate(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """The arrays of `tree` on all devices of the mesh; those that are on it already stay as they are."""
    if mesh is None:
        return tree
    mesh = check_mesh(mesh)

    def place(leaf):
        if isinstance(leaf, jax.core.Tracer):
            return leaf
        sharding = getattr(leaf, "sharding", None)
        on_mesh = isinstance(sharding, NamedSharding) and sharding.mesh == mesh
        return leaf if on_mesh else jax.device_put(leaf, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(place, tree)


def check_mesh(mesh: Mesh) -> Mesh:
    """The mesh, with shardings left to the compiler; raises ValueError unless it has an axis for the tasks."""
    if AXIS not in mesh.shape:
        raise ValueError(
            f"the mesh needs an axis {AXIS!r}, and has {tuple(mesh.shape)}: make it with "
            f"jax.make_mesh((jax.device_count(),), ({AXIS!r},))."
        )
    return Mesh(mesh.devices, mesh.axis_names)
