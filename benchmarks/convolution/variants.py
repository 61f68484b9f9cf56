"""One meta-gradient in several ways, the same tasks and parameters for all, and what it has to compute."""

import importlib.util
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from benchmarks.harness import jax_networks
from benchmarks.harness.rounds import Run
from benchmarks.harness.workloads import Workload
from jax_meta import Task

MATRIX_SIZES = (512, 1024, 2048)


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
    """Products of two square float32 matrices, by their size."""
    matrices = {size: jnp.ones((size, size), jnp.float32) for size in MATRIX_SIZES}
    return {size: partial(jax.jit(jnp.matmul), matrix, matrix) for size, matrix in matrices.items()}


def model_flop(workload: Workload) -> float:
    """Multiplications and additions of the convolutions of one meta-step, as the definition counts them.

    A block needs its outputs and the gradients of images and kernel, 3 products, for each query; the first needs no
    gradient of the images. A second-order inner step has those 3, and for each of them the 2 of its transposes: 9.
    For the first block these are 2, and 4.
    """
    sizes, filters = [workload.size // 2**block for block in range(4)], workload.width
    first, *rest = (2 * 9 * filters * (filters if block else 1) * size**2 for block, size in enumerate(sizes))
    classes = workload.num_tasks * workload.ways
    query, support = 3 * sum(rest) + 2 * first, 9 * sum(rest) + 4 * first
    return classes * (workload.queries * query + workload.inner_steps * workload.shots * support)
