"""All variants on one workload: compilation, turns, and whether their meta-gradients agree."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.processes import Machine, Worker, WorkerError, ask, receive, start
from benchmarks.harness.progress import Tell
from benchmarks.harness.rounds import Record, measure_each, reporting, silent
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
        variant, save = variants[name], folder / f"{name}.npz"
        first = stack.enter_context(ExitStack())
        worker = start_variant(name, variant, machine, folder, first)
        record.update(build(worker, variant, arguments))
        told = ask(worker, "run", save=str(save))
        record.update(samples=[told["seconds"]], peak_running_mib=told["peak_running_mib"])
        again = record
        if record["temporary_mib"] is not None:
            first.close()
            worker = start_variant(name, variant, machine, folder, stack)
            again = build(worker, variant, arguments)
        record["peak_before_running_again_mib"] = again["peak_before_running_mib"]
        with np.load(save) as file:
            gradient = {path: array.astype(float) for path, array in file.items()}
        check(gradient, reference or gradient, tolerance, record)
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


def build(worker: Worker, variant: Variant, arguments: Mapping[str, Any]) -> Record:
    """Has a program made and compiled."""
    return ask(worker, "build", make=variant.entry.make, arguments={**arguments, **variant.options})


def check(gradient: Gradient, reference: Gradient, tolerance: float, record: Record) -> None:
    """Writes how far a meta-gradient is from the first, relative to its norm; WorkerError where that is too far."""
    if not all(np.isfinite(leaf).all() for leaf in gradient.values()):
        raise WorkerError("disagrees: its meta-gradient is not finite")
    record["norm"], difference = norm(gradient.values()), float("inf")  # of other names or shapes
    if {path: leaf.shape for path, leaf in gradient.items()} == {path: leaf.shape for path, leaf in reference.items()}:
        apart = norm(leaf - reference[path] for path, leaf in gradient.items())
        record["difference"] = difference = apart / norm(reference.values())
    if difference > tolerance:
        raise WorkerError(f"disagrees: its meta-gradient differs by {difference:.1e} of its norm")


def norm(leaves: Iterable[np.ndarray]) -> float:
    """The Euclidean norm of all."""
    return float(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))


def take_turn(worker: Worker, record: Record, seconds: float) -> None:
    """Runs once more, if that is the first turn or the runs have not lasted so long yet."""
    samples = record["samples"]
    if len(samples) == 1 or sum(samples) < seconds:
        told = ask(worker, "run", save=None)
        samples.append(told["seconds"])
        record["peak_running_again_mib"] = told["peak_running_mib"]


def summarise(record: Record) -> Record:
    """The median of the turns, and the peaks of both processes."""
    samples = record.pop("samples", [])
    if record["status"] == "measured":
        again = max(record["peak_before_running_again_mib"], record["peak_running_again_mib"])
        record["peak_mib"] = max(record["peak_before_running_mib"], record["peak_running_mib"])
        record.update(peak_compiled_before_mib=again, seconds=statistics.median(samples[1:]), runs=len(samples))
    return record


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
