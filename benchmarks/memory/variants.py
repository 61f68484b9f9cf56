"""What is compared."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.peers.peer import PEERS, Entry


class Variant(NamedTuple):
    """One way to compute the same meta-gradient."""

    entry: Entry  # its label, and "module:function", which is called as `make(**arguments, **options)`
    options: Mapping[str, Any]  # what sets it apart from others of the same function


def ours(label: str, **options: Any) -> Variant:
    """A variant of `jax_meta`, one task at a time unless told otherwise."""
    return Variant(
        Entry(label, "benchmarks.memory.in_jax:ours", "jax-metalearn", "ours"), {"task_batch_size": 1, **options}
    )


def torch_peer(name: str) -> Variant:
    """A peer of `benchmarks.peers`."""
    return Variant(PEERS[name]._replace(make="benchmarks.memory.in_torch:peer"), {"name": name})


DEFAULT = "none"
"""The variant that times are relative to."""
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


def of_kind(variants: Mapping[str, Variant], *kinds: str) -> dict[str, Variant]:
    """Those of these kinds."""
    return {name: variant for name, variant in variants.items() if variant.entry.kind in kinds}


def perceptron(variants: Mapping[str, Variant]) -> dict[str, Variant]:
    """Those that the second workload, of a single task, can tell apart."""
    return {
        name: variant._replace(entry=variant.entry._replace(make="benchmarks.memory.in_jax:mlp"))
        for name, variant in of_kind(variants, "ours").items()
        if variant.options.get("task_batch_size")
    }
