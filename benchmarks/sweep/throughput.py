"""The whole grid in one call against its networks one after the other."""

import itertools
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.harness.report import rounded
from benchmarks.harness.rounds import median_seconds
from benchmarks.sweep.networks import Grid, over_grid, train_network

COMPARED_STEPS = 10
"""Meta-steps whose losses are compared: rounding grows with every further one."""
TOLERANCE = 1e-3


def compare_throughput(grid: Grid, *, steps: int, num_tasks: int, repeats: int) -> dict[str, Any]:
    """Median seconds of both, compile time apart, after a check that both give the same losses.

    The runs one after the other share one compiled program, whose rates are arguments.
    """
    train = partial(train_network, steps=steps, num_tasks=num_tasks)
    at_once, compile_at_once = compile_for(over_grid(train), tuple(grid))
    singles = list(itertools.product(*grid))
    alone, compile_alone = compile_for(train, singles[0])

    def one_after_the_other():
        return [jax.block_until_ready(alone(*single)) for single in singles]

    difference = largest_difference(at_once(*grid)[1], [losses for _, losses in one_after_the_other()])
    if not difference < TOLERANCE:
        sys.exit(f"the losses at once and one after the other differ by {difference:.1e}: report it as a bug.")
    seconds = median_seconds({"at once": lambda: at_once(*grid), "in turn": one_after_the_other}, repeats)
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


def compile_for(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], float]:
    """The function compiled for arguments like these, and the seconds it took."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def largest_difference(at_once: jax.Array, one_by_one: list[jax.Array]) -> float:
    """Of the first losses, relative to each network's largest; NaN if one is not finite."""
    together = np.asarray(at_once).reshape(len(one_by_one), -1)[:, :COMPARED_STEPS]
    apart = np.stack(one_by_one)[:, :COMPARED_STEPS]
    return float((np.abs(together - apart).max(axis=1) / np.abs(apart).max(axis=1)).max())
