"""`jax_meta` and plain JAX, compiled ahead of time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jax_meta
from benchmarks.harness.jax_networks import flat, naive_meta_gradient, our_learner, our_meta_gradient, to_params
from benchmarks.harness.workloads import Workload, load_problem
from benchmarks.memory.program import Build, Program
from jax_meta import Task


def ours(workload: dict, problem: str, *, task_batch_size: int | None = None, **options: Any) -> Build:
    """`jax_meta.meta_gradient` of MAML on images, with the options of `jax_meta.maml`."""
    learner = our_learner(Workload(**workload), **options)
    return ahead_of_time(our_meta_gradient(learner, task_batch_size), *load(problem))


def naive(workload: dict, problem: str) -> Build:
    """`flax.linen` under `vmap`, with a scanned inner loop."""
    return ahead_of_time(naive_meta_gradient(Workload(**workload)), *load(problem))


def mlp(
    layers: int, width: int, examples: int, inner_steps: int, *, task_batch_size: int | None = None, **options: Any
) -> Build:
    """`jax_meta.meta_gradient` of MAML through a perceptron with so many hidden layers, for one task of regression."""
    network = jax_meta.models.MLP((width,) * layers, width)
    keys = jax.random.split(jax.random.key(0), 5)
    arrays = [jax.random.normal(key, (1, examples, width)) for key in keys[1:]]
    learner = jax_meta.maml(jax_meta.regression(network.apply), optax.sgd(0.1), num_steps=inner_steps, **options)
    params, tasks = network.init(keys[0], arrays[0][0]), Task((arrays[0], arrays[1]), (arrays[2], arrays[3]))
    return ahead_of_time(our_meta_gradient(learner, task_batch_size), params, tasks)


def load(problem: str) -> tuple[Any, Task]:
    weights, batches = load_problem(problem)
    return to_params(weights), jax.tree.map(jnp.asarray, Task(*batches[0]))


def ahead_of_time(function: Callable[..., Any], *arguments: Any) -> Build:
    def build():
        compiled = jax.jit(function).lower(*arguments).compile()

        def run():
            return flat(jax.block_until_ready(compiled(*arguments)))

        return Program(run, compiled.memory_analysis().temp_size_in_bytes)

    return build
