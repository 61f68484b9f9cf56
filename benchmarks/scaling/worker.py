"""One process of a group, which does what it is told in lines of JSON: `python -m benchmarks.scaling.worker ORDER`.

`ORDER` is JSON: the number of processes, this one's place among them, their address, and the CPU devices of each. The
first answer is `{"device": ...}`; then `{"do": "build", "workload": name, "tasks": n}` and `{"do": "run", "workload":
name, "tasks": n, "calls": m}` are answered with what came of them, and `{"error": ...}` is the last answer. The end of
the input ends the process, and does not wait for the others.
"""

import json
import os
import sys
import traceback
from typing import Any

import jax

from benchmarks.peers.worker import answer
from benchmarks.scaling.training import Program, compile_program, make_mesh, timed

TIMEOUT = 30
"""Seconds after which a process that no longer answers ends the others."""


def main() -> None:
    """Serves until its input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that what a library prints is not taken for an answer
    code = 0
    try:
        set_up(**json.loads(sys.argv[1]))
        answer(answers, {"device": f"{jax.devices()[0].device_kind}, {jax.device_count()} devices"})
        programs: dict[Any, Program] = {}
        for line in sys.stdin:
            answer(answers, work(programs, **json.loads(line)))
    except Exception as error:
        traceback.print_exc()
        answer(answers, {"error": f"{type(error).__name__}: {error}"})
        code = 1
    sys.stderr.flush()
    os._exit(code)  # the ordinary exit waits for the other processes, which may be gone


def set_up(processes: int, process: int, address: str, devices: int) -> None:
    """Makes so many CPU devices, and joins the other processes."""
    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        jax.distributed.initialize(
            address, processes, process, heartbeat_timeout_seconds=TIMEOUT, shutdown_timeout_seconds=TIMEOUT
        )


def work(programs: dict[Any, Program], *, do: str, workload: str, tasks: int, calls: int = 1) -> dict[str, Any]:
    """Does what is asked for; building ends with one call to warm up, and says how long a second one took."""
    if do == "build":
        program = programs[workload, tasks] = compile_program(workload, tasks, make_mesh())
        timed(program, 1)
        return {
            "compile_seconds": program.compile_seconds,
            "num_steps": program.num_steps,
            "collective_bytes": program.collectives,
            "seconds": timed(program, 1),
        }
    return {"seconds": timed(programs[workload, tasks], calls)}


if __name__ == "__main__":
    main()
