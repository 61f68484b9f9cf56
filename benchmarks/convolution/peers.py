"""The same meta-gradient in PyTorch, with JAX's arrays on both sides."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks.harness.workloads import Workload
from jax_meta import Task


def torch_meta_gradient(workload: Workload, params: Any, tasks: Task) -> Callable[[], Any]:
    """PyTorch's meta-gradient of these tasks, as a function without arguments; its leaves are as in `params`."""
    from benchmarks.harness.torch_networks import (
        from_torch,
        layer_order,
        tasks_to_torch,
        value_and_gradient,
        weight_list,
    )

    arrays = {name: np.array(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    weights, names = weight_list(arrays, "cpu"), sorted(arrays, key=layer_order)
    support, query = ((np.array(inputs), np.array(labels, np.int64)) for inputs, labels in tasks)
    tensors, gradient = tasks_to_torch((support, query), "cpu"), value_and_gradient(workload)

    def run():
        _, slopes = gradient(weights, tensors)
        gradients = {name: from_torch(slope) for name, slope in zip(names, slopes, strict=True)}
        return unflatten_dict(gradients, sep="/")

    return run
