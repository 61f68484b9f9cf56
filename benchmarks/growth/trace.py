"""Where XLA spends a meta-step, from a trace of one call: by part of the algorithm, and by kind of operation.

Tracing an operation of a few hundred nanoseconds costs several times that, so the shares are those of the traced run.
"""

import gzip
import json
import re
import tempfile
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import jax

from benchmarks.growth.programs import Program

OPERATION = re.compile(r'^\s*(?:ROOT )?%?([\w.\-]+) = .*?metadata=\{[^}]*?op_name="([^"]*)"', re.MULTILINE)
STEP = re.compile(r"meta_steps\)*/while/body/(.*)")
PARTS = (
    (re.compile(r"transpose\(jvp\((vmap\()?(jit\(inner_step\)|\)*/while/body)"), "back through the inner steps"),
    (re.compile(r"jvp\((vmap\()?(jit\(inner_step\)|\)*/while/body)"), "inner steps"),
    (re.compile(r"transpose\("), "query loss, backward"),
    (re.compile(r"jvp\("), "query loss, forward"),
    (re.compile(r"closed_call/"), "mean over tasks, and Adam"),
)
KINDS = (
    (re.compile(r"dot|ynn_fusion|gemm|cublas"), "matrix products"),
    (re.compile(r".*reduce"), "sums"),
    (re.compile(r"copy(\.|$)|transpose"), "copies"),
    (re.compile(r".*fusion|wrapped"), "elementwise, fused"),
)
OUTER = re.compile(r"while|call|conditional")
UNNAMED = "not named by the compiler"


def profile(program: Program) -> dict | None:
    """Microseconds a meta-step by part and by kind, and operations a meta-step; None where a trace names no operation.

    Of nested operations the innermost are counted. A part is read from the name that JAX gave an operation.
    """
    if not (events := trace_events(program)):
        return None
    names = dict(OPERATION.findall(program.compiled.as_text()))
    each = [(operation, microseconds / program.num_steps) for operation, microseconds in events]
    return {
        "microseconds_by_part": totals((part_of(names.get(operation, "")), taken) for operation, taken in each),
        "microseconds_by_kind": totals((kind_of(operation), taken) for operation, taken in each),
        "operations_a_meta_step": len(events) / program.num_steps,
    }


def totals(named: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The sum of each name's numbers, the largest first."""
    sums = defaultdict[str, float](float)
    for name, number in named:
        sums[name] += number
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def trace_events(program: Program) -> list[tuple[str, float]]:
    jax.block_until_ready(program.run())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            jax.block_until_ready(program.run())
        (path,) = Path(folder).rglob("perfetto_trace.json.gz")
        told = json.loads(gzip.decompress(path.read_bytes()))
    events = told["traceEvents"] if isinstance(told, dict) else told
    return innermost(
        [(event["args"]["hlo_op"], event["ts"], event["dur"]) for event in events if "hlo_op" in event.get("args", {})]
    )


def innermost(events: list[tuple[str, float, float]]) -> list[tuple[str, float]]:
    """Of events (name, start, duration), name and duration, without the loops and calls in which another event starts.

    A loop that is compiled as one kernel stays, since its operations are not told.
    """
    starts = sorted(start for _, start, _ in events)

    def told_by_others(name, start, duration):
        return bool(OUTER.match(name)) and bisect_right(starts, start) < bisect_left(starts, start + duration)

    return [(name, duration) for name, start, duration in events if not told_by_others(name, start, duration)]


def part_of(name: str) -> str:
    """The part of the algorithm, from a name such as jit(f)/.../transpose(jvp(MLP))/Dense_1/dot_general."""
    if not name:
        return UNNAMED
    step = STEP.search(name)
    if step is None:
        return "drawing the tasks"
    return next((part for pattern, part in PARTS if pattern.search(step[1])), "the scan's own")


def kind_of(operation: str) -> str:
    return next((kind for pattern, kind in KINDS if pattern.match(operation)), "others")
