"""Meta-steps of `jax_meta.fit` on a mesh, compiled; in this process, or in one of a group that trains together."""

import re
import time
from collections.abc import Callable
from math import prod
from typing import Any

import jax
import optax
from jax.sharding import Mesh

import jax_meta
from benchmarks.harness.compilation import Program, compile_fit
from benchmarks.harness.jax_networks import initial_weights, our_learner, our_sampler, tasks_at_once, to_params
from benchmarks.harness.worker import Answer, Served
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Workload, conv4, sine
from jax_meta.devices import replicate

WORKLOADS: dict[str, Callable[[int], Workload]] = {
    "sine": lambda tasks: sine(tasks, 1),
    "conv4": lambda tasks: conv4(tasks, 1),
    "tiny": lambda tasks: sine(tasks, 1, width=4),
}
"""By name, for so many tasks a meta-step; "tiny" is for trying things out."""
STEPS = {"sine": 64, "conv4": 1, "tiny": 8}
"""Meta-steps of one call of `fit`."""
TIMEOUT = 30
"""Seconds after which a process that no longer answers ends the others."""
ITEM_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
CALL = re.compile(r" = (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(")
ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


def compile_program(name: str, num_tasks: int, mesh: Mesh | None) -> Program:
    """Compiles meta-steps of second-order MAML of so many tasks."""
    workload = WORKLOADS[name](num_tasks)
    learner, outer = our_learner(workload), optax.adam(OUTER_LEARNING_RATE)
    options: dict[str, Any] = {"task_batch_size": tasks_at_once(workload, jax.default_backend()), "mesh": mesh}
    state = jax_meta.init(learner, outer, to_params(initial_weights(workload)), jax.random.key(0))
    sample_tasks, state = replicate((our_sampler(workload), state), mesh)
    return compile_fit(learner, outer, sample_tasks, state, num_steps=STEPS[name], num_tasks=num_tasks, **options)


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of every collective in a compiled program's text, by kind; those in a loop count once."""
    totals: dict[str, int] = {}
    for line in text.split("\n"):
        if found := CALL.search(line):
            totals[found[2]] = totals.get(found[2], 0) + sum(map(array_bytes, ARRAY.findall(found[1])))
    return totals


def array_bytes(array: tuple[str, str]) -> int:
    """Bytes of an array such as `("f32", "3,4")`."""
    dtype, shape = array
    return ITEM_BYTES[dtype] * prod(int(size) for size in shape.split(",") if size)


def timed(program: Program, calls: int) -> float:
    """Seconds of so many calls, one after the other; FloatingPointError if they trained to NaN."""
    start = time.perf_counter()
    for _ in range(calls):
        _, history = jax.block_until_ready(program.run())
    seconds = time.perf_counter() - start
    jax_meta.check_finite(history)
    return seconds


def serve(processes: int, process: int, address: str, devices: int) -> Served:
    """What a process of a group does: it makes so many CPU devices, joins the others, compiles and runs with them."""
    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        patience: dict[str, Any] = {"heartbeat_timeout_seconds": TIMEOUT, "shutdown_timeout_seconds": TIMEOUT}
        jax.distributed.initialize(address, processes, process, **patience)
    mesh = jax.make_mesh((jax.device_count(),), ("tasks",))  # all devices of all processes
    programs: dict[tuple[str, int], Program] = {}

    def build(workload: str, tasks: int) -> Answer:
        program = programs[workload, tasks] = compile_program(workload, tasks, mesh)
        timed(program, 1)  # to warm up
        return {
            "compile_seconds": program.compile_seconds,
            "num_steps": program.num_steps,
            "collective_bytes": collective_bytes(program.compiled.as_text() or ""),
            "seconds": timed(program, 1),
        }

    def run(workload: str, tasks: int, calls: int) -> Answer:
        return {"seconds": timed(programs[workload, tasks], calls)}

    return {"device": f"{jax.devices()[0].device_kind}, {jax.device_count()} devices"}, {"build": build, "run": run}
