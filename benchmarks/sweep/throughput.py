"""The whole grid in one call against its networks one after the other."""

import itertools
import sys
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.harness.compilation import compile_ahead
from benchmarks.harness.progress import Tell
from benchmarks.harness.results import rounded
from benchmarks.harness.rounds import median_seconds
from benchmarks.sweep.networks import Grid, over_grid, train_network

COMPARED_STEPS = 10
"""Meta-steps whose losses are compared: rounding grows with every further one."""
TOLERANCE = 1e-3


def compare_throughput(grid: Grid, *, steps: int, num_tasks: int, repeats: int, tell: Tell) -> dict[str, Any]:
    """Median seconds of both, compile time apart, after a check that both give the same losses.

    The runs one after the other share one compiled program, whose rates are arguments.
    """
    train = partial(train_network, steps=steps, num_tasks=num_tasks)
    singles = list(itertools.product(*grid))
    tell("compiles all")
    at_once, compile_at_once = compile_ahead(over_grid(train), *grid)
    tell("compiles one")
    alone, compile_alone = compile_ahead(train, *singles[0])

    def one_after_the_other():
        return [jax.block_until_ready(alone(*single)) for single in singles]

    tell("compares")
    difference = largest_difference(at_once(*grid)[1], [losses for _, losses in one_after_the_other()])
    if not difference < TOLERANCE:
        sys.exit(f"the losses at once and one after the other differ by {difference:.1e}: report it as a bug.")
    seconds = median_seconds({"at once": partial(at_once, *grid), "in turn": one_after_the_other}, repeats, tell)
    return {
        "networks": len(singles),
        "meta_steps": steps,
        "rounds": repeats,
        "largest_relative_difference": rounded(difference, 2),
        "compile_seconds_at_once": round(compile_at_once, 2),
        "compile_seconds_one": round(compile_alone, 2),
        "seconds_at_once": rounded(seconds["at once"]),
        "seconds_one_after_the_other": rounded(seconds["in turn"]),
        "times_as_fast": rounded(seconds["in turn"] / seconds["at once"], 3),
    }


def largest_difference(at_once: jax.Array, one_by_one: list[jax.Array]) -> float:
    """Of the first losses, relative to each network's largest; NaN if one is not finite."""
    together = np.asarray(at_once).reshape(len(one_by_one), -1)[:, :COMPARED_STEPS]
    apart = np.stack(one_by_one)[:, :COMPARED_STEPS]
    return float((np.abs(together - apart).max(axis=1) / np.abs(apart).max(axis=1)).max())
