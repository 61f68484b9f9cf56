"""Run by test_devices.py in a process of its own, which has eight CPU devices: prints differences from one device."""

import json

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

import jax_meta  # noqa: E402
from jax_meta.devices import spread  # noqa: E402
from tests.learners import sines  # noqa: E402

KEY = jax.random.key(0)
PROBLEM = sines()
OUTER = optax.adam(1e-2)


def make_mesh(devices, **options):
    return jax.make_mesh((devices,), ("tasks",), devices=jax.devices()[:devices], **options)


def difference(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def trained(num_tasks, learner=None, outer=OUTER, **options):
    learner = learner or jax_meta.maml(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=1)
    state = jax_meta.init(learner, outer, PROBLEM.params, KEY)
    state, history = jax_meta.fit(
        learner, outer, PROBLEM.sample_tasks, state, num_meta_steps=4, num_tasks=num_tasks, **options
    )
    return state, (state.params, history)


def at_hand(num_tasks, mesh):
    learner = jax_meta.maml(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=1)
    tasks = jax.vmap(lambda key: PROBLEM.sample_tasks(key, num_tasks))(jax.random.split(KEY, 3))
    state = jax_meta.init(learner, OUTER, PROBLEM.params, KEY)
    state, history = jax_meta.fit_tasks(learner, OUTER, tasks, state, mesh=mesh)
    return state.params, history


def sharded(mesh):
    """Parameters whose last axis is spread over the other axis of the mesh, and those of one device."""
    learner = jax_meta.maml(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=1)

    def place(leaf):
        spec = PartitionSpec(*[None] * (leaf.ndim - 1), "weights") if leaf.ndim and leaf.shape[-1] % 2 == 0 else None
        return leaf if spec is None else jax.device_put(leaf, NamedSharding(mesh, spec))

    def run(params, mesh):
        state = jax_meta.init(learner, OUTER, params, KEY)
        return jax_meta.fit(learner, OUTER, PROBLEM.sample_tasks, state, num_meta_steps=4, num_tasks=8, mesh=mesh)

    together, history = run(jax.tree.map(place, PROBLEM.params), mesh)
    alone, expected = run(PROBLEM.params, None)
    return (together.params, history), (alone.params, expected)


def main():
    """Prints a line of JSON."""
    report = {}
    for num_tasks in (8, 5):  # which the devices divide, and which they do not
        _, alone = trained(num_tasks)
        for devices in (1, 2, 4, 8):
            _, together = trained(num_tasks, mesh=make_mesh(devices))
            report[f"{num_tasks} tasks on {devices}"] = difference(together, alone)
    _, alone = trained(8)
    report["one at a time"] = difference(trained(8, mesh=make_mesh(4), task_batch_size=1)[1], alone)
    weights = jax.sharding.Mesh(np.array(jax.devices()).reshape(4, 2), ("tasks", "weights"))
    report["another axis"] = difference(trained(8, mesh=weights)[1], alone)
    reptile = jax_meta.reptile(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=3, batch_size=2)
    report["reptile"] = difference(trained(8, reptile, mesh=make_mesh(4))[1], trained(8, reptile)[1])

    carried = jax_meta.carried_reptile(PROBLEM.loss_fn, optax.adam(0.05, b1=0.0), num_steps=3)
    options = {"learner": carried, "outer": jax_meta.carry_state(OUTER)}
    alone, together = trained(5, **options)[0], trained(5, mesh=make_mesh(4), **options)[0]
    report["carried reptile"] = difference(together.params, alone.params)
    count = jax.tree.leaves(together.params.opt_state)[0]
    report["inner steps counted"] = [str(count.dtype), int(count)]
    report["sharded parameters"] = difference(*sharded(weights))
    for num_tasks in (8, 5):
        report[f"fit_tasks, {num_tasks} tasks"] = difference(
            *(at_hand(num_tasks, mesh) for mesh in (None, make_mesh(4)))
        )
    given = spread(jax.vmap(lambda key: PROBLEM.sample_tasks(key, 8))(jax.random.split(KEY, 3)), make_mesh(4))
    report["tasks at hand on a device"] = given.support[0].addressable_shards[0].data.shape[:2]

    state, _ = trained(8, mesh=make_mesh(4))
    report["devices of the result"] = len(jax.tree.leaves(state.params)[0].devices())
    learner = jax_meta.maml(PROBLEM.loss_fn, optax.sgd(0.05), num_steps=1)
    tasks = PROBLEM.sample_tasks(KEY, 8)
    gradients = [
        jax_meta.meta_gradient(learner, PROBLEM.params, tasks, KEY, mesh=mesh) for mesh in (None, make_mesh(8))
    ]
    report["meta_gradient"] = difference(*gradients)
    compiled = jax.jit(lambda tasks: jax_meta.meta_gradient(learner, PROBLEM.params, tasks, KEY, mesh=make_mesh(8)))
    shares = compiled.lower(tasks).compile().as_text()
    report["tasks on a device"] = "f64[1,5,1]" in shares and "f64[8,6," not in shares
    print(json.dumps(report))


if __name__ == "__main__":
    main()
