"""What several processes of one run have to agree on."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from jax_meta.host.sources import OutOfTasksError


def is_main() -> bool:
    """Whether this process writes the run's files and shows its progress."""
    return jax.process_index() == 0


def agreed(*values: float) -> list[float]:
    """The largest of each value over all processes, so that all of them take the same turn."""
    if jax.process_count() == 1:
        return list(values)
    return np.asarray(multihost_utils.process_allgather(np.array(values, np.float32))).max(axis=0).tolist()


@contextmanager
def ends_together() -> Iterator[None]:
    """Where one process of several fails, all end at once: leaving, they would wait for the one that is lost.

    A FloatingPointError, and the end of the tasks, are raised in all of them alike, and left to the caller.
    """
    try:
        yield
    except (FloatingPointError, OutOfTasksError):
        raise
    except Exception:  # whatever it is, the other processes are not going on from it
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        place = f"process {jax.process_index()} of {jax.process_count()}"  # a lost peer shows as errors of many types
        print(
            f"{place} stops, and the others with it. Unless the error above is your own code's, another was lost: "
            "start all of them again to go on.",
            file=sys.stderr,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


@contextmanager
def refused_together() -> Iterator[None]:
    """An error of one process's checks is one of all: the others would otherwise wait for it."""
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # which is raised again below
        error = caught
    failed = agreed(float(error is not None))[0]
    if error is not None:
        raise error
    if failed:
        raise RuntimeError("another process of this run could not begin: its message says why.")
