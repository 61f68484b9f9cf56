"""One peer in a process of its own, told what to do in lines of JSON: `python -m benchmarks.peers.worker ORDER`.

`ORDER` is JSON: the peer's `make`, the workload, the npz file with the problem, the number of threads and the device.
The first answer is `{"device": ...}`; `{"do": "losses"}` and `{"do": "run", "steps": n}` are answered with the seconds
that they took, and `{"missing": ...}` or `{"error": ...}` is the last answer. The end of the input ends the process.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from benchmarks.peers.peer import Peer
from benchmarks.peers.workloads import Tasks, Workload, is_spread, load_problem


def main() -> None:
    """Serves one peer."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that what a library prints is not taken for an answer
    order = json.loads(sys.argv[1])
    try:
        keep_to_cores(order["threads"])
        device = "cuda" if order["device"] == "gpu" else "cpu"
        weights, batches = load_problem(Path(order["problem"]))
        module, function = order["make"].split(":")
        workload = Workload(**order["workload"])
        described = set_up(order["kind"], order["threads"], device, workload)
        peer = getattr(importlib.import_module(module), function)(workload, weights, device)
        answer(answers, {"device": described})
        for line in sys.stdin:
            answer(answers, work(peer, batches, json.loads(line)))
    except ModuleNotFoundError as error:
        answer(answers, {"missing": str(error)})
    except Exception as error:
        answer(answers, {"error": f"{type(error).__name__}: {error}"})
        raise


def answer(answers: TextIO, content: dict[str, Any]) -> None:
    """Writes one line."""
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def work(peer: Peer, batches: list[Tasks], request: dict[str, Any]) -> dict[str, Any]:
    """Does what is asked for, and says how long it took."""
    start = time.perf_counter()
    losses = peer.losses(batches) if request["do"] == "losses" else peer.run(request["steps"])
    return {"seconds": time.perf_counter() - start, "losses": losses}


def keep_to_cores(threads: int) -> None:
    """Binds the process to so many cores: XLA has no other option for the number of its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def set_up(kind: str, threads: int, device: str, workload: Workload) -> str:
    """Sets PyTorch's threads and float32 throughout, and our CPU devices; names the device."""
    if kind in ("eager", "compiled"):
        import torch

        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False
        return torch.cuda.get_device_name() if device == "cuda" else "cpu"
    if kind in ("ours", "jax"):
        import jax

        if kind == "ours" and device == "cpu" and is_spread(workload):
            jax.config.update("jax_num_cpu_devices", threads)
        return jax.devices()[0].device_kind
    return device


if __name__ == "__main__":
    main()
