"""Peers without any library, good and bad, for `test_comparison.py`; each runs in a worker of its own."""

import importlib
import os
import time
from pathlib import Path

from benchmarks.peers.peer import Peer


def right(workload, weights, device):
    """Agrees with the others, prints, and leaves its process id."""
    (Path(os.environ["COMPARISON_FOLDER"]) / str(os.getpid())).touch()
    print("a library that prints")
    return Peer(
        lambda batches: [float(batch[0][0].mean()) for batch in batches], lambda steps: time.sleep(1e-4 * steps)
    )


def wrong(workload, weights, device):
    """Off by three percent in the last meta-step."""
    peer = right(workload, weights, device)

    def losses(batches):
        *first, last = peer.losses(batches)
        return [*first, 1.03 * last]

    return peer._replace(losses=losses)


def nan(workload, weights, device):
    """Has no numbers."""
    return right(workload, weights, device)._replace(losses=lambda batches: [float("nan")] * len(batches))


def missing(workload, weights, device):
    """Needs what nobody has."""
    importlib.import_module("a_library_that_nobody_has")


def raising(workload, weights, device):
    """Cannot be made."""
    raise ValueError("no such thing\nand more")


def crashing(workload, weights, device):
    """Dies in its first turn after calibration."""
    calls = []

    def run(steps):
        calls.append(steps)
        if len(calls) > 3 and steps == calls[-2]:
            os.write(2, b"out of everything\n")
            os._exit(7)
        time.sleep(1e-4 * steps)

    return right(workload, weights, device)._replace(run=run)


def silent(workload, weights, device):
    """Never answers."""
    return right(workload, weights, device)._replace(losses=lambda batches: time.sleep(1e6))
