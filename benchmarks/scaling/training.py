"""Meta-steps of `jax_meta.fit` on a mesh, compiled."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

import jax_meta
from benchmarks.peers.jax_peers import initial_weights, model, our_sampler, to_params
from benchmarks.peers.workloads import OUTER_LEARNING_RATE, Workload, conv4, sine
from benchmarks.scaling.collectives import collective_bytes
from jax_meta.devices import replicate

WORKLOADS: dict[str, Callable[[int], Workload]] = {
    "sine": lambda tasks: sine(tasks, 1),
    "conv4": lambda tasks: conv4(tasks, 1),
    "tiny": lambda tasks: sine(tasks, 1, width=4),
}
"""By name, for so many tasks a meta-step; "tiny" is for trying things out."""
STEPS = {"sine": 64, "conv4": 1, "tiny": 8}
"""Meta-steps of one call of `fit`."""


class Program(NamedTuple):
    """A compiled call of `fit`.

    Attributes:
        run: calls it.
        num_steps: its meta-steps.
        compile_seconds: what compiling took.
        collectives: bytes of a meta-step's collectives, by kind.
    """

    run: Callable[[], Any]
    num_steps: int
    compile_seconds: float
    collectives: dict[str, int]


def compile_program(name: str, num_tasks: int, mesh: Mesh | None) -> Program:
    """Compiles meta-steps of second-order MAML of so many tasks; on CPU, images are taken one task at a time."""
    workload = WORKLOADS[name](num_tasks)
    measure = jax_meta.regression if workload.model == "mlp" else jax_meta.classification
    learner = jax_meta.maml(measure(model(workload).apply), optax.sgd(workload.learning_rate), num_steps=1)
    outer = optax.adam(OUTER_LEARNING_RATE)
    one_at_a_time = workload.model == "conv4" and jax.default_backend() == "cpu"
    options = {"num_tasks": num_tasks, "task_batch_size": 1 if one_at_a_time else None, "mesh": mesh}
    state = jax_meta.init(learner, outer, to_params(initial_weights(workload)), jax.random.key(0))
    sample_tasks = jax.tree_util.Partial(our_sampler(workload)) if workload.model == "mlp" else our_sampler(workload)
    sample_tasks, state = replicate((sample_tasks, state), mesh)

    @jax.jit
    def fit(sample_tasks, state):
        return jax_meta.fit(learner, outer, sample_tasks, state, num_meta_steps=STEPS[name], **options)

    start = time.perf_counter()
    compiled = fit.lower(sample_tasks, state).compile()
    seconds = time.perf_counter() - start
    collectives = collective_bytes(compiled.as_text() or "")
    return Program(partial(compiled, sample_tasks, state), STEPS[name], seconds, collectives)


def make_mesh() -> Mesh:
    """All devices of all processes, along one axis."""
    return jax.make_mesh((jax.device_count(),), ("tasks",))


def timed(program: Program, calls: int) -> float:
    """Seconds of so many calls, one after the other; FloatingPointError if they trained to NaN."""
    start = time.perf_counter()
    for _ in range(calls):
        _, history = jax.block_until_ready(program.run())
    seconds = time.perf_counter() - start
    jax_meta.check_finite(history)
    return seconds
