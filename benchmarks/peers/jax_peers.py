"""`jax_meta` and plain JAX: `flax.linen` modules under `vmap`, a scanned inner loop, one jitted meta-step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

import jax_meta
from benchmarks.convolution.peers import naive_loss, naive_value_and_gradient
from benchmarks.peers.peer import Peer
from benchmarks.peers.workloads import OUTER_LEARNING_RATE, Tasks, Weights, Workload, random_images, task_source
from jax_meta import Task

Draw = Callable[[jax.Array], Task]
Step = Callable[..., Any]


class NaiveMLP(nn.Module):
    """`jax_meta.models.MLP` from Flax's own layers, with its parameters."""

    width: int

    @nn.compact
    def __call__(self, inputs):
        """`[examples, 1]` to `[examples, 1]`."""
        for _ in range(2):
            inputs = nn.relu(nn.Dense(self.width)(inputs))
        return nn.Dense(1)(inputs)


def model(workload: Workload) -> nn.Module:
    """Our network for a workload."""
    if workload.model == "mlp":
        return jax_meta.models.MLP((workload.width,) * 2)
    return jax_meta.models.Conv4(workload.ways, workload.width)


def initial_weights(workload: Workload) -> Weights:
    """The weights that all peers start from."""
    inputs = jnp.zeros((1, 1) if workload.model == "mlp" else (1, workload.size, workload.size, 1))
    params = model(workload).init(jax.random.key(0), inputs)
    return {name: np.asarray(leaf, np.float32) for name, leaf in flatten_dict(params, sep="/").items()}


def to_params(weights: Weights) -> Any:
    """The tree of parameters."""
    return unflatten_dict({name: jnp.asarray(leaf) for name, leaf in weights.items()}, sep="/")


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """`jax_meta.fit`, with tasks drawn on the device.

    On CPU it takes the tasks of images one at a time, with all threads in each product; the products of sines are too
    small for that, so that their tasks are spread over a device for each thread.
    """
    measure = jax_meta.regression if workload.model == "mlp" else jax_meta.classification
    algorithm = jax_meta.maml if workload.second_order else jax_meta.fomaml
    learner = algorithm(
        measure(model(workload).apply), optax.sgd(workload.learning_rate), num_steps=workload.inner_steps
    )
    optimizer, task_batch_size = optax.adam(OUTER_LEARNING_RATE), None
    if workload.model == "conv4" and device == "cpu":
        task_batch_size = 1
    mesh = jax.make_mesh((jax.device_count(),), ("tasks",)) if jax.device_count() > 1 else None
    draw = our_sampler(workload)
    start = jax_meta.init(learner, optimizer, to_params(weights), jax.random.key(0))
    states = [start]

    def losses(batches: Sequence[Tasks]) -> list[float]:
        tasks = stack(batches)
        _, history = jax_meta.fit_tasks(learner, optimizer, tasks, start, task_batch_size=task_batch_size, mesh=mesh)
        return [float(loss) for loss in history["loss"]]

    def run(num_steps: int) -> None:
        states[0], _ = jax_meta.fit(
            learner,
            optimizer,
            draw,
            states[0],
            num_meta_steps=num_steps,
            num_tasks=workload.num_tasks,
            task_batch_size=task_batch_size,
            mesh=mesh,
        )
        jax.block_until_ready(states[0])

    return Peer(losses, run)


def our_sampler(workload: Workload) -> jax_meta.Sampler:
    """The tasks of `comparison.workloads`, drawn on the device by `jax_meta.tasks`."""
    shots, queries = workload.shots, workload.queries
    if workload.model == "mlp":
        return partial(jax_meta.tasks.sinusoid.sample_tasks, shots=shots, queries=queries, phases=(0.0, np.pi))
    images = random_images(workload)
    names = tuple(map(str, range(len(images))))
    data = jax_meta.datasets.ClassImages(images, np.full(len(images), images.shape[1], np.int32), names)
    return jax_meta.tasks.episodes(data, ways=workload.ways, shots=shots, queries=queries)


