"""Peers in their own processes, as their parent sees them."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.peer import Entry
from benchmarks.peers.workloads import Workload


class PeerError(Exception):
    """Why a peer takes no part, in words for the table: not installed, failed, or in disagreement."""


class Machine(NamedTuple):
    """What every peer may use.

    Attributes:
        device: "cpu" or "gpu".
        threads: cores and threads of each process.
        timeout: seconds that one request may take.
    """

    device: str
    threads: int
    timeout: float


class Worker(NamedTuple):
    """A peer's process, ready for requests.

    Attributes:
        process: it works only while a request is unanswered, and otherwise waits for its input.
        entry: the peer.
        log: the file that has what it printed.
        machine: what it may use.
        device: the device's name.
        startup_seconds: imports, and making the peer.
    """

    process: subprocess.Popen
    entry: Entry
    log: Path
    machine: Machine
    device: str
    startup_seconds: float


def start_process(module: str, order: dict[str, Any], log: Path, machine: Machine) -> subprocess.Popen:
    """Starts a module that takes its order as JSON and requests on its input, and writes what it prints to the log."""
    with log.open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **environment_of(machine)},
            start_new_session=True,  # so that Ctrl-C reaches the parent alone, and the whole group can be killed
        )


@contextmanager
def start_worker(entry: Entry, workload: Workload, problem: Path, machine: Machine) -> Iterator[Worker]:
    """Starts a process and waits until its peer is made; in the end kills it with all that it has started."""
    order = {
        "make": entry.make,
        "kind": entry.kind,
        "workload": workload._asdict(),
        "problem": str(problem),
        "threads": machine.threads,
        "device": machine.device,
    }
    log = problem.with_name(entry.make.replace(":", " ") + ".log")
    start = time.perf_counter()
    process = start_process("benchmarks.peers.worker", order, log, machine)
    try:
        worker = Worker(process, entry, log, machine, "", 0.0)
        ready = receive(worker)
        yield worker._replace(device=ready["device"], startup_seconds=time.perf_counter() - start)
    finally:
        stop(process)


def environment_of(machine: Machine) -> dict[str, str]:
    """Variables that give every library the same threads, precision and, on a GPU, memory as it needs it."""
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": str(machine.threads),
        "MKL_NUM_THREADS": str(machine.threads),
        "JAX_PLATFORMS": "cpu" if machine.device == "cpu" else "cuda",
        "JAX_ENABLE_X64": "0",
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def ask(worker: Worker, **request: Any) -> dict[str, Any]:
    """Sends a request and waits for its answer."""
    stdin = worker.process.stdin
    assert stdin is not None
    try:
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
    except BrokenPipeError:
        raise PeerError(f"failed: {last_words(worker)}") from None
    return receive(worker)


def receive(worker: Worker) -> dict[str, Any]:
    """The next answer; raises PeerError for one that is the last, for silence and for a process that has ended."""
    stdout = worker.process.stdout
    assert stdout is not None
    if not select.select([stdout], [], [], worker.machine.timeout)[0]:
        raise PeerError(f"failed: no answer in {worker.machine.timeout:g} s")
    line = stdout.readline()
    answer = json.loads(line) if line else {"error": last_words(worker)}
    if "missing" in answer:
        raise PeerError(f"not installed: pip install {worker.entry.install} ({answer['missing']})")
    if "error" in answer:
        raise PeerError(f"failed: {short(answer['error'])}")
    return answer


def last_words(worker: Worker) -> str:
    """How a process ended: the last line that it printed, and its exit code."""
    code = worker.process.wait()
    lines = worker.log.read_text(errors="replace").split("\n")
    return short(f"exit code {code}. " + next((line for line in reversed(lines) if line.strip()), ""))


def short(text: str) -> str:
    """The first line, of at most 300 characters."""
    first = text.strip().split("\n")[0]
    return first if len(first) <= 300 else first[:297] + "..."


def stop(process: subprocess.Popen) -> None:
    """Kills a process and its children, such as compilers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
