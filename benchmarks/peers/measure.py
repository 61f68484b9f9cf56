"""All peers on one workload: agreement first, then turns."""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.report import rounded
from benchmarks.peers.peer import Entry
from benchmarks.peers.processes import Machine, PeerError, Worker, ask, start_worker
from benchmarks.peers.workloads import Weights, Workload, save_problem, task_source

TOLERANCES = {"mlp": (1e-4, 1e-4), "conv4": (1e-4, 1e-2)}
"""The largest relative differences of the first and of the second meta-step's losses, by model.

The second loss depends on the meta-gradient, and through Conv4 on float32: rounding turns a ReLU or a maximum here and
there, which moves the meta-gradient by up to 1e-3, and Adam's first updates are as large where the gradient is small as
elsewhere. In float64, in the tests, all agree to 1e-9. Without the second derivative the second loss is off by at least
1e-3 on sines and 5e-2 on images.
"""

Record = dict[str, Any]


def measure(
    workload: Workload,
    weights: Weights,
    peers: Mapping[str, Entry],
    machine: Machine,
    *,
    repeats: int,
    seconds: float,
    tell: Callable[[str], None] = lambda doing: None,
) -> dict[str, Record]:
    """What came of each peer: its `status`, and its numbers if that is "measured"; a failure ends that peer alone."""
    records: dict[str, Record] = {name: {"status": "waiting"} for name in peers}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        problem = Path(folder) / "problem.npz"
        draw, generator = task_source(workload), np.random.default_rng(1)
        save_problem(problem, weights, [draw(generator) for _ in TOLERANCES[workload.model]])
        workers: dict[str, Worker] = {}
        expected: list[float] = []
        for name, entry in peers.items():
            tell(f"{name}: start")
            with ExitStack() as own, reporting(records[name]):
                worker = own.enter_context(start_worker(entry, workload, problem, machine))
                losses = check(worker, records[name], expected, TOLERANCES[workload.model])
                calibrate(worker, records[name], seconds)
                expected, workers[name] = expected or losses, worker
                stack.push(own.pop_all())
        take_turns(workers, records, repeats, tell)
    for name in workers:
        if records[name]["status"] == "waiting":
            summarise(records[name])
    return records


@contextmanager
def reporting(record: Record) -> Iterator[None]:
    """Writes a PeerError into a record, and goes on."""
    try:
        yield
    except PeerError as error:
        record["status"] = str(error)


def check(worker: Worker, record: Record, expected: list[float], tolerances: tuple[float, ...]) -> list[float]:
    """The losses of the first meta-steps; raises PeerError if they are not the expected ones, if any are expected."""
    reply = ask(worker, do="losses")
    losses: list[float] = reply["losses"]
    if not np.isfinite(losses).all():
        raise PeerError("disagrees: its losses are not finite")
    reference = np.array(expected or losses)
    differences = np.abs(np.array(losses) - reference) / np.abs(reference)
    record["device"] = worker.device
    record["startup_seconds"] = worker.startup_seconds
    record["first_call_seconds"] = reply["seconds"]
    record["losses"] = losses
    record["largest_difference"] = float(differences.max())
    if (differences > np.array(tolerances)).any():
        told = " and ".join(f"{difference:.1e}" for difference in differences)
        raise PeerError(f"disagrees: its first losses differ by {told} of themselves")
    return losses


def calibrate(worker: Worker, record: Record, seconds: float) -> None:
    """Finds the power of two of meta-steps that lasts about so long; each runs twice, since the first may compile."""
    steps = 1
    record["first_call_seconds"] += ask(worker, do="run", steps=1)["seconds"]
    while (taken := ask(worker, do="run", steps=steps)["seconds"]) < seconds / 2:
        steps *= 2 ** min(5, max(1, round(math.log2(seconds / taken))))
        ask(worker, do="run", steps=steps)
    record["steps_a_turn"] = steps


def take_turns(
    workers: dict[str, Worker], records: dict[str, Record], repeats: int, tell: Callable[[str], None]
) -> None:
    """In each round each peer has its turn, and the others wait."""
    for name in workers:
        records[name]["meta_steps_per_second"] = []
    for round_ in range(repeats):
        for name, worker in workers.items():
            record = records[name]
            if record["status"] == "waiting":
                tell(f"{name}: {round_ + 1}/{repeats}")
                with reporting(record):
                    steps = record["steps_a_turn"]
                    rate = steps / ask(worker, do="run", steps=steps)["seconds"]
                    record["meta_steps_per_second"].append(rounded(rate))


def summarise(record: Record) -> None:
    """The median of the rounds."""
    record["status"] = "measured"
    record["median"] = rounded(statistics.median(record["meta_steps_per_second"]))


def ratio(records: Mapping[str, Record], name: str, other: str) -> float:
    """How many times as fast one peer is as another: the median of the rounds' own ratios."""
    rates = (records[peer]["meta_steps_per_second"] for peer in (name, other))
    return float(rounded(statistics.median(a / b for a, b in zip(*rates, strict=True)), 3))
