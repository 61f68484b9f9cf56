"""What a peer is, and the list of all."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.peers.workloads import Tasks


class Peer(NamedTuple):
    """One library at work on one workload.

    Attributes:
        losses: takes a meta-step on each of the given tasks, from the given weights; returns the mean query loss after
            adaptation at every meta-step. The later ones depend on the outer update, too.
        run: takes so many meta-steps on tasks of its own drawing, and returns when they are finished.
    """

    losses: Callable[[Sequence[Tasks]], list[float]]
    run: Callable[[int], None]


class Entry(NamedTuple):
    """How a peer is found.

    Attributes:
        label: for tables and figures.
        make: "module:function", which is called as `make(workload, weights, device)` and returns a `Peer`.
        install: what `pip install` has to be given.
        kind: "ours", "jax", "eager" PyTorch, or "compiled" PyTorch.
    """

    label: str
    make: str
    install: str
    kind: str


PEERS = {
    "jax_meta": Entry("jax_meta", "benchmarks.peers.jax_peers:make", "jax-metalearn", "ours"),
    "jax-scan": Entry("plain JAX, one scan", "benchmarks.peers.jax_peers:make_scan", "jax flax optax", "jax"),
    "jax-loop": Entry("plain JAX, host loop", "benchmarks.peers.jax_peers:make_loop", "jax flax optax", "jax"),
    "torch-compile": Entry(
        "torch.func, torch.compile", "benchmarks.peers.functional_torch:make_compiled", "torch", "compiled"
    ),
    "torch-func": Entry("torch.func", "benchmarks.peers.functional_torch:make", "torch", "eager"),
    "torch": Entry("PyTorch, loop over tasks", "benchmarks.peers.plain_torch:make", "torch", "eager"),
    "higher": Entry("higher", "benchmarks.peers.libraries:make_higher", "higher", "eager"),
    "learn2learn": Entry("learn2learn", "benchmarks.peers.libraries:make_learn2learn", "learn2learn", "eager"),
    "torchopt": Entry("TorchOpt", "benchmarks.peers.libraries:make_torchopt", "torchopt", "eager"),
    "parallel-metalearn": Entry(
        "parallel-metalearn", "benchmarks.peers.libraries:make_parallel_metalearn", "parallel-metalearn", "eager"
    ),
}
