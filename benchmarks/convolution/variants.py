"""One meta-gradient in several ways, the same tasks and parameters for all, and what it has to compute."""

import importlib.util
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_meta
from benchmarks.convolution.peers import torch_meta_gradient
from benchmarks.harness.jax_networks import naive_meta_gradient, our_learner, our_meta_gradient
from benchmarks.harness.rounds import Run
from benchmarks.harness.workloads import conv4
from jax_meta import Task

WAYS, SHOTS, QUERIES, TASKS, SIZE, FILTERS = 5, 1, 15, 4, 28, 64
MODEL = jax_meta.models.Conv4(WAYS, FILTERS)
MATRIX_SIZES = (512, 1024, 2048)


def make_problem(key: jax.Array) -> tuple[Any, Task]:
    """Parameters, and one batch of tasks of random images."""
    data = jax_meta.datasets.ClassImages(
        np.random.default_rng(0).integers(0, 256, (20, SHOTS + QUERIES, SIZE, SIZE, 1), np.uint8),
        np.full(20, SHOTS + QUERIES, np.int32),
        tuple(map(str, range(20))),
    )
    tasks = jax_meta.tasks.sample_episodes(key, data, TASKS, ways=WAYS, shots=SHOTS, queries=QUERIES)
    return MODEL.init(key, tasks.support[0][0]), tasks


def make_variants(params: Any, tasks: Task, steps: int) -> dict[str, Run]:
    """Functions that return a meta-gradient, compiled, by name."""
    workload = conv4(TASKS, steps)
    learner = our_learner(workload)
    gradients = {
        "jax_meta, one task at a time": our_meta_gradient(learner, 1),
        "jax_meta, vmap": our_meta_gradient(learner, None),
        "flax.linen, vmap, scanned inner loop": naive_meta_gradient(workload),
    }
    variants: dict[str, Run] = {name: partial(jax.jit(gradient), params, tasks) for name, gradient in gradients.items()}
    if importlib.util.find_spec("torch"):
        variants["PyTorch, loop over tasks"] = torch_meta_gradient(workload, params, tasks)
    return variants


def compare(variants: dict[str, Run]) -> dict[str, float]:
    """Each variant's largest difference from the first one's meta-gradient, relative to its largest entry."""
    gradients = {name: jax.tree.map(np.asarray, run()) for name, run in variants.items()}
    reference = jax.tree.leaves(next(iter(gradients.values())))

    def difference(leaves):
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(leaves, reference, strict=True))

    return {name: difference(jax.tree.leaves(gradient)) for name, gradient in gradients.items()}


def make_matrix_products() -> tuple[dict[str, Run], dict[str, float]]:
    """Products of square float32 matrices, by name, and the multiplications and additions of each."""
    product = jax.jit(jnp.matmul)
    matrices = {f"matrix product, {size}": jnp.ones((size, size), jnp.float32) for size in MATRIX_SIZES}
    runs: dict[str, Run] = {name: partial(product, matrix, matrix) for name, matrix in matrices.items()}
    return runs, {name: 2.0 * len(matrix) ** 3 for name, matrix in matrices.items()}


def model_flop(steps: int) -> float:
    """Multiplications and additions of the convolutions of one meta-step, as the definition counts them.

    A block needs its outputs and the gradients of images and kernel, 3 products, for each query; the first needs no
    gradient of the images. A second-order inner step has those 3, and for each of them the 2 of its transposes: 9.
    For the first block these are 2, and 4.
    """
    sizes = [SIZE // 2**block for block in range(4)]
    first, *rest = (2 * 9 * FILTERS * (FILTERS if block else 1) * size**2 for block, size in enumerate(sizes))
    queries, supports = TASKS * WAYS * QUERIES, TASKS * WAYS * SHOTS
    return queries * (3 * sum(rest) + 2 * first) + steps * supports * (9 * sum(rest) + 4 * first)
