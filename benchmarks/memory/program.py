"""What is measured, and what its process tells of it, with NumPy and the standard library alone."""

import pkgutil
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness.worker import Answer, Served

STATUS = Path("/proc/self/status")
Gradient = dict  # the arrays of a meta-gradient by the path of their parameter


class Program(NamedTuple):
    run: Callable[[], Gradient]  # computes it
    temporary_bytes: int | None  # needed beside arguments and results; None for what is not compiled


Build = Callable[[], Program]
"""Compiles, if there is anything to compile. What was imported and loaded before is not counted as compilation."""


def serve() -> Served:
    """What a variant's process does: it makes a program, and runs it; until then it has NumPy in memory and no more."""
    made: list[Program] = []

    def build(make: str, arguments: dict) -> Answer:
        made.clear()  # before the next one is made
        compile_ = pkgutil.resolve_name(make)(**arguments)
        before, start = resident(), time.perf_counter()
        made.append(compile_())
        seconds, size = time.perf_counter() - start, made[0].temporary_bytes
        told = {
            "resident_before_mib": before,
            "resident_after_compilation_mib": resident(),
            "peak_before_running_mib": peak(),
            "compile_seconds": None if size is None else seconds,
            "temporary_mib": None if size is None else size / 2**20,
        }
        with suppress(OSError):  # lets the peak begin anew with what is resident now, where the system can do that
            Path("/proc/self/clear_refs").write_text("5")
        return told

    def run(save: str | None) -> Answer:
        start = time.perf_counter()
        gradient = made[0].run()
        seconds, highest = time.perf_counter() - start, peak()
        if save:
            np.savez(save, **gradient)
        return {"seconds": seconds, "peak_running_mib": highest}

    return {}, {"build": build, "run": run}


def resident() -> float:
    """MiB of this process that are resident now; where only Linux could tell, the peak so far."""
    return from_status("VmRSS") if STATUS.exists() else peak()


def peak() -> float:
    """The most MiB of this process that were resident since the start, or since the peak began anew.

    Linux hands the peak that `getrusage` tells from the parent on to its child, and the parent has JAX in memory: where
    there is `/proc`, its figure counts, which begins with the program.
    """
    if STATUS.exists():
        return from_status("VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def from_status(name: str) -> float:
    (kilobytes,) = re.findall(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(kilobytes) / 2**10
