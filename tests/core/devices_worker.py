"""Run by test_devices.py in a process of its own, which has eight CPU devices: prints differences from one device.

With the word few it takes few of them.
"""

import json
import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

import jax_meta  # noqa: E402
from jax_meta.devices import spread  # noqa: E402
from jax_meta.networks.layers import Convolution, Dense  # noqa: E402
from tests.learners import Problem, quadratics, sines  # noqa: E402

KEY = jax.random.key(0)
SINES, QUADRATICS = sines(), quadratics()
OUTER = optax.adam(1e-2)


def maml(problem: Problem) -> jax_meta.MetaLearner:
    return jax_meta.maml(problem.loss_fn, optax.sgd(0.05), num_steps=1)


LEARNER = maml(QUADRATICS)


def make_mesh(devices, **options):
    return jax.make_mesh((devices,), ("tasks",), devices=jax.devices()[:devices], **options)


def difference(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def trained(num_tasks, learner=LEARNER, outer=OUTER, **options):
    state = jax_meta.init(learner, outer, QUADRATICS.params, KEY)
    state, history = jax_meta.fit(
        learner, outer, QUADRATICS.sample_tasks, state, num_meta_steps=4, num_tasks=num_tasks, **options
    )
    return state, (state.params, history)


def at_hand(num_tasks, mesh):
    tasks = jax.vmap(lambda key: QUADRATICS.sample_tasks(key, num_tasks))(jax.random.split(KEY, 3))
    state = jax_meta.init(LEARNER, OUTER, QUADRATICS.params, KEY)
    state, history = jax_meta.fit_tasks(LEARNER, OUTER, tasks, state, mesh=mesh)
    return state.params, history


def sharded(mesh):
    """Parameters whose last axis is spread over the other axis of the mesh, and those of one device."""
    learner = maml(SINES)

    def place(leaf):
        spec = PartitionSpec(*[None] * (leaf.ndim - 1), "weights") if leaf.ndim and leaf.shape[-1] % 2 == 0 else None
        return leaf if spec is None else jax.device_put(leaf, NamedSharding(mesh, spec))

    def run(params, mesh):
        state = jax_meta.init(learner, OUTER, params, KEY)
        return jax_meta.fit(learner, OUTER, SINES.sample_tasks, state, num_meta_steps=4, num_tasks=8, mesh=mesh)

    together, history = run(jax.tree.map(place, SINES.params), mesh)
    alone, expected = run(SINES.params, None)
    return (together.params, history), (alone.params, expected)


def gradients():
    """`meta_gradient` within `jax.jit`, with what each device is given there, and outside."""
    tasks = SINES.sample_tasks(KEY, 8)

    def gradient(learner, mesh):
        return lambda tasks: jax_meta.meta_gradient(learner, SINES.params, tasks, KEY, mesh=mesh)

    def of_one(params, task, key):  # because one operation at a time, MAML's would take seconds to compile
        return jax.tree.map(lambda leaf: leaf * task.query[1].sum(), params), {"loss": jax.random.uniform(key)}

    learner, meshes = maml(SINES), (None, make_mesh(8))
    compiled = [jax.jit(gradient(learner, mesh)).lower(tasks).compile() for mesh in meshes]
    shares = compiled[1].as_text()
    return {
        "meta_gradient": difference(*(run(tasks) for run in compiled)),
        "outside jit": difference(*(gradient(learner._replace(gradient=of_one), mesh)(tasks) for mesh in meshes)),
        "tasks on a device": "f64[1,5,1]" in shares and "f64[8,6," not in shares,
    }


def mapped_by_hand(layer, shape):
    """The gradient of the mean over the devices of a `jax.shard_map` of one's own."""
    mesh, inputs = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("tasks",)), jax.random.normal(KEY, (2, *shape))
    params = jax.tree.map(lambda leaf: leaf.astype(float), layer.init(KEY, inputs[0]))

    def loss(params, inputs):
        return (layer.apply(params, inputs) ** 2).mean()

    def on_a_device(params, inputs):
        return jax.grad(lambda params: jax.lax.pmean(loss(params, inputs[0]), "tasks"))(params)

    each, whole = PartitionSpec("tasks"), PartitionSpec()
    mapped = jax.shard_map(on_a_device, mesh=mesh, in_specs=(whole, each), out_specs=whole)
    expected = jax.grad(lambda params: jax.vmap(loss, (None, 0))(params, inputs).mean())
    return difference(jax.jit(mapped)(params, inputs), jax.jit(expected)(params))


def few():
    """Five tasks on four devices, and what each device is given of eight."""
    _, alone = trained(5)
    return {"5 tasks on 4": difference(trained(5, mesh=make_mesh(4))[1], alone), **gradients()}


def all_of_them():
    report, states = {}, {}
    for num_tasks in (8, 5):  # which the devices divide, and which they do not
        _, alone = trained(num_tasks)
        for devices in (1, 2, 4, 8):
            states[devices, num_tasks], together = trained(num_tasks, mesh=make_mesh(devices))
            report[f"{num_tasks} tasks on {devices}"] = difference(together, alone)
    _, alone = trained(8)
    report["one at a time"] = difference(trained(8, mesh=make_mesh(4), task_batch_size=1)[1], alone)
    weights = jax.sharding.Mesh(np.array(jax.devices()).reshape(4, 2), ("tasks", "weights"))
    report["another axis"] = difference(trained(8, mesh=weights)[1], alone)
    reptile = jax_meta.reptile(QUADRATICS.loss_fn, optax.sgd(0.05), num_steps=3, batch_size=2)
    report["reptile"] = difference(trained(8, reptile, mesh=make_mesh(4))[1], trained(8, reptile)[1])

    carried = jax_meta.carried_reptile(QUADRATICS.loss_fn, optax.adam(0.05, b1=0.0), num_steps=3)
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
    given = spread(jax.vmap(lambda key: QUADRATICS.sample_tasks(key, 8))(jax.random.split(KEY, 3)), make_mesh(4))
    report["tasks at hand on a device"] = given.support[0].addressable_shards[0].data.shape[:2]
    report["devices of the result"] = len(jax.tree.leaves(states[4, 8].params)[0].devices())
    report |= gradients()
    layers = {"dense": (Dense(3), (4, 2)), "strided convolution": (Convolution(3, strides=2), (4, 6, 6, 2))}
    for name, (layer, shape) in layers.items():
        report[f"shard_map, {name}"] = mapped_by_hand(layer, shape)
    return report


if __name__ == "__main__":
    print(json.dumps(few() if "few" in sys.argv else all_of_them()))
