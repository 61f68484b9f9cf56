"""Run by test_processes.py, once in each process: trains on a mesh over the devices of all, and prints a line of JSON.

python processes_worker.py PORT PROCESSES PROCESS
"""

import json
import re
import sys

import jax

jax.config.update("jax_enable_x64", True)
PORT, PROCESSES, PROCESS = map(int, sys.argv[1:])
if PROCESSES > 1:
    jax.distributed.initialize(
        f"127.0.0.1:{PORT}", PROCESSES, PROCESS, heartbeat_timeout_seconds=20, shutdown_timeout_seconds=20
    )

import numpy as np  # noqa: E402
import optax  # noqa: E402

import jax_meta  # noqa: E402
from tests.learners import sines  # noqa: E402

PROBLEM = sines()
OUTER = optax.adam(1e-2)
LEARNER = jax_meta.maml(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=1)
MESH = jax.make_mesh((jax.device_count(),), ("tasks",))
KEY = jax.random.key(0)


def first_state():
    return jax_meta.init(LEARNER, OUTER, PROBLEM.params, KEY)


def trained(num_tasks, state, mesh=MESH):
    return jax_meta.fit(LEARNER, OUTER, PROBLEM.sample_tasks, state, num_meta_steps=3, num_tasks=num_tasks, mesh=mesh)


def numbers(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)]).tolist()


def shares_of_tasks():
    """How many of eight tasks each device is given, in the program that all run."""
    tasks = PROBLEM.sample_tasks(KEY, 8)
    gradient = jax.jit(lambda tasks: jax_meta.meta_gradient(LEARNER, PROBLEM.params, tasks, KEY, mesh=MESH))
    _, on_device = gradient.lower(tasks).as_text().split("sdy.manual_computation")
    itself, *_ = on_device.split("func.func")  # without the functions that it calls
    return [int(share) for share in re.findall(r"%arg\d+: tensor<(\d+)x[56]x1xf64>", itself)]


def outside_jit():
    """A mean gradient, one operation at a time; that of MAML would take seconds to compile so."""

    def gradient(params, task, key):
        return jax.tree.map(lambda leaf: leaf * task.query[1].sum(), params), {"loss": jax.random.uniform(key)}

    batch = (np.arange(10.0).reshape(5, 2, 1),) * 2
    tasks = jax_meta.Task(batch, batch)
    return numbers(jax_meta.meta_gradient(LEARNER._replace(gradient=gradient), PROBLEM.params, tasks, KEY, mesh=MESH))


def refusal(state):
    """What is said to processes whose states differ."""
    try:
        trained(8, state)
    except ValueError as error:
        return str(error)
    return ""


def main():
    """Prints a line of JSON."""
    report = {"local devices": len(jax.local_devices()), "devices": jax.device_count()}
    state, history = trained(8, first_state())  # the processes divide these tasks, and not the next ones
    report["8 tasks"] = numbers((state.params, history))
    report["again, restored"] = numbers(
        trained(8, jax.device_put(as_restored(state), jax.local_devices()[0]))[0].params
    )
    state, history = trained(5, first_state())
    report["5 tasks"] = numbers((state.params, history))
    report["outside jit"] = outside_jit()
    if PROCESSES > 1:
        report["shares of tasks"] = shares_of_tasks()
        report["refusal"] = refusal(first_state()._replace(key=jax.random.key(PROCESS)))
    print(json.dumps(report))


def as_restored(state):
    """The arrays of a state in this process's memory, with a key of its own."""
    arrays = jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))
    return arrays._replace(key=jax.random.wrap_key_data(arrays.key))


if __name__ == "__main__":
    main()
