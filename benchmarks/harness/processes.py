"""Processes that are measured, as their parent sees them; what they do is in `benchmarks.harness.worker`."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.worker import Answer


class WorkerError(Exception):
    """Why a process takes no further part, in words for a table: not installed, failed, or in disagreement."""


class Machine(NamedTuple):
    """What every process may use.

    Attributes:
        device: "cpu" or "gpu".
        threads: cores and threads of each process.
        timeout: seconds that one request may take.
    """

    device: str
    threads: int
    timeout: float


class Worker(NamedTuple):
    """A process that works only while a request is unanswered, and otherwise waits for its input.

    Attributes:
        process: the process.
        log: the file that has what it printed.
        timeout: seconds that one request may take.
        install: what `pip install` has to be given for what it needs.
    """

    process: subprocess.Popen
    log: Path
    timeout: float
    install: str


@contextmanager
def start(
    function: str,
    arguments: Mapping[str, Any],
    machine: Machine,
    log: Path,
    *,
    install: str,
    variables: Mapping[str, str] = {},
) -> Iterator[Worker]:
    """Starts a process, whose first answer is to be received; in the end kills it with all that it has started.

    Args:
        function: "module:function", called in the process; returns what it answers first, and what can be asked for.
        arguments: of that function, as JSON can have them.
        machine: what the process may use.
        log: the file to which goes what it prints.
        install: what `pip install` has to be given for what the process needs.
        variables: further variables of its environment.
    """
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.harness.worker", function, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **environment_of(machine), **variables},
            start_new_session=True,  # so that Ctrl-C reaches the parent alone, and the whole group can be killed
        )
    try:
        yield Worker(process, log, machine.timeout, install)
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


def ask(worker: Worker, do: str, **request: Any) -> Answer:
    """Sends a request and waits for its answer."""
    stdin = worker.process.stdin
    assert stdin is not None
    try:
        stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
        stdin.flush()
    except BrokenPipeError:
        raise WorkerError(f"failed: {last_words(worker)}") from None
    return receive(worker)


def receive(worker: Worker) -> Answer:
    """The next answer; raises WorkerError for what went wrong, for silence and for a process that has ended."""
    stdout = worker.process.stdout
    assert stdout is not None
    if not select.select([stdout], [], [], worker.timeout)[0]:
        raise WorkerError(f"failed: no answer in {worker.timeout:g} s")
    line = stdout.readline()
    answer = json.loads(line) if line else {"error": last_words(worker)}
    if "missing" in answer:
        raise WorkerError(f"not installed: pip install {worker.install} ({answer['missing']})")
    if "error" in answer:
        raise WorkerError(f"failed: {short(answer['error'])}")
    return answer


def at_once(function: Callable[[Worker], Answer], group: Sequence[Worker]) -> list[Answer]:
    """The function of every process of a group, at the same time: what they can only do together."""
    with ThreadPoolExecutor(len(group)) as pool:
        return list(pool.map(function, group))


def free_port() -> int:
    """A port of the loopback address that nothing listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


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