def make_loop(workload: Workload, weights: Weights, device: str) -> Peer:
    """A Python loop: NumPy draws the tasks, and one jitted meta-step takes them."""
    step, start = naive_step(workload, weights)
    draw, generator, states = task_source(workload), np.random.default_rng(0), [start]
    compiled = jax.jit(step)

    def losses(batches: Sequence[Tasks]) -> list[float]:
        state, taken = start, []
        for batch in batches:
            state, loss = compiled(state, Task(*batch))
            taken.append(float(loss))
        return taken

    def run(num_steps: int) -> None:
        state = states[0]
        for _ in range(num_steps):
            state, _ = compiled(state, Task(*draw(generator)))
        states[0] = jax.block_until_ready(state)

    return Peer(losses, run)


def make_scan(workload: Workload, weights: Weights, device: str) -> Peer:
    """One scan over meta-steps, with data and drawing on the device."""
    step, start = naive_step(workload, weights)
    draw = naive_draw(workload)
    states, keys = [start], iter(range(2**31))

    def scanned(num_steps: int, state: Any, key: jax.Array, images: jax.Array | None) -> Any:
        def draw_and_step(state, key):
            return step(state, draw(key, images))

        return jax.lax.scan(draw_and_step, state, jax.random.split(key, num_steps))[0]

    compiled = jax.jit(scanned, static_argnums=0)
    images = None if workload.model == "mlp" else jnp.asarray(random_images(workload))

    def losses(batches: Sequence[Tasks]) -> list[float]:
        _, taken = jax.jit(partial(jax.lax.scan, step))(start, stack(batches))
        return [float(loss) for loss in taken]

    def run(num_steps: int) -> None:
        states[0] = jax.block_until_ready(compiled(num_steps, states[0], jax.random.key(next(keys)), images))

    return Peer(losses, run)


def stack(batches: Sequence[Tasks]) -> Task:
    """The tasks of several meta-steps, leaves `[num_steps, num_tasks, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(Task(*batch) for batch in batches))


def naive_step(workload: Workload, weights: Weights) -> tuple[Step, Any]:
    """`(state, tasks) -> (state, loss)`, and the first state."""
    if workload.model == "mlp":
        network = NaiveMLP(workload.width)

        def loss(params, inputs, targets):
            return jnp.mean((network.apply(params, inputs) - targets) ** 2)
    else:
        loss = naive_loss(workload.ways, workload.width)

    optimizer = optax.adam(OUTER_LEARNING_RATE)
    value_and_gradient = naive_value_and_gradient(
        loss, workload.learning_rate, workload.inner_steps, second_order=workload.second_order
    )

    def step(state, tasks):
        params, opt_state = state
        value, gradient = value_and_gradient(params, tasks)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    params = to_params(weights)
    return step, (params, optimizer.init(params))


def naive_draw(workload: Workload) -> Callable[[jax.Array, jax.Array | None], Task]:
    """`(key, images) -> tasks`, as one writes it at first."""
    shots, examples = workload.shots, workload.shots + workload.queries

    def one_sine(key, images):
        amplitude_key, phase_key, input_key = jax.random.split(key, 3)
        amplitude = jax.random.uniform(amplitude_key, minval=0.1, maxval=5.0)
        phase = jax.random.uniform(phase_key, maxval=jnp.pi)
        inputs = jax.random.uniform(input_key, (examples, 1), minval=-5.0, maxval=5.0)
        targets = amplitude * jnp.sin(inputs + phase)
        return Task((inputs[:shots], targets[:shots]), (inputs[shots:], targets[shots:]))

    def one_episode(key, images):
        class_key, example_key = jax.random.split(key)
        classes = jax.random.choice(class_key, len(images), (workload.ways,), replace=False)
        chosen = jax.random.uniform(example_key, (workload.ways, images.shape[1])).argsort(-1)[:, :examples]
        pixels = images[classes[:, None], chosen] / jnp.float32(255)
        labels = jnp.broadcast_to(jnp.arange(workload.ways)[:, None], (workload.ways, examples))

        def batch(part):
            return pixels[:, part].reshape(-1, *images.shape[2:]), labels[:, part].reshape(-1)

        return Task(batch(slice(shots)), batch(slice(shots, None)))

    one = one_sine if workload.model == "mlp" else one_episode
    return lambda key, images: jax.vmap(one, (0, None))(jax.random.split(key, workload.num_tasks), images)
