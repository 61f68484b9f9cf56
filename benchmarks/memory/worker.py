"""One variant in a process of its own, told what to do in lines of JSON: `python -m benchmarks.memory.worker`.

`{"do": "build", "make": "module:function", "arguments": {...}}` makes a program, and `{"do": "run", "save": path or
null}` runs it and writes its gradient to an npz file. Each is answered with what it took, or with `{"missing": ...}` or
`{"error": ...}`. Until it is told what to make, the process has NumPy in memory and no more.
"""

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

import numpy as np

from benchmarks.memory.program import Program
from benchmarks.memory.resident import forget_peak, peak, resident
from benchmarks.peers.worker import answer


def main() -> None:
    """Serves until its input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that what a library prints is not taken for an answer
    program: Program | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "build":
                program = None  # before the next one is made
                program, told = build(request["make"], request["arguments"])
            else:
                assert program is not None
                told = run(program, request["save"])
        except ModuleNotFoundError as error:
            told = {"missing": str(error)}
        except Exception as error:
            traceback.print_exc()
            told = {"error": f"{type(error).__name__}: {error}"}
        answer(answers, told)


def build(make: str, arguments: dict[str, Any]) -> tuple[Program, dict[str, Any]]:
    """Makes and compiles a program; what was resident before and after, and at the peak between."""
    module, function = make.split(":")
    compile_ = getattr(importlib.import_module(module), function)(**arguments)
    before, start = resident(), time.perf_counter()
    program = compile_()
    seconds, size = time.perf_counter() - start, program.temporary_bytes
    told = {
        "resident_before_mib": before,
        "resident_after_compilation_mib": resident(),
        "peak_before_running_mib": peak(),
        "compile_seconds": None if size is None else seconds,
        "temporary_mib": None if size is None else size / 2**20,
    }
    forget_peak()
    return program, told


def run(program: Program, save: str | None) -> dict[str, Any]:
    """Runs it once; the seconds, and the peak since it was compiled."""
    start = time.perf_counter()
    gradient = program.run()
    seconds, highest = time.perf_counter() - start, peak()
    if save:
        np.savez(save, **gradient)
    return {"seconds": seconds, "peak_running_mib": highest}


if __name__ == "__main__":
    main()
