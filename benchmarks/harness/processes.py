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
    device: str  # "cpu" or "gpu"
    threads: int  # cores and threads of each process
    timeout: float  # seconds that one request may take


class Worker(NamedTuple):
    """A process that works only while a request is unanswered, and otherwise waits for its input."""

    process: subprocess.Popen
    log: Path  # has what it printed
    timeout: float  # seconds that one request may take
    install: str  # what `pip install` has to be given for what it needs


@contextmanager
def start(
    function: str, arguments: dict, machine: Machine, log: Path, *, install: str, variables: Mapping[str, str] = {}
) -> Iterator[Worker]:
    """Starts a process, whose first answer is to be received; in the end kills it with all that it has started.

    The process calls `function`, a "module:function", which returns what it answers first, and what can be asked for.
    Every library gets the same threads, precision and, on a GPU, memory as it needs it.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(machine.threads)),
        "JAX_PLATFORMS": "cpu" if machine.device == "cpu" else "cuda",
        "JAX_ENABLE_X64": "0",
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **variables,
    }
    command = [sys.executable, "-m", "benchmarks.harness.worker", function, json.dumps(arguments)]
    pipes: dict = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with (
        log.open("w") as stderr,
        # A session of its own: Ctrl-C reaches the parent alone, and the whole group can be killed.
        subprocess.Popen(command, stderr=stderr, env=environment, start_new_session=True, **pipes) as process,
    ):
        try:
            yield Worker(process, log, machine.timeout, install)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(worker: Worker, do: str, **request: Any) -> Answer:
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):  # there will be no answer, either
        worker.process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
    return receive(worker)


def receive(worker: Worker) -> Answer:
    """The next answer; raises WorkerError for what went wrong, for silence and for a process that has ended."""
    assert worker.process.stdout is not None
    if not select.select([worker.process.stdout], [], [], worker.timeout)[0]:
        raise WorkerError(f"failed: no answer in {worker.timeout:g} s")
    line = worker.process.stdout.readline()
    if not line:
        code, lines = worker.process.wait(), worker.log.read_text(errors="replace").strip().split("\n")
        raise WorkerError(f"failed: exit code {code}. {lines[-1][:300]}")
    answer = json.loads(line)
    if "missing" in answer:
        raise WorkerError(f"not installed: pip install {worker.install} ({answer['missing']})")
    if "error" in answer:
        raise WorkerError(f"failed: {answer['error'].strip().splitlines()[0][:300]}")
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
