"""From the layouts of Flax, in NumPy or JAX arrays, to those of PyTorch."""

from operator import itemgetter
from typing import Any

import jax
import numpy as np
import torch

from tests.reference.inner import Batch, Params
from tests.reference.learners import Task

KERNEL_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
"""[in, out] to [out, in], and [height, width, in, out] to [out, in, height, width]; a bias stays."""


def torch_params(tree: Any) -> Params:
    """A dict of the leaves, with the path as the name, as in `Dense_0/kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): torch.tensor(torch_kernel(np.asarray(leaf)))
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def torch_kernel(leaf: np.ndarray) -> np.ndarray:
    """A kernel in the layout of PyTorch, or a bias as it is."""
    return leaf.transpose(KERNEL_AXES[leaf.ndim])


def torch_tasks(tasks: Any) -> list[Task]:
    """A list of pairs `(support, query)`, from leaves `[num_tasks, examples, ...]`."""
    num_tasks = len(jax.tree.leaves(tasks)[0])
    single_tasks = [jax.tree.map(itemgetter(index), tasks) for index in range(num_tasks)]
    return [(torch_batch(support), torch_batch(query)) for support, query in single_tasks]


def torch_batch(batch: Any) -> Batch:
    """The pair of tensors, with images `[examples, height, width, channels]` turned to `[examples, channels, ...]`."""
    inputs, targets = map(torch.tensor, batch)
    return (inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs), targets
