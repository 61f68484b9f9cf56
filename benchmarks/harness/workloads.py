"""What is to be done, with NumPy alone: the workloads, their tasks, and the problem on which all must agree."""

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

Batch = tuple[Any, Any]  # `(inputs, targets)`, leaves `[num_tasks, examples, ...]`
Tasks = tuple[Batch, Batch]
"""`(support, query)` of one meta-step; images are `[num_tasks, examples, height, width, channels]`."""
Weights = dict[str, np.ndarray]  # the parameters of `jax_meta.models` by their path, in the order of the layers

OUTER_LEARNING_RATE = 1e-3
IMAGES_OF_A_CLASS, CLASSES = 20, 200


class Workload(NamedTuple):
    """Meta-steps of one kind, with SGD in the inner loop and Adam in the outer; or adaptations. In float32."""

    name: str  # for the command line and the tables
    model: Literal["mlp", "conv4"]  # on sines, or on images
    num_tasks: int  # a meta-step
    inner_steps: int  # of SGD on the whole support set
    second_order: bool  # whether the meta-gradient is MAML's, or that of first-order MAML
    learning_rate: float  # of the inner loop
    shots: int  # support points of a sine, or support images of a class
    queries: int  # query points of a sine, or query images of a class
    ways: int  # classes in a task of images
    width: int  # units of both hidden layers, or filters of each block
    size: int  # height and width of an image
    adapts: bool = False  # whether one new task is adapted to, and nothing is meta-trained
    learner: Literal["maml", "anil", "protonet"] = "maml"  # which is trained; prototypical networks take no inner step


def sine(num_tasks: int, inner_steps: int, *, second_order: bool = True, width: int = 40) -> Workload:
    """The MAML paper's sines: 10 support and 10 query points, a 1-40-40-1 network."""
    name = f"sine-{num_tasks}x{inner_steps}" + ("" if second_order else "-first-order")
    return Workload(name, "mlp", num_tasks, inner_steps, second_order, 0.01, 10, 10, 1, width, 1)


def conv4(
    num_tasks: int, inner_steps: int, *, second_order: bool = True, width: int = 64, size: int = 28, queries: int = 15
) -> Workload:
    """Conv4-64 on 28 x 28 images: 5 ways, 1 shot, 15 queries a class."""
    name = f"conv4-{num_tasks}x{inner_steps}" + ("" if second_order else "-first-order")
    return Workload(name, "conv4", num_tasks, inner_steps, second_order, 0.05, 1, queries, 5, width, size)


def adapt(workload: Workload) -> Workload:
    """Its inner steps alone, on one task."""
    return workload._replace(name=f"adapt-{workload.model}-{workload.inner_steps}", adapts=True)


def relative(workload: Workload, learner: Literal["anil", "protonet"]) -> Workload:
    """The same by a relative of MAML."""
    steps = workload.inner_steps if learner == "anil" else 0
    return workload._replace(name=f"{workload.name}-{learner}", learner=learner, inner_steps=steps)


RELATIVES = (relative(conv4(4, 1), "anil"), relative(conv4(4, 5), "anil"), relative(conv4(4, 0), "protonet"))
ADAPTATIONS = (adapt(sine(1, 1)), adapt(sine(1, 10)), adapt(conv4(1, 5)))
WORKLOADS = {
    workload.name: workload
    for second_order in (True, False)
    for workload in (
        *(sine(*numbers, second_order=second_order) for numbers in ((1, 1), (25, 1), (25, 5))),
        *(conv4(4, inner_steps, second_order=second_order) for inner_steps in (1, 5)),
    )
} | {workload.name: workload for workload in (*RELATIVES, *ADAPTATIONS)}


def task_source(workload: Workload) -> Callable[[np.random.Generator], Tasks]:
    if workload.model == "mlp":
        return partial(draw_sines, workload)
    return partial(draw_episodes, workload, random_images(workload))


def draw_sines(workload: Workload, generator: np.random.Generator) -> Tasks:
    """y = a sin(x + b) with a uniform in [0.1, 5], b in [0, π] and x in [-5, 5]; float32."""
    shape = (workload.num_tasks, 1, 1)
    amplitude, phase = generator.uniform(0.1, 5, shape), generator.uniform(0, np.pi, shape)
    inputs = generator.uniform(-5, 5, (workload.num_tasks, workload.shots + workload.queries, 1))
    targets = (amplitude * np.sin(inputs + phase)).astype(np.float32)
    inputs, shots = inputs.astype(np.float32), workload.shots
    return (inputs[:, :shots], targets[:, :shots]), (inputs[:, shots:], targets[:, shots:])


def random_images(workload: Workload) -> np.ndarray:
    """Images by class, uint8 `[classes, examples, height, width, 1]`: speed does not depend on what they show."""
    shape = (CLASSES, IMAGES_OF_A_CLASS, workload.size, workload.size, 1)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def draw_episodes(workload: Workload, images: np.ndarray, generator: np.random.Generator) -> Tasks:
    """Classes without replacement, and different images of each for support and query; float32 from 0 to 1."""
    tasks, ways, shots, examples = workload.num_tasks, workload.ways, workload.shots, workload.shots + workload.queries
    classes = generator.random((tasks, len(images))).argsort(-1)[:, :ways, None]
    chosen = generator.random((tasks, ways, images.shape[1])).argsort(-1)[:, :, :examples]
    pixels = images[classes, chosen].astype(np.float32) / 255
    labels = np.broadcast_to(np.arange(ways)[:, None], (tasks, ways, examples)).copy()

    def batch(part: slice) -> Batch:
        return pixels[:, :, part].reshape(tasks, -1, *images.shape[2:]), labels[:, :, part].reshape(tasks, -1)

    return batch(slice(shots)), batch(slice(shots, None))


def save_problem(path: Path, weights: Weights, batches: Sequence[Tasks]) -> None:
    path.write_bytes(pickle.dumps((dict(weights), list(batches))))


def load_problem(path: str | Path) -> tuple[Weights, list[Tasks]]:
    return pickle.loads(Path(path).read_bytes())
