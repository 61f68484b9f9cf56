"""In JAX: the networks, ours and from Flax's own layers, weights, tasks, a naive meta-gradient, and `fit`, compiled."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from jax.tree_util import Partial

import jax_meta
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Weights, Workload, random_images
from jax_meta.devices import replicate

Learning = tuple[jax_meta.MetaLearner, optax.GradientTransformation]


class Naive(nn.Module):
    """Our network for a workload from Flax's own layers, with its parameters."""

    workload: Workload

    @nn.compact
    def __call__(self, inputs):
        if self.workload.model == "mlp":
            for _ in range(2):
                inputs = nn.relu(nn.Dense(self.workload.width)(inputs))
            return nn.Dense(1)(inputs)
        for _ in range(4):
            inputs = ConvBlock(self.workload.width)(inputs)
        return nn.Dense(self.workload.ways)(inputs.reshape(len(inputs), -1))


class ConvBlock(nn.Module):
    filters: int

    @nn.compact
    def __call__(self, images):
        images = nn.Conv(self.filters, (3, 3), use_bias=False, name="Convolution_0")(images)
        images = nn.BatchNorm(use_running_average=False, use_scale=False)(images)
        return nn.max_pool(nn.relu(images), (2, 2), (2, 2))


def model(workload: Workload) -> nn.Module:
    if workload.model == "mlp":
        return jax_meta.models.MLP((workload.width,) * 2)
    return jax_meta.models.Conv4(workload.ways, workload.width)


def initial_weights(workload: Workload) -> Weights:
    """The weights that all start from, float32."""
    inputs = jnp.zeros((1, 1) if workload.model == "mlp" else (1, workload.size, workload.size, 1))
    return flat(optax.tree.cast(jax.jit(model(workload).init)(jax.random.key(0), inputs), jnp.float32))


def flat(params: Any) -> Weights:
    """NumPy's arrays by the path of the parameter."""
    return {name: np.array(leaf) for name, leaf in flatten_dict(params, sep="/").items()}


def to_params(weights: Weights) -> Any:
    return unflatten_dict({name: jnp.asarray(leaf) for name, leaf in weights.items()}, sep="/")


def our_loss(workload: Workload) -> jax_meta.LossFn:
    measure = jax_meta.regression if workload.model == "mlp" else jax_meta.classification
    return measure(model(workload).apply)


def our_learner(workload: Workload, **options: Any) -> jax_meta.MetaLearner:
    """`jax_meta.maml`, or `jax_meta.fomaml` for first order, or a relative, of a workload's loss and optimizer."""
    loss_fn, inner = our_loss(workload), optax.sgd(workload.learning_rate)
    features, head = jax_meta.models.split_head(model(workload))
    if workload.learner == "protonet":
        return jax_meta.protonet(loss_fn, features=features, head=head, ways=workload.ways)
    if workload.learner == "anil":
        return jax_meta.anil(loss_fn, inner, is_head=f"{head}/*", num_steps=workload.inner_steps, **options)
    algorithm = jax_meta.maml if workload.second_order else jax_meta.fomaml
    return algorithm(loss_fn, inner, num_steps=workload.inner_steps, **options)


def tasks_at_once(workload: Workload, device: str) -> int | None:
    """On CPU images are taken one task at a time, with all threads in each product; otherwise all tasks at once."""
    return 1 if workload.model == "conv4" and device == "cpu" else None


def our_sampler(workload: Workload) -> jax_meta.Sampler:
    """The tasks of `benchmarks.harness.workloads`, drawn on the device by `jax_meta.tasks`."""
    shots, queries = workload.shots, workload.queries
    if workload.model == "mlp":
        sample_tasks = jax_meta.tasks.sinusoid.sample_tasks
        return Partial(partial(sample_tasks, shots=shots, queries=queries, phases=(0.0, np.pi)))
    images = random_images(workload)
    names = tuple(map(str, range(len(images))))
    data = jax_meta.datasets.ClassImages(images, np.full(len(images), images.shape[1], np.int32), names)
    return jax_meta.tasks.episodes(data, ways=workload.ways, shots=shots, queries=queries)


