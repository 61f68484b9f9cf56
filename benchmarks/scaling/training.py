"""Meta-steps of `jax_meta.fit` on a mesh, compiled; in this process, or in one of a group that trains together."""

import re
import time
from collections import Counter
from collections.abc import Callable
from math import prod

import jax
from jax.sharding import Mesh

import jax_meta
from benchmarks.harness.compilation import Program, compile_fit
from benchmarks.harness.worker import Answer, Served
from benchmarks.harness.workloads import Workload, conv4, sine

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
    return compile_fit(WORKLOADS[name](num_tasks), STEPS[name], mesh=mesh)


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of every collective in a compiled program's text, by kind; those in a loop count once."""
    totals = Counter[str]()
    for results, kind in CALL.findall(text):
        for dtype, shape in ARRAY.findall(results):
            totals[kind] += ITEM_BYTES[dtype] * prod(int(size) for size in shape.split(",") if size)
    return dict(totals)


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
        patience: dict = {"heartbeat_timeout_seconds": TIMEOUT, "shutdown_timeout_seconds": TIMEOUT}
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
