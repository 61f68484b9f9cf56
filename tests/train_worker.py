"""A run for test_train_killed.py to kill: `python train_worker.py FOLDER`; with an address, one process of several."""

import os
import sys

import jax

jax.config.update("jax_enable_x64", True)

if __name__ == "__main__":
    folder, *place = sys.argv[1:]
    options = {}
    if place:
        address, count, index = place
        jax.distributed.initialize(
            address, int(count), int(index), heartbeat_timeout_seconds=20, shutdown_timeout_seconds=20
        )
        options["mesh"] = jax.make_mesh((jax.device_count(),), ("tasks",))

    import training

    def report(progress):
        print(progress.step, flush=True)

    if os.environ.get("TRAIN_QUIETLY"):
        report = None
    training.train(folder, num_steps=int(os.environ.get("TRAIN_STEPS", "200")), report=report, **options)
