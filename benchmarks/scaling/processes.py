"""Groups of processes that train together, as their parent sees them."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Entry
from benchmarks.peers.processes import Machine, Worker, ask, receive, start_process, stop

Group = list[Worker]
MACHINE = Machine("cpu", os.cpu_count() or 1, 600.0)
ENTRY = Entry("jax_meta", "benchmarks.scaling.worker", "jax-metalearn", "ours")


@contextmanager
def start_group(processes: int, devices: int, folder: Path) -> Iterator[Group]:
    """Starts processes of so many CPU devices each, on one mesh; in the end kills them."""
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        group = [
            stack.enter_context(start(processes, process, address, devices, folder)) for process in range(processes)
        ]
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(receive, group))
        yield group


@contextmanager
def start(processes: int, process: int, address: str, devices: int, folder: Path) -> Iterator[Worker]:
    """Starts one process of a group; in the end kills it."""
    order = {"processes": processes, "process": process, "address": address, "devices": devices}
    log = folder / f"{processes} processes of {devices} devices, {process}.log"
    started = start_process("benchmarks.scaling.worker", order, log, MACHINE)
    try:
        yield Worker(started, ENTRY, log, MACHINE, "cpu", 0.0)
    finally:
        stop(started)


def free_port() -> int:
    """A port of the loopback address that nothing listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask_all(group: Group, **request: Any) -> dict[str, Any]:
    """Has all processes do the same, which they can only do together; the first one's answer."""
    with ThreadPoolExecutor(len(group)) as pool:
        first, *_ = pool.map(partial(ask, **request), group)
    return first
