"""One new task in JAX: `learner.adapt` as the README calls it, and a naive function that its user has compiled."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.harness.jax_networks import naive_adapt, naive_loss, our_learner, to_params
from benchmarks.harness.workloads import Batch, Weights, Workload, task_source
from benchmarks.peers.peer import Peer


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """`jax_meta`, outside `jax.jit`."""
    learner, params, key = our_learner(workload), to_params(weights), jax.random.key(0)
    return adapting(workload, lambda support: learner.adapt(params, support, key))


def make_jitted(workload: Workload, weights: Weights, device: str) -> Peer:
    compiled, params = jax.jit(naive_adapt(workload)), to_params(weights)
    return adapting(workload, lambda support: compiled(params, support))


def adapting(workload: Workload, adapt: Callable[[Batch], Any]) -> Peer:
    """A peer that adapts to the first task of a batch, from the given weights."""
    loss = jax.jit(naive_loss(workload))
    support = jax.device_put(first(task_source(workload)(np.random.default_rng(0))[0]))

    def run(times: int) -> None:
        for _ in range(times):
            adapted = adapt(support)
        jax.block_until_ready(adapted)

    return Peer(lambda batches: [float(loss(adapt(first(known)), *first(asked))) for known, asked in batches], run)


def first(batch: Batch) -> Batch:
    return batch[0][0], batch[1][0]
