"""The same tasks drawn on the device, by a NumPy function, and by an iterable: a PyTorch DataLoader if there is one."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from jax_meta import MetaLearner, Task, TrainState
from jax_meta.datasets import ClassImages
from jax_meta.tasks import episodes, sinusoid

WAYS, SHOTS, QUERIES, SIZE = 5, 1, 5, 28
OUTER = optax.adam(1e-3)


class Workload(NamedTuple):
    """What is trained, and where its tasks come from.

    Attributes:
        learner: MAML of one inner step.
        state: before the first meta-step.
        samplers: by name, what `jax_meta.fit` takes; "device" is the first.
        num_tasks: tasks a meta-step.
        task_batch_size: tasks at a time.
    """

    learner: MetaLearner
    state: TrainState
    samplers: dict[str, Any]
    num_tasks: int
    task_batch_size: int | None


def sines() -> Workload:
    """The post's network on four sines, ten points to learn from and ten to be judged on."""
    model = jax_meta.models.MLP()
    learner = jax_meta.maml(jax_meta.regression(model.apply), optax.sgd(0.01), num_steps=1)
    return make_workload(
        learner, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1))), sinusoid.sample_tasks, numpy_sines
    )


def images() -> Workload:
    """Conv4 with 32 filters on four 5-way 1-shot tasks of grey images of 28 x 28 pixels; the pixels are random."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 20, SIZE, SIZE, 1), np.uint8)
    data = ClassImages(pixels, np.full(200, 20, np.int32), tuple(map(str, range(200))))
    model = jax_meta.models.Conv4(ways=WAYS, filters=32)
    learner = jax_meta.maml(jax_meta.classification(model.apply), optax.sgd(0.1), num_steps=1)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 1)))
    sampler = episodes(data, ways=WAYS, shots=SHOTS, queries=QUERIES)
    return make_workload(learner, params, sampler, numpy_episodes(pixels), task_batch_size=1)


def make_workload(
    learner: MetaLearner, params: Any, on_device: Any, by_numpy: Callable[..., Task], *, task_batch_size=None
) -> Workload:
    """A workload with the three samplers, four tasks a meta-step."""
    name = "DataLoader" if importlib.util.find_spec("torch") else "generator"
    samplers = {
        "device": on_device,
        "function": jax_meta.host_tasks(by_numpy),
        name: jax_meta.host_tasks(batches(by_numpy, 4, with_torch=name == "DataLoader")),
    }
    return Workload(learner, jax_meta.init(learner, OUTER, params, jax.random.key(1)), samplers, 4, task_batch_size)


def numpy_sines(rng: np.random.Generator, num_tasks: int) -> Task:
    """`jax_meta.tasks.sinusoid.sample_tasks` in NumPy."""
    amplitude, phase = rng.uniform([[0.1], [0.0]], [[5.0], [2 * np.pi]], (2, num_tasks))[..., None, None]
    inputs = rng.uniform(-5, 5, (num_tasks, 20, 1)).astype(np.float32)
    targets = (amplitude * np.sin(inputs + phase)).astype(np.float32)
    return Task((inputs[:, :10], targets[:, :10]), (inputs[:, 10:], targets[:, 10:]))


def numpy_episodes(pixels: np.ndarray) -> Callable[[np.random.Generator, int], Task]:
    """`jax_meta.tasks.sample_episodes` in NumPy."""

    def draw(rng: np.random.Generator, num_tasks: int) -> Task:
        classes = rng.random((num_tasks, len(pixels))).argsort(1)[:, :WAYS]
        places = rng.random((num_tasks, WAYS, pixels.shape[1])).argsort(-1)[..., : SHOTS + QUERIES]
        found = pixels[classes[..., None], places].astype(np.float32) / 255
        support, query = (part.reshape(num_tasks, -1, SIZE, SIZE, 1) for part in np.split(found, [SHOTS], axis=2))
        labels = [
            np.tile(np.repeat(np.arange(WAYS, dtype=np.int32), count), (num_tasks, 1)) for count in (SHOTS, QUERIES)
        ]
        return Task((support, labels[0]), (query, labels[1]))

    return draw


def batches(by_numpy: Callable[..., Task], num_tasks: int, *, with_torch: bool) -> Iterator[Task]:
    """Batches without end; with PyTorch from a data set of single tasks, which a DataLoader collates, as people do."""
    rng = np.random.default_rng(0)
    if not with_torch:
        return (by_numpy(rng, num_tasks) for _ in itertools.count())
    from torch.utils.data import DataLoader, IterableDataset

    class Tasks(IterableDataset):
        """One task after the other."""

        def __iter__(self) -> Iterator[Task]:
            """Without end."""
            return (jax.tree.map(lambda leaf: leaf[0], by_numpy(rng, 1)) for _ in itertools.count())

    return iter(DataLoader(Tasks(), batch_size=num_tasks))
