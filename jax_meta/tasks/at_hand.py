"""Tasks at hand: those that groups of classes make, such as the characters of an alphabet, and a sampler of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Sampler, Task
from jax_meta.checks import check_count, check_tasks
from jax_meta.datasets.images import ClassImages

__all__ = ["among", "grouped"]


def grouped(
    data: ClassImages, *, ways: int, queries: int, prepare: Callable[[np.ndarray], jax.Array | np.ndarray] = np.asarray
) -> Task:
    """Every `ways` classes that follow each other are one task, such as the characters of an alphabet.

    The classes of a task and their labels are always the same, and so are its support and query images.

    Args:
        data: images by class, a multiple of `ways` of them, each with as many images.
        ways: classes in a task.
        queries: of each class, so many first images are the query set; the support set has all others.
        prepare: from uint8 images to what is kept. Default: the images as they are, a quarter of the memory of floats.

    Returns:
        A `Task` of all of them: support and query are `(images, labels)`, images `[num_tasks, examples, height, width,
        channels]`, labels int32, class by class.

    Raises:
        ValueError: if `ways` does not divide the classes, they have not equally many images, or `queries` leaves none
            to the support set.

    Example:
        >>> import numpy as np
        >>> from jax_meta.datasets import ClassImages
        >>> from jax_meta.tasks import grouped
        >>> data = ClassImages(np.zeros((6, 4, 8, 8, 1), np.uint8), np.full(6, 4), tuple("abcdef"))
        >>> tasks = grouped(data, ways=3, queries=1)
        >>> assert tasks.support[0].shape == (2, 9, 8, 8, 1) and tasks.query[1].tolist() == [[0, 1, 2]] * 2
    """
    check_count(ways, "ways", least=1)
    check_count(queries, "queries", least=1)
    classes, counts = len(data.names), np.asarray(data.counts)
    if classes % ways or (counts != counts[0]).any() or queries >= counts[0]:
        raise ValueError(
            f"tasks of {ways} ways and {queries} queries need a multiple of {ways} classes, each with the same number "
            f"of images, more than {queries}; got {classes} classes of {counts.min()} to {counts.max()} images: choose "
            "classes with jax_meta.datasets.select."
        )
    images = np.asarray(data.images)[:, : counts[0]]
    images = images.reshape(classes // ways, ways, *images.shape[1:])

    def with_labels(images):
        tasks, _, examples = images.shape[:3]
        labels = np.tile(np.repeat(np.arange(ways, dtype=np.int32), examples), (tasks, 1))
        return prepare(images.reshape(tasks, ways * examples, *images.shape[3:])), labels

    return Task(with_labels(images[:, :, queries:]), with_labels(images[:, :, :queries]))


def among(tasks: Task) -> Sampler:
    """A sampler that draws from tasks at hand: those of a meta-step are different as long as there are enough.

    Args:
        tasks: leaves `[tasks, examples, ...]`. They move to the device now.

    Returns:
        The sampler, `(key, num_tasks) -> Task`, a `jax.tree_util.Partial`. Of more tasks than there are it takes all as
        often as it can, in random order, and some once more.

    Raises:
        ValueError: as `jax_meta.train_step` does, for tasks that do not fit together.
        TypeError: for no `Task`.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> lines = (jnp.ones((5, 3, 1)), jnp.arange(5.0)[:, None, None] * jnp.ones((5, 3, 1)))  # 5 tasks, 3 points
        >>> sample_tasks = jax_meta.tasks.among(jax_meta.Task(lines, lines))
        >>> tasks = sample_tasks(jax.random.key(0), 4)
        >>> assert len(set(tasks.support[1][:, 0, 0].tolist())) == 4
    """
    count = check_tasks(tasks)

    def sample(tasks, key, num_tasks):
        rounds = jax.random.split(key, -(-num_tasks // count))
        drawn = jax.vmap(lambda key: jax.random.permutation(key, count))(rounds).reshape(-1)[:num_tasks]
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[drawn], tasks)

    return jax.tree_util.Partial(sample, jax.device_put(tasks))
