"""All variants on one workload: compilation, turns, and whether their meta-gradients agree."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory.processes import start
from benchmarks.memory.variants import Variant
from benchmarks.peers.measure import reporting
from benchmarks.peers.processes import Machine, PeerError, Worker, ask

Record = dict[str, Any]
Tell = Callable[[str], None]
TOLERANCE = 1e-3
"""The relative difference between meta-gradients that float32 may cause, for each inner step: its rounding turns a ReLU
or a maximum here and there, and every further step starts from that."""


def measure(
    variants: Mapping[str, Variant],
    arguments: Mapping[str, Any],
    tolerance: float = TOLERANCE,
    tell: Tell = lambda doing: None,
    *,
    machine: Machine,
    folder: Path,
    repeats: int,
    seconds: float,
) -> dict[str, Record]:
    """What came of each: its `status`, and its numbers if that is "measured"; a failure ends that variant alone.

    First each has the machine for itself, and runs once. What was compiled then starts again in a second process, which
    finds the program in JAX's compilation cache. After that they take turns.

    Args:
        variants: in the order of their turns; the others must agree with the first that works.
        arguments: of the workload, for all variants.
        tolerance: the largest relative difference from the meta-gradient of the first.
        tell: is called with what is going on.
        machine: what each may use.
        folder: for logs, gradients and compiled programs.
        repeats: rounds in which each has its turn.
        seconds: after the first round, a variant takes no further turn once its runs have lasted so long.
    """
    records: dict[str, Record] = {name: {"status": "waiting", "samples": []} for name in variants}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for name, variant in variants.items():
            tell(f"{name}: first run")
            with reporting(records[name]):
                workers[name] = first_run(name, variant, arguments, machine, folder, records[name], stack)
        compare(records, folder, tolerance)
        for round_ in range(repeats):
            for name, worker in workers.items():
                record = records[name]
                tell(f"{name}: {round_ + 1}/{repeats}")
                if record["status"] == "waiting" and (round_ == 0 or sum(record["samples"]) < seconds):
                    with reporting(record):
                        told = ask(worker, do="run", save=None)
                        record["samples"].append(told["seconds"])
                        record["peak_running_again_mib"] = told["peak_running_mib"]
    return {name: summarise(record) for name, record in records.items()}


def first_run(
    name: str,
    variant: Variant,
    arguments: Mapping[str, Any],
    machine: Machine,
    folder: Path,
    record: Record,
    stack: ExitStack,
) -> Worker:
    """Measures a process that compiles and runs; returns the one that takes turns, in which nothing is compiled."""
    with ExitStack() as own:
        worker = own.enter_context(start(name, variant.entry, machine, folder))
        record.update(build(worker, variant, arguments))
        told = ask(worker, do="run", save=str(folder / f"{name}.npz"))
        record["samples"].append(told["seconds"])
        record["peak_running_mib"] = told["peak_running_mib"]
        if record["temporary_mib"] is None:
            stack.push(own.pop_all())
            record["peak_before_running_again_mib"] = record["peak_before_running_mib"]
            return worker
    worker = stack.enter_context(start(name, variant.entry, machine, folder))
    record["peak_before_running_again_mib"] = build(worker, variant, arguments)["peak_before_running_mib"]
    return worker


def build(worker: Worker, variant: Variant, arguments: Mapping[str, Any]) -> Record:
    """Has a program made and compiled."""
    return ask(worker, do="build", make=variant.entry.make, arguments={**arguments, **variant.options})


def compare(records: Mapping[str, Record], folder: Path, tolerance: float) -> None:
    """Writes how far each meta-gradient is from the first, relative to its norm, and leaves out what is too far."""
    reference = None
    for name, record in records.items():
        if record["status"] == "waiting":
            with reporting(record), np.load(folder / f"{name}.npz") as file:
                gradient = {path: array.astype(float) for path, array in file.items()}
                check_finite(gradient)
                reference = reference or gradient
                record["norm"] = norm(gradient)
                record["difference"] = difference(gradient, reference)
                if record["difference"] > tolerance:
                    raise PeerError(f"disagrees: its meta-gradient differs by {record['difference']:.1e} of its norm")


def check_finite(gradient: Mapping[str, np.ndarray]) -> None:
    """Raises PeerError for a gradient that is not finite."""
    if not all(np.isfinite(leaf).all() for leaf in gradient.values()):
        raise PeerError("disagrees: its meta-gradient is not finite")


def norm(gradient: Mapping[str, np.ndarray]) -> float:
    """The Euclidean norm of all."""
    return float(np.sqrt(sum((leaf**2).sum() for leaf in gradient.values())))


def difference(gradient: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
    """The norm of the difference, relative to that of the reference; infinite for other names or shapes."""
    if {path: leaf.shape for path, leaf in gradient.items()} != {path: leaf.shape for path, leaf in reference.items()}:
        return float("inf")
    return norm({path: leaf - reference[path] for path, leaf in gradient.items()}) / norm(reference)


def summarise(record: Record) -> Record:
    """The median of the turns, and the peaks of both processes."""
    samples = record.pop("samples")
    if record["status"] != "waiting":
        return record
    peaks = {
        "peak_mib": max(record["peak_before_running_mib"], record["peak_running_mib"]),
        "peak_compiled_before_mib": max(record["peak_before_running_again_mib"], record["peak_running_again_mib"]),
    }
    seconds = statistics.median(samples[1:])
    return {**record, **peaks, "status": "measured", "seconds": seconds, "runs": len(samples)}


def measure_compiled(
    variants: Mapping[str, Variant],
    sizes: Sequence[Mapping[str, Any]],
    machine: Machine,
    folder: Path,
    *,
    tell: Tell = lambda doing: None,
) -> dict[str, list[Record]]:
    """Temporary memory at each of the sizes, which are arguments of the variants; nothing runs."""
    return {name: compile_sizes(name, variant, sizes, machine, folder, tell) for name, variant in variants.items()}


def compile_sizes(
    name: str, variant: Variant, sizes: Sequence[Mapping[str, Any]], machine: Machine, folder: Path, tell: Tell
) -> list[Record]:
    """One variant at all sizes, in one process."""
    records: list[Record] = [{"status": "waiting"} for _ in sizes]
    with start(name, variant.entry, machine, folder) as worker:
        for arguments, record in zip(sizes, records, strict=True):
            tell(f"{name}: compile")
            with reporting(record):
                told = build(worker, variant, arguments)
                kept = {key: told[key] for key in ("temporary_mib", "compile_seconds")}
                record.update(kept, status="measured")
    return records
