"""The variants' processes, as their parent sees them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.peer import Entry
from benchmarks.peers.processes import Machine, Worker, environment_of, stop


@contextmanager
def start(name: str, entry: Entry, machine: Machine, folder: Path) -> Iterator[Worker]:
    """Starts a process that waits for requests; in the end kills it with all that it has started."""
    log = folder / f"{name}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **environment_of(machine), **compilation_cache(folder)},
            start_new_session=True,  # so that Ctrl-C reaches the parent alone, and the whole group can be killed
        )
    try:
        yield Worker(process, entry, log, machine, "cpu", 0.0)
    finally:
        stop(process)


def compilation_cache(folder: Path) -> dict[str, str]:
    """Variables by which a program that was compiled once is found again, whatever its size."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
