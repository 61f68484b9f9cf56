"""What a peer is, the list of all, and one at work in a process of its own."""

import os
import pkgutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks.harness.worker import Answer, Served
from benchmarks.harness.workloads import Tasks, Workload, load_problem


class Peer(NamedTuple):
    """A meta-step on each of the given tasks, from the given weights, with its mean query loss after adaptation; and
    so many meta-steps on tasks of its own drawing."""

    losses: Callable[[Sequence[Tasks]], list[float]]
    run: Callable[[int], None]


class Entry(NamedTuple):
    label: str  # for tables and figures
    make: str  # "module:function", which is called as `make(workload, weights, device)` and returns a `Peer`
    install: str  # what `pip install` has to be given
    kind: str  # "ours", "jax", "eager" PyTorch, or "compiled" PyTorch
    adapt: str = ""  # as `make`, for adaptation to one task, where it takes part in that
    relatives: str = ""  # as `make`, for ANIL and prototypical networks, where it takes part in those


def entry(label: str, make: str, install: str, kind: str = "eager", adapt: str = "", relatives: str = "") -> Entry:
    here = (name and f"benchmarks.peers.{name}" for name in (adapt, relatives))
    return Entry(label, f"benchmarks.peers.{make}", install, kind, *here)


def maker(entry: Entry, workload: Workload) -> str:
    """What makes the peer for a workload; nothing where it takes no part."""
    if workload.adapts:
        return entry.adapt
    return entry.make if workload.learner == "maml" else entry.relatives


PEERS = {
    "jax_meta": entry("jax_meta", "jax_peers:make", "jax-metalearn", "ours", "jax_adaptation:make", "jax_peers:make"),
    "jax-scan": entry("plain JAX, one scan", "jax_peers:make_scan", "jax flax optax", "jax"),
    "jax-loop": entry("plain JAX, host loop", "jax_peers:make_loop", "jax flax", "jax", "jax_adaptation:make_jitted"),
    "torch-compile": entry("torch.func, torch.compile", "torch_peers:make_compiled", "torch", "compiled"),
    "torch-func": entry("torch.func", "torch_peers:make_functional", "torch"),
    "torch": entry(
        "PyTorch, loop over tasks", "torch_peers:make", "torch", "eager", "torch_adaptation:make", "relatives:make"
    ),
    "higher": entry("higher", "libraries:make_higher", "higher", adapt="torch_adaptation:make_higher"),
    "learn2learn": entry("learn2learn", "libraries:make_learn2learn", "learn2learn"),
    "torchopt": entry("TorchOpt", "libraries:make_torchopt", "torchopt", adapt="torch_adaptation:make_torchopt"),
    "parallel-metalearn": entry(
        "parallel-metalearn",
        "libraries:make_parallel_metalearn",
        "parallel-metalearn",
        relatives="relatives:make_parallel_metalearn",
    ),
}


def serve(make: str, kind: str, workload: dict, problem: str, threads: int, device: str) -> Served:
    """What a peer's process does: the losses of the given tasks, and meta-steps; each with the seconds that it took."""
    if hasattr(os, "sched_setaffinity"):  # XLA has no other option for the number of its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    known, place = Workload(**workload), "cuda" if device == "gpu" else "cpu"
    described = set_up(kind, threads, place, known)
    weights, batches = load_problem(problem)
    peer = pkgutil.resolve_name(make)(known, weights, place)

    def timed(function: Callable[[Any], Any], given: Any) -> Answer:
        start = time.perf_counter()
        return {"losses": function(given), "seconds": time.perf_counter() - start}

    losses, run = partial(timed, peer.losses, batches), partial(timed, peer.run)
    return {"device": described}, {"losses": losses, "run": lambda steps: run(steps)}


def set_up(kind: str, threads: int, device: str, workload: Workload) -> str:
    """Sets PyTorch's threads and float32 throughout, and our CPU devices; names the device."""
    if kind in ("eager", "compiled"):
        import torch

        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False
        return torch.cuda.get_device_name() if device == "cuda" else "cpu"
    if kind in ("ours", "jax"):
        import jax

        if kind == "ours" and device == "cpu" and workload.model == "mlp" and workload.num_tasks > 1:
            jax.config.update("jax_num_cpu_devices", threads)  # small products keep one core busy at most
        return jax.devices()[0].device_kind
    return device
