"""A run for tests to kill: `python train_worker.py FOLDER`; with PORT PROCESSES PROCESS, one process of several."""

import os
import sys
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)


def report(progress):
    print(progress.step, flush=True)


def main() -> None:
    """Trains as many meta-steps as TRAIN_STEPS says."""
    folder, *place = sys.argv[1:]
    options: dict[str, Any] = {}
    if place:
        port, processes, process = map(int, place)
        jax.distributed.initialize(
            f"127.0.0.1:{port}", processes, process, heartbeat_timeout_seconds=20, shutdown_timeout_seconds=20
        )
        options["mesh"] = jax.make_mesh((jax.device_count(),), ("tasks",))

    from tests.runs import training  # whose first lines use JAX, which is too early for a process of several

    training.train(folder, num_meta_steps=int(os.environ.get("TRAIN_STEPS", "200")), report=report, **options)


if __name__ == "__main__":
    main()
