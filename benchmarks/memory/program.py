"""What is measured, and what its process tells of it, with NumPy and the standard library alone."""

import pkgutil
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.worker import Answer, Served
from benchmarks.memory.resident import forget_peak, peak, resident

Gradient = Mapping[str, Any]
"""The arrays of a meta-gradient by the path of their parameter."""


class Program(NamedTuple):
    """A meta-gradient that is ready to run.

    Attributes:
        run: computes it.
        temporary_bytes: what the compiled program needs beside arguments and results; None for what is not compiled.
    """

    run: Callable[[], Gradient]
    temporary_bytes: int | None


Build = Callable[[], Program]
"""Compiles, if there is anything to compile. What was imported and loaded before is not counted as compilation."""


def serve() -> Served:
    """What a variant's process does: it makes a program, and runs it; until then it has NumPy in memory and no more."""
    made: list[Program] = []

    def build(make: str, arguments: dict[str, Any]) -> Answer:
        made.clear()  # before the next one is made
        program, told = compile_program(pkgutil.resolve_name(make)(**arguments))
        made.append(program)
        forget_peak()
        return told

    def run(save: str | None) -> Answer:
        start = time.perf_counter()
        gradient = made[0].run()
        seconds, highest = time.perf_counter() - start, peak()
        if save:
            np.savez(save, **gradient)
        return {"seconds": seconds, "peak_running_mib": highest}

    return {}, {"build": build, "run": run}


def compile_program(build: Build) -> tuple[Program, Answer]:
    """The program; what was resident before and after, and at the peak between."""
    before, start = resident(), time.perf_counter()
    program = build()
    seconds, size = time.perf_counter() - start, program.temporary_bytes
    told = {
        "resident_before_mib": before,
        "resident_after_compilation_mib": resident(),
        "peak_before_running_mib": peak(),
        "compile_seconds": None if size is None else seconds,
        "temporary_mib": None if size is None else size / 2**20,
    }
    return program, told