def our_meta_gradient(learner: jax_meta.MetaLearner, task_batch_size: int | None) -> Callable[..., Any]:
    def gradient(params, tasks):
        return jax_meta.meta_gradient(learner, params, tasks, jax.random.key(1), task_batch_size=task_batch_size)[0]

    return gradient


def naive_meta_gradient(workload: Workload) -> Callable[..., Any]:
    """`(params, tasks) -> meta-gradient` as one writes it at first."""
    value_and_gradient = naive_value_and_gradient(workload)
    return lambda params, tasks: value_and_gradient(params, tasks)[1]


def naive_loss(workload: Workload) -> Callable[..., jax.Array]:
    measures = {"mlp": optax.squared_error, "conv4": optax.softmax_cross_entropy_with_integer_labels}

    def loss(params, inputs, targets):
        outputs, _ = Naive(workload).apply(params, inputs, mutable=["batch_stats"])
        return measures[workload.model](outputs, targets).mean()

    return loss


def naive_adapt(workload: Workload) -> Callable[..., Any]:
    """`(params, support) -> params`."""
    loss = naive_loss(workload)

    def adapt(params, support):
        def inner_step(params, _):
            gradient = jax.grad(loss)(params, *support)
            return jax.tree.map(lambda leaf, slope: leaf - workload.learning_rate * slope, params, gradient), None

        return jax.lax.scan(inner_step, params, None, length=workload.inner_steps)[0]

    return adapt


def naive_value_and_gradient(workload: Workload) -> Callable[..., Any]:
    """`(params, tasks) -> (mean query loss, meta-gradient)`: a scan over inner steps, a vmap over tasks."""
    loss, adapt = naive_loss(workload), naive_adapt(workload)

    def task_gradient(params, task):
        if workload.second_order:
            return jax.value_and_grad(lambda params: loss(adapt(params, task.support), *task.query))(params)
        return jax.value_and_grad(loss)(adapt(params, task.support), *task.query)

    def value_and_gradient(params, tasks):
        return jax.tree.map(lambda leaf: leaf.mean(0), jax.vmap(task_gradient, (None, 0))(params, tasks))

    return value_and_gradient


class Program(NamedTuple):
    """A compiled call of `jax_meta.fit`."""

    run: Callable[[], Any]
    num_steps: int  # its meta-steps
    compile_seconds: float
    compiled: Any  # what `jax.jit` made


compiled_soon = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
"""`jax.jit` in a quarter to a half less time: what is drawn at random, and the small products of sines, run as fast."""


def compile_ahead(
    function: Callable[..., Any], *arguments: Any, jit: Callable[..., Any] = jax.jit
) -> tuple[Any, float]:
    """The function compiled for arguments like these, by `jax.jit` or `compiled_soon`, and the seconds that it took."""
    start = time.perf_counter()
    compiled = jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def our_learning(workload: Workload) -> Learning:
    return our_learner(workload), optax.adam(OUTER_LEARNING_RATE)


def first_state(workload: Workload, learning: Learning) -> jax_meta.TrainState:
    return jax_meta.init(*learning, to_params(initial_weights(workload)), jax.random.key(0))


def compile_fit(
    workload: Workload, num_steps: int, *, learning: Learning | None = None, mesh: Mesh | None = None
) -> Program:
    """Compiles so many meta-steps of `jax_meta.fit` on a workload, of `our_learning` unless told otherwise."""
    learning = learning or our_learning(workload)
    sample_tasks, state = replicate((our_sampler(workload), first_state(workload, learning)), mesh)
    at_once = tasks_at_once(workload, jax.default_backend())
    options: dict = {"num_tasks": workload.num_tasks, "task_batch_size": at_once, "mesh": mesh}

    def fit(sample_tasks, state):
        return jax_meta.fit(*learning, sample_tasks, state, num_meta_steps=num_steps, **options)

    compiled, seconds = compile_ahead(fit, sample_tasks, state)
    return Program(partial(compiled, sample_tasks, state), num_steps, seconds, compiled)
