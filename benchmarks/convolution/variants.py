"""One meta-gradient in several ways, what it has to compute, and each layer of it in each formulation.

The layers are what `jax_meta.networks.convolution_cpu.choose` rests on.
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from benchmarks.harness import jax_networks
from benchmarks.harness.rounds import Run, Tell, median_seconds
from benchmarks.harness.workloads import Workload
from jax_meta import Task
from jax_meta.networks.convolution import ROLES
from jax_meta.networks.convolution_cpu import BY_PATCHES, BY_XLA, Geometry, choose
from jax_meta.networks.trilinear import others

MATRIX_SIZES = (512, 1024, 2048)
EXAMPLES, FILTERS = 75, 64
LAYERS = {
    "28 x 28 x 1": (28, 1, 1),
    "14 x 14 x 64": (14, FILTERS, 1),
    "7 x 7 x 64": (7, FILTERS, 1),
    "3 x 3 x 64": (3, FILTERS, 1),
    "28 x 28 x 1, stride 2": (28, 1, 2),
    "14 x 14 x 64, stride 2": (14, FILTERS, 2),
    "7 x 7 x 64, stride 2": (7, FILTERS, 2),
}
FACES = [(layer, wanted) for layer in LAYERS for wanted in ROLES if not (wanted == "images" and LAYERS[layer][1] == 1)]
"""All but the gradient of the first layer's images, which nobody needs."""


def make_variants(workload: Workload) -> dict[str, Run]:
    """Functions that return a meta-gradient, compiled, by name, all of the same tasks from the same parameters."""
    params = jax_networks.to_params(jax_networks.initial_weights(workload))
    tasks = jax_networks.our_sampler(workload)(jax.random.key(0), workload.num_tasks)
    learner = jax_networks.our_learner(workload)
    gradients = {
        "jax_meta, one task at a time": jax_networks.our_meta_gradient(learner, 1),
        "jax_meta, vmap": jax_networks.our_meta_gradient(learner, None),
        "flax.linen, vmap, scanned inner loop": jax_networks.naive_meta_gradient(workload),
    }
    variants: dict[str, Run] = {name: partial(jax.jit(gradient), params, tasks) for name, gradient in gradients.items()}
    if importlib.util.find_spec("torch"):
        variants["PyTorch, loop over tasks"] = torch_meta_gradient(workload, params, tasks)
    return variants


def torch_meta_gradient(workload: Workload, params: Any, tasks: Task) -> Run:
    """PyTorch's meta-gradient of these tasks, as a function without arguments; its leaves are as in `params`."""
    from benchmarks.harness import torch_networks

    arrays = jax_networks.flat(params)
    weights, names = torch_networks.weight_list(arrays, "cpu"), sorted(arrays, key=torch_networks.layer_order)
    support, query = ((np.array(inputs), np.array(labels, np.int64)) for inputs, labels in tasks)
    tensors = torch_networks.tasks_to_torch((support, query), "cpu")
    gradient = torch_networks.value_and_gradient(workload)

    def run():
        _, slopes = gradient(weights, tensors)
        gradients = {name: torch_networks.from_torch(slope) for name, slope in zip(names, slopes, strict=True)}
        return unflatten_dict(gradients, sep="/")

    return run


def compare(variants: dict[str, Run]) -> dict[str, float]:
    """Each variant's largest difference from the first one's meta-gradient, relative to its largest entry."""
    gradients = {name: jax.tree.map(np.asarray, run()) for name, run in variants.items()}
    reference = jax.tree.leaves(next(iter(gradients.values())))

    def difference(leaves):
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(leaves, reference, strict=True))

    return {name: difference(jax.tree.leaves(gradient)) for name, gradient in gradients.items()}


def make_matrix_products() -> dict[int, Run]:
    matrices = {size: jnp.ones((size, size), jnp.float32) for size in MATRIX_SIZES}
    return {size: partial(jax.jit(jnp.matmul), matrix, matrix) for size, matrix in matrices.items()}


def model_flop(workload: Workload) -> float:
    """Multiplications and additions of the convolutions of one meta-step, as `scaling.paper.flop_per_task` counts."""
    sizes, filters = [workload.size // 2**block for block in range(4)], workload.width
    first, *rest = (2 * 9 * filters * (filters if block else 1) * size**2 for block, size in enumerate(sizes))
    classes = workload.num_tasks * workload.ways
    query, support = 3 * sum(rest) + 2 * first, 9 * sum(rest) + 4 * first
    return classes * (workload.queries * query + workload.inner_steps * workload.shots * support)


def measure_layers(repeats: int, tell: Tell) -> list[dict]:
    """Nominal GFLOP/s of every layer and face in each formulation."""
    records = []
    for layer, wanted in FACES:
        tell(f"{layer}, {wanted}")
        speeds = measure_layer(wanted, *LAYERS[layer], repeats)
        records.append({"layer": layer, "wanted": wanted, "gflop_per_second": speeds})
    return records


def measure_layer(wanted: str, size: int, channels: int, stride: int, repeats: int) -> dict[str, float]:
    """Nominal GFLOP/s of one face of a layer, in turns: plain `jax.lax`, with its rows spread, patches, our choice."""
    padding = tuple(jax.lax.padtype_to_pads((size, size), (3, 3), (stride, stride), "SAME"))
    geometry = Geometry((size, size), (3, 3), (stride, stride), padding)
    shapes: dict[str, tuple[int, ...]] = {
        "images": (EXAMPLES, size, size, channels),
        "kernel": (3, 3, channels, FILTERS),
        "outputs": (EXAMPLES, *geometry.outputs, FILTERS),
    }
    keys = jax.random.split(jax.random.key(0), len(ROLES))
    known = {role: jax.random.normal(key, shapes[role]) for role, key in zip(ROLES, keys, strict=True)}
    pair = [known[role] for role in others(ROLES, wanted)]
    formulations: dict[str, Callable[..., jax.Array]] = {
        "jax.lax": partial(BY_XLA[wanted], row_step=1),
        "rows spread": BY_XLA[wanted],
        "patches": BY_PATCHES[wanted],
        "chosen": choose(wanted, pair[0], pair[1], geometry),
    }
    runs = {name: partial(jax.jit(partial(each, geometry=geometry)), *pair) for name, each in formulations.items()}
    flop = 2 * 9 * channels * FILTERS * EXAMPLES * geometry.outputs[0] * geometry.outputs[1]
    return {name: flop / seconds / 1e9 for name, seconds in median_seconds(runs, 2 * repeats).items()}
