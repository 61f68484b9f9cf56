"""PyTorch and its libraries, as `benchmarks.peers` has them; they need no JAX."""

import pkgutil
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmarks.harness.torch_networks import from_torch, layer_order
from benchmarks.harness.workloads import Workload, load_problem
from benchmarks.memory.program import Build, Gradient, Program
from benchmarks.peers.peer import PEERS


def peer(workload: dict, problem: str, *, name: str) -> Build:
    """A peer's meta-gradient: what it feeds to the outer optimizer, whose own step is small beside it."""
    weights, batches = load_problem(problem)
    made = pkgutil.resolve_name(PEERS[name].make)(Workload(**workload), weights, "cpu")
    names = sorted(weights, key=layer_order)

    def run() -> Gradient:
        gradients: list[Any] = []

        def catch(optimizer, args, kwargs):
            leaves = [leaf for group in optimizer.param_groups for leaf in group["params"]]
            gradients.extend(from_torch(leaf.grad) for leaf in leaves)

        hook = register_optimizer_step_pre_hook(catch)
        made.losses(batches[:1])
        hook.remove()
        return dict(zip(names, gradients, strict=True))

    return lambda: Program(run, None)
