"""A process that measures cells, one after the other, on a core of its own."""

import os
from functools import partial
from pathlib import Path

import jax

from benchmarks.family import images, optimizers, sines
from benchmarks.harness.worker import Answer, Served


def serve(core: int, data: str, seconds: float) -> Served:
    """What a process of `benchmarks.family` does: the record of any cell."""
    if hasattr(os, "sched_setaffinity"):  # XLA has no other option for the number of its threads
        os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[core]])
    return {"core": core}, {"cell": partial(cell, Path(data), seconds)}


def cell(data: Path, seconds: float, problem: str, learner: str) -> Answer:
    jax.clear_caches()  # a learner's programs are of no use to the next
    if problem in sines.POINTS:
        return sines.run(problem, learner)
    if problem in optimizers.PROBLEMS:
        return optimizers.run(problem, data)
    if problem == "inner-steps":
        return images.memory(learner, data)
    return images.run(problem, learner, data, seconds)
