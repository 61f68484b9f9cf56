"""Programs of known memory, good and bad, for `test_memory_benchmark.py`; each runs in a process of its own."""

import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.memory.program import Program

GRADIENT = {"params/kernel": np.array([[3.0, 0.0], [0.0, 4.0]]), "params/bias": np.zeros(2)}


def allocate(mib):
    """So much memory, each page of it touched."""
    return np.ones(mib * 2**20, np.uint8)


def known(building=0, running=0, gradient=GRADIENT, temporary=0, pause=0.0, **arguments):
    """Allocates so many MiB while it is built, frees them, and so many whenever it runs."""

    def build():
        allocate(building)

        def run():
            time.sleep(pause)
            allocate(running)
            return gradient

        return Program(run, temporary * 2**20)

    return build


def compiled(building, **arguments):
    """Allocates while it is built only if what it leaves is not found in the compilation cache."""
    place = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    found = place.exists()
    place.mkdir(exist_ok=True)
    return known(building=0 if found else building, **arguments)


def off_by(entry, **arguments):
    """The gradient, whose norm is 5, with something added to one entry."""
    kernel = GRADIENT["params/kernel"] + np.array([[0.0, entry], [0.0, 0.0]])
    return known(gradient={**GRADIENT, "params/kernel": kernel})


def misnamed(**arguments):
    """The gradient of other parameters."""
    return known(gradient={"params/kernel": GRADIENT["params/kernel"]})


def missing(**arguments):
    """Needs what nobody has."""
    importlib.import_module("a_library_that_nobody_has")


def out_of_memory(**arguments):
    """Asks for more than there is."""
    return lambda: Program(lambda: np.ones(2**50), 0)


def killed(**arguments):
    """Dies as if the system had killed it."""
    return lambda: Program(lambda: os.kill(os.getpid(), 9), 0)


def silent(**arguments):
    """Never ends."""
    return known(pause=1e6)


def torch_alone(**arguments):
    """PyTorch's gradient, from a process that must not have JAX in memory."""
    from benchmarks.memory.in_torch import peer

    build = peer(**arguments)
    if "jax" in sys.modules:
        raise RuntimeError("JAX was imported")
    return build


def width_in_mib(workload, problem, **arguments):
    """Needs as many MiB of temporary memory as tasks times filters, and fails beyond 8."""
    size = workload["num_tasks"] * workload["width"]
    if size > 8:
        raise ValueError("too large")
    return known(temporary=size)
