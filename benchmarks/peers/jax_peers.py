"""`jax_meta` and plain JAX: `flax.linen` modules under `vmap`, a scanned inner loop, one jitted meta-step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.harness.jax_networks import (
    naive_value_and_gradient,
    our_learning,
    our_sampler,
    tasks_at_once,
    to_params,
)
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Weights, Workload, random_images, task_source
from benchmarks.peers.peer import Peer
from jax_meta import Task


def jax_peer(start: Any, losses: Callable[[Sequence[Task]], Any], advance: Callable[[Any, int], Any]) -> Peer:
    """A peer of the losses of given tasks, and of `advance(state, num_steps) -> state`."""
    state = start

    def run(num_steps: int) -> None:
        nonlocal state
        state = jax.block_until_ready(advance(state, num_steps))

    return Peer(lambda batches: [float(loss) for loss in losses([Task(*batch) for batch in batches])], run)


def make(workload: Workload, weights: Weights, device: str) -> Peer:
    """`jax_meta.fit`, with tasks drawn on the device.

    On CPU it takes the tasks of images one at a time, with all threads in each product; the products of sines are too
    small for that, so that their tasks are spread over a device for each thread.
    """
    learning, draw = our_learning(workload), our_sampler(workload)
    mesh = jax.make_mesh((jax.device_count(),), ("tasks",)) if jax.device_count() > 1 else None
    options: dict = {"task_batch_size": tasks_at_once(workload, device), "mesh": mesh}
    start = jax_meta.init(*learning, to_params(weights), jax.random.key(0))

    def losses(batches):
        return jax_meta.fit_tasks(*learning, stack(batches), start, **options)[1]["loss"]

    def advance(state, num_steps):
        count: dict = {"num_meta_steps": num_steps, "num_tasks": workload.num_tasks}
        return jax_meta.fit(*learning, draw, state, **count, **options)[0]

    return jax_peer(start, losses, advance)


def make_loop(workload: Workload, weights: Weights, device: str) -> Peer:
    """A Python loop: NumPy draws the tasks, and one jitted meta-step takes them."""
    step, start = naive_step(workload, weights)
    draw, generator, compiled = task_source(workload), np.random.default_rng(0), jax.jit(step)

    def losses(batches):
        state = start
        for batch in batches:
            state, loss = compiled(state, batch)
            yield loss

    def advance(state, num_steps):
        for _ in range(num_steps):
            state, _ = compiled(state, Task(*draw(generator)))
        return state

    return jax_peer(start, losses, advance)


def make_scan(workload: Workload, weights: Weights, device: str) -> Peer:
    """One scan over meta-steps, with data and drawing on the device."""
    (step, start), draw, keys = naive_step(workload, weights), naive_draw(workload), iter(range(2**31))

    @partial(jax.jit, static_argnums=0)
    def scanned(num_steps: int, state: Any, key: jax.Array, images: jax.Array | None) -> Any:
        def draw_and_step(state, key):
            return step(state, draw(key, images))

        return jax.lax.scan(draw_and_step, state, jax.random.split(key, num_steps))[0]

    images = None if workload.model == "mlp" else jnp.asarray(random_images(workload))
    return jax_peer(
        start,
        lambda batches: jax.jit(partial(jax.lax.scan, step))(start, stack(batches))[1],
        lambda state, num_steps: scanned(num_steps, state, jax.random.key(next(keys)), images),
    )


def stack(batches: Sequence[Task]) -> Task:
    """Leaves `[num_steps, num_tasks, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


def naive_step(workload: Workload, weights: Weights) -> tuple[Callable[..., Any], Any]:
    """`(state, tasks) -> (state, loss)`, and the first state."""
    optimizer, params = optax.adam(OUTER_LEARNING_RATE), to_params(weights)
    value_and_gradient = naive_value_and_gradient(workload)

    def step(state, tasks):
        params, opt_state = state
        value, gradient = value_and_gradient(params, tasks)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

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
