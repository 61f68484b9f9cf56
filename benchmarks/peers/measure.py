"""All peers on one workload: agreement first, then turns."""

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness.processes import Machine, Worker, WorkerError, ask, receive, start
from benchmarks.harness.results import rounded
from benchmarks.harness.rounds import Record, Turns, measure_each, median_ratio
from benchmarks.harness.workloads import Weights, Workload, save_problem, task_source
from benchmarks.peers.peer import Entry, maker

TOLERANCES = {"mlp": (1e-4, 1e-4), "conv4": (1e-4, 1e-2)}
"""The largest relative differences of the first and of the second meta-step's losses, by model.

The second loss depends on the meta-gradient, and through Conv4 on float32: rounding turns a ReLU or a maximum here and
there, which moves the meta-gradient by up to 1e-3, and Adam's first updates are as large where the gradient is small as
elsewhere. In float64, in the tests, all agree to 1e-9. Without the second derivative the second loss is off by at least
1e-3 on sines and 5e-2 on images.
"""


def measure(workload: Workload, weights: Weights, peers: dict[str, Entry], machine: Machine, turns: Turns) -> dict:
    """What came of each peer: its `status`, and its numbers if that is "measured"; a failure ends that peer alone."""
    tolerances = TOLERANCES[workload.model]
    makers = {name: maker(entry, workload) for name, entry in peers.items()}
    expected: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem"
        draw, generator = task_source(workload), np.random.default_rng(1)
        save_problem(problem, weights, [draw(generator) for _ in tolerances])
        order = {"workload": workload._asdict(), "problem": str(problem), "threads": machine.threads}

        def prepare(name: str, record: Record, stack: ExitStack) -> Callable[[], None]:
            entry, begin = peers[name], time.perf_counter()
            arguments = {**order, "device": machine.device, "make": makers[name], "kind": entry.kind}
            log = Path(folder) / f"{name}.log"
            process = start("benchmarks.peers.peer:serve", arguments, machine, log, install=entry.install)
            worker = stack.enter_context(process)
            record["device"] = receive(worker)["device"]
            record["startup_seconds"] = time.perf_counter() - begin
            check(worker, record, expected, tolerances)
            calibrate(worker, record, turns.seconds)
            expected[:] = expected or record["losses"]
            record["meta_steps_per_second"] = []
            return partial(take_turn, worker, record)

        records = measure_each([name for name in peers if makers[name]], prepare, turns.repeats, turns.tell)
    for record in records.values():
        if record["status"] == "measured":
            record["median"] = rounded(statistics.median(record["meta_steps_per_second"]))
    return records


def check(worker: Worker, record: Record, expected: list[float], tolerances: tuple[float, ...]) -> None:
    """Writes the losses of the first meta-steps; WorkerError if they are not the expected ones, if any are expected."""
    reply = ask(worker, "losses")
    losses = np.array(reply["losses"])
    if not np.isfinite(losses).all():
        raise WorkerError("disagrees: its losses are not finite")
    differences = np.abs(losses / (expected or losses) - 1)
    record.update(first_call_seconds=reply["seconds"], losses=reply["losses"])
    record["largest_difference"] = float(differences.max())
    if (differences > tolerances).any():
        told = " and ".join(f"{difference:.1e}" for difference in differences)
        raise WorkerError(f"disagrees: its first losses differ by {told} of themselves")


def calibrate(worker: Worker, record: Record, seconds: float) -> None:
    """Finds the power of two of meta-steps that lasts about so long; each runs twice, since the first may compile."""
    steps = 1
    record["first_call_seconds"] += ask(worker, "run", steps=1)["seconds"]
    while (taken := ask(worker, "run", steps=steps)["seconds"]) < seconds / 2:
        steps *= 2 ** min(5, max(1, round(math.log2(seconds / taken))))
        ask(worker, "run", steps=steps)
    record["steps_a_turn"] = steps


def take_turn(worker: Worker, record: Record) -> None:
    steps = record["steps_a_turn"]
    record["meta_steps_per_second"].append(rounded(steps / ask(worker, "run", steps=steps)["seconds"]))


def ratio(records: dict, name: str, other: str) -> float:
    """How many times as fast one peer is as another: the median of the rounds' own ratios."""
    rates = (records[peer]["meta_steps_per_second"] for peer in (name, other))
    return rounded(median_ratio(*rates), 3)
