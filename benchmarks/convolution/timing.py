"""Timing of functions that take turns, so that whatever slows the machine down slows them all."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Run = Callable[[], Any]
"""A compiled call without arguments."""


def take_turns(runs: dict[Any, Run], repeats: int) -> dict[Any, float]:
    """The median seconds of each, after one call to warm up; in each round each has its turn."""
    samples: dict[Any, list[float]] = {name: [] for name in runs}
    for round_ in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if round_:
                samples[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in samples.items()}
