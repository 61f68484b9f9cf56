"""Each layer and each face of its convolution, in each formulation: what `networks.convolution_cpu.choose` rests on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from benchmarks.harness.progress import Tell
from benchmarks.harness.rounds import median_seconds
from jax_meta.networks.convolution import ROLES
from jax_meta.networks.convolution_cpu import BY_PATCHES, BY_XLA, Geometry, choose
from jax_meta.networks.trilinear import others

EXAMPLES, FILTERS = 75, 64
LAYERS = {
    "28 x 28 x 1": (28, 1, 1),
    "14 x 14 x 64": (14, FILTERS, 1),
    "7 x 7 x 64": (7, FILTERS, 1),
    "3 x 3 x 64": (3, FILTERS, 1),
    "28 x 28 x 1, stride 2": (28, 1, 2),
    "14 x 14 x 64, stride 2": (14, FILTERS, 2),
    "7 x 7 x 64, stride 2": (7, FILTERS, 2),
}
FACES = [(layer, wanted) for layer in LAYERS for wanted in ROLES if not (wanted == "images" and LAYERS[layer][1] == 1)]
"""All but the gradient of the first layer's images, which nobody needs."""


def measure_layers(repeats: int, tell: Tell) -> list[dict[str, Any]]:
    """Nominal GFLOP/s of every layer and face in each formulation."""
    records = []
    for layer, wanted in FACES:
        tell(f"{layer}, {wanted}")
        speeds = measure(wanted, *LAYERS[layer], repeats)
        records.append({"layer": layer, "wanted": wanted, "gflop_per_second": speeds})
    return records


def measure(wanted: str, size: int, channels: int, stride: int, repeats: int) -> dict[str, float]:
    """Nominal GFLOP/s of one face of a layer, in turns: plain `jax.lax`, with its rows spread, patches, our choice."""
    padding = tuple(jax.lax.padtype_to_pads((size, size), (3, 3), (stride, stride), "SAME"))
    geometry = Geometry((size, size), (3, 3), (stride, stride), padding)
    shapes: dict[str, tuple[int, ...]] = {
        "images": (EXAMPLES, size, size, channels),
        "kernel": (3, 3, channels, FILTERS),
        "outputs": (EXAMPLES, *geometry.outputs, FILTERS),
    }
    keys = jax.random.split(jax.random.key(0), len(ROLES))
    known = {role: jax.random.normal(key, shapes[role]) for role, key in zip(ROLES, keys, strict=True)}
    pair = [known[role] for role in others(ROLES, wanted)]
    formulations: dict[str, Callable[..., jax.Array]] = {
        "jax.lax": partial(BY_XLA[wanted], row_step=1),
        "rows spread": BY_XLA[wanted],
        "patches": BY_PATCHES[wanted],
        "chosen": choose(wanted, pair[0], pair[1], geometry),
    }
    runs = {name: partial(jax.jit(partial(each, geometry=geometry)), *pair) for name, each in formulations.items()}
    flop = 2 * 9 * channels * FILTERS * EXAMPLES * geometry.outputs[0] * geometry.outputs[1]
    return {name: flop / seconds / 1e9 for name, seconds in median_seconds(runs, 2 * repeats).items()}
