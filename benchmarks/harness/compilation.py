"""Compilation apart from running, so that neither is counted as the other."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

import jax_meta
from benchmarks.harness.jax_networks import initial_weights, our_learner, our_sampler, tasks_at_once, to_params
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Workload
from jax_meta.devices import replicate

Learning = tuple[jax_meta.MetaLearner, optax.GradientTransformation]


class Program(NamedTuple):
    """A compiled call of `jax_meta.fit`."""

    run: Callable[[], Any]
    num_steps: int  # its meta-steps
    compile_seconds: float
    compiled: Any  # what `jax.jit` made


def compile_ahead(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The function compiled for arguments like these, and the seconds that it took."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def our_learning(workload: Workload) -> Learning:
    """MAML and its outer Adam."""
    return our_learner(workload), optax.adam(OUTER_LEARNING_RATE)


def first_state(workload: Workload, learning: Learning) -> jax_meta.TrainState:
    return jax_meta.init(*learning, to_params(initial_weights(workload)), jax.random.key(0))


def compile_fit(
    workload: Workload, num_steps: int, *, learning: Learning | None = None, mesh: Mesh | None = None
) -> Program:
    """Compiles so many meta-steps of `jax_meta.fit` on a workload, of `our_learning` unless told otherwise."""
    learning = learning or our_learning(workload)
    sample_tasks, state = replicate((our_sampler(workload), first_state(workload, learning)), mesh)
    at_once = tasks_at_once(workload, jax.default_backend())
    options: dict = {"num_tasks": workload.num_tasks, "task_batch_size": at_once, "mesh": mesh}

    def fit(sample_tasks, state):
        return jax_meta.fit(*learning, sample_tasks, state, num_meta_steps=num_steps, **options)

    compiled, seconds = compile_ahead(fit, sample_tasks, state)
    return Program(partial(compiled, sample_tasks, state), num_steps, seconds, compiled)
