"""The same tasks drawn on the device, by a NumPy function, and by an iterable: a PyTorch DataLoader if there is one."""

import importlib.util
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import jax_meta
from benchmarks.harness.jax_networks import our_sampler
from benchmarks.harness.workloads import Workload, task_source
from jax_meta import Task


def make_samplers(workload: Workload) -> dict[str, Any]:
    """By name, what `jax_meta.fit` takes; "device" is the first."""
    draw = task_source(workload)
    samplers = {
        "device": our_sampler(workload),
        "function": jax_meta.host_tasks(lambda rng, num_tasks: Task(*draw(rng))),
    }
    if importlib.util.find_spec("torch"):
        return {**samplers, "DataLoader": jax_meta.host_tasks(data_loader(workload))}
    rng = np.random.default_rng(0)
    return {**samplers, "generator": jax_meta.host_tasks(Task(*draw(rng)) for _ in itertools.count())}


def data_loader(workload: Workload) -> Iterator[Task]:
    """Batches without end, which a DataLoader collates of single tasks, as people do."""
    from torch.utils.data import DataLoader, IterableDataset

    draw, rng = task_source(workload._replace(num_tasks=1)), np.random.default_rng(0)

    class Tasks(IterableDataset):
        def __iter__(self) -> Iterator[Task]:
            return (jax.tree.map(lambda leaf: leaf[0], Task(*draw(rng))) for _ in itertools.count())

    return iter(DataLoader(Tasks(), batch_size=workload.num_tasks))
