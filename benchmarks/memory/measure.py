"""All variants on one workload: compilation, turns, and whether their meta-gradients agree."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.processes import Machine, Worker, WorkerError, ask, receive, start
from benchmarks.harness.rounds import Record, Tell, Turns, measure_each, reporting, silent
from benchmarks.memory.program import Gradient
from benchmarks.peers.peer import PEERS, Entry

TOLERANCE = 1e-3
"""The relative difference between meta-gradients that float32 may cause, for each inner step: its rounding turns a ReLU
or a maximum here and there, and every further step starts from that."""
DEFAULT = "none"  # the variant that times are relative to
CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
"""What was compiled once is found again, whatever its size."""


class Variant(NamedTuple):
    """One way to compute the same meta-gradient."""

    entry: Entry  # its label, and "module:function", which is called as `make(**arguments, **options)`
    options: dict  # what sets it apart from others of the same function


def ours(label: str, **options: Any) -> Variant:
    entry = Entry(label, "benchmarks.memory.in_jax:ours", "jax-metalearn", "ours")
    return Variant(entry, {"task_batch_size": 1, **options})


def torch_peer(name: str) -> Variant:
    return Variant(PEERS[name]._replace(make="benchmarks.memory.in_torch:peer"), {"name": name})


VARIANTS = {
    "vmap": ours("jax_meta, all tasks at once", task_batch_size=None),
    DEFAULT: ours("jax_meta"),
    "steps": ours('jax_meta, remat="steps"', remat="steps"),
    "blocks": ours('jax_meta, remat="blocks"', remat="blocks"),
    "mixed": ours("jax_meta, mixed_mode", mixed_mode=True),
    "mixed-updates": ours('jax_meta, mixed_mode, remat="updates"', mixed_mode=True, remat="updates"),
    "mixed-blocks": ours('jax_meta, mixed_mode, remat="blocks"', mixed_mode=True, remat="blocks"),
    "naive": Variant(Entry("plain JAX, vmap and scan", "benchmarks.memory.in_jax:naive", "jax flax optax", "jax"), {}),
    **{name: torch_peer(name) for name in ("torch", "higher", "learn2learn")},
}
Variants = dict[str, Variant]


def of_kind(variants: Variants, *kinds: str) -> dict[str, Variant]:
    return {name: variant for name, variant in variants.items() if variant.entry.kind in kinds}


def perceptron(variants: Variants) -> dict[str, Variant]:
    """Those that the second workload, of a single task, can tell apart."""
    return {
        name: variant._replace(entry=variant.entry._replace(make="benchmarks.memory.in_jax:mlp"))
        for name, variant in of_kind(variants, "ours").items()
        if variant.options.get("task_batch_size")
    }


def measure(
    variants: Variants, arguments: dict, machine: Machine, folder: Path, turns: Turns, tolerance: float = TOLERANCE
) -> dict[str, Record]:
    """What came of each: its `status`, and its numbers if that is "measured"; a failure ends that variant alone.

    First each has the machine for itself, and runs once; its meta-gradient must agree with that of the first. What was
    compiled then starts again in a second process, which finds the program in JAX's compilation cache. After that they
    take turns, and a variant whose runs have lasted so many seconds takes no further one.
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
        return partial(take_turn, worker, record, turns.seconds)

    records = measure_each(variants, prepare, turns.repeats, turns.tell)
    return {name: summarise(record) for name, record in records.items()}


def start_variant(name: str, variant: Variant, machine: Machine, folder: Path, stack: ExitStack) -> Worker:
    function, log, install = "benchmarks.memory.program:serve", folder / f"{name}.log", variant.entry.install
    variables = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), **CACHE}
    worker = stack.enter_context(start(function, {}, machine, log, install=install, variables=variables))
    receive(worker)
    return worker


def build(worker: Worker, variant: Variant, arguments: dict) -> Record:
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
    variants: Variants, sizes: Sequence[dict], machine: Machine, folder: Path, tell: Tell = silent
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
