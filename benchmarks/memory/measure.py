"""All variants on one workload: compilation, turns, and whether their meta-gradients agree."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.processes import Machine, Worker, WorkerError, ask, receive, start
from benchmarks.harness.rounds import Record, Tell, measure_each, reporting, silent
from benchmarks.memory.program import Gradient
from benchmarks.memory.variants import Variant

TOLERANCE = 1e-3
"""The relative difference between meta-gradients that float32 may cause, for each inner step: its rounding turns a ReLU
or a maximum here and there, and every further step starts from that."""


def measure(
    variants: Mapping[str, Variant],
    arguments: Mapping[str, Any],
    tolerance: float = TOLERANCE,
    tell: Tell = silent,
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
    reference: Gradient = {}

    def prepare(name: str, record: Record, stack: ExitStack) -> Callable[[], None]:
        nonlocal reference
        begin = partial(start_variant, name, variants[name], machine, folder)
        worker = first_run(begin, variants[name], arguments, folder / f"{name}.npz", record, stack)
        with np.load(folder / f"{name}.npz") as file:
            gradient = {path: array.astype(float) for path, array in file.items()}
        compare(gradient, reference or gradient, tolerance, record)
        reference = reference or gradient
        return partial(take_turn, worker, record, seconds)

    return {name: summarise(record) for name, record in measure_each(variants, prepare, repeats, tell).items()}


def start_variant(name: str, variant: Variant, machine: Machine, folder: Path, stack: ExitStack) -> Worker:
    """A process that waits for requests, and finds again what was compiled once, whatever its size."""
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    function, log, install = "benchmarks.memory.program:serve", folder / f"{name}.log", variant.entry.install
    worker = stack.enter_context(start(function, {}, machine, log, install=install, variables=variables))
    receive(worker)
    return worker


def first_run(
    begin: Callable[[ExitStack], Worker],
    variant: Variant,
    arguments: Mapping[str, Any],
    save: Path,
    record: Record,
    stack: ExitStack,
) -> Worker:
    """Measures a process that compiles and runs; returns the one that takes turns, in which nothing is compiled."""
    with ExitStack() as own:
        worker = begin(own)
        record.update(build(worker, variant, arguments))
        told = ask(worker, "run", save=str(save))
        record.update(samples=[told["seconds"]], peak_running_mib=told["peak_running_mib"])
        if record["temporary_mib"] is None:
            stack.push(own.pop_all())
            record["peak_before_running_again_mib"] = record["peak_before_running_mib"]
            return worker
    worker = begin(stack)
    record["peak_before_running_again_mib"] = build(worker, variant, arguments)["peak_before_running_mib"]
    return worker


def build(worker: Worker, variant: Variant, arguments: Mapping[str, Any]) -> Record:
    """Has a program made and compiled."""
    return ask(worker, "build", make=variant.entry.make, arguments={**arguments, **variant.options})


def take_turn(worker: Worker, record: Record, seconds: float) -> None:
    """Runs once more, if that is the first turn or the runs have not lasted so long yet."""
    samples = record["samples"]
    if len(samples) == 1 or sum(samples) < seconds:
        told = ask(worker, "run", save=None)
        samples.append(told["seconds"])
        record["peak_running_again_mib"] = told["peak_running_mib"]


def compare(gradient: Gradient, reference: Gradient, tolerance: float, record: Record) -> None:
    """Writes how far a meta-gradient is from the first, relative to its norm; WorkerError where that is too far."""
    if not all(np.isfinite(leaf).all() for leaf in gradient.values()):
        raise WorkerError("disagrees: its meta-gradient is not finite")
    record["norm"] = norm(gradient)
    record["difference"] = difference(gradient, reference)
    if record["difference"] > tolerance:
        raise WorkerError(f"disagrees: its meta-gradient differs by {record['difference']:.1e} of its norm")


def norm(gradient: Gradient) -> float:
    """The Euclidean norm of all."""
    return float(np.sqrt(sum((leaf**2).sum() for leaf in gradient.values())))


def difference(gradient: Gradient, reference: Gradient) -> float:
    """The norm of the difference, relative to that of the reference; infinite for other names or shapes."""
    if {path: leaf.shape for path, leaf in gradient.items()} != {path: leaf.shape for path, leaf in reference.items()}:
        return float("inf")
    return norm({path: leaf - reference[path] for path, leaf in gradient.items()}) / norm(reference)


def summarise(record: Record) -> Record:
    """The median of the turns, and the peaks of both processes."""
    samples = record.pop("samples", [])
    if record["status"] != "measured":
        return record
    peaks = {
        "peak_mib": max(record["peak_before_running_mib"], record["peak_running_mib"]),
        "peak_compiled_before_mib": max(record["peak_before_running_again_mib"], record["peak_running_again_mib"]),
    }
    return {**record, **peaks, "seconds": statistics.median(samples[1:]), "runs": len(samples)}


def measure_compiled(
    variants: Mapping[str, Variant],
    sizes: Sequence[Mapping[str, Any]],
    machine: Machine,
    folder: Path,
    tell: Tell = silent,
) -> dict[str, list[Record]]:
    """Temporary memory of each at each of the sizes, which are arguments of the variants; nothing runs."""
    records: dict[str, list[Record]] = {name: [{"status": "measured"} for _ in sizes] for name in variants}
    for name, variant in variants.items():
        with ExitStack() as stack:
            worker = start_variant(name, variant, machine, folder, stack)
            for arguments, record in zip(sizes, records[name], strict=True):
                tell(f"{name}: compile")
                with reporting(record):
                    told = build(worker, variant, arguments)
                    record.update({key: told[key] for key in ("temporary_mib", "compile_seconds")})
    return records
