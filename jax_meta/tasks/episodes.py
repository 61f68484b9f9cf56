"""N-way K-shot tasks from images by class: pure functions of a key, which run on the device inside `jit`.

The rotations are those of Finn, Abbeel, Levine, arXiv:1703.03400, and of Vinyals et al., arXiv:1606.04080.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Sampler, Task
from jax_meta.checks import check_choice, check_count, describe
from jax_meta.datasets.images import ClassImages
from jax_meta.tasks.preparations import Augment, Prepare, unit_interval

__all__ = ["episodes", "sample_episodes"]

Rotations = Literal["none", "random", "classes"]


def sample_episodes(
    key: jax.Array,
    data: ClassImages,
    num_tasks: int,
    *,
    ways: int,
    shots: int,
    queries: int,
    rotations: Rotations = "none",
    prepare: Prepare = unit_interval,
    augment: Augment | None = None,
) -> Task:
    """Draws tasks: `ways` classes in random order, whose place is their label, and different images of each.

    Args:
        key: randomness.
        data: images by class, on the device.
        num_tasks: how many tasks, 1 or more.
        ways: classes in a task, drawn without replacement.
        shots: support images of each class, drawn without replacement.
        queries: query images of each class, none of which is in the support set.
        rotations: "random" turns each class drawn into a task by a random quarter turn, as the MAML paper does, in
            training and at test; "classes" makes each class four, one for each quarter turn, as Vinyals et al. do and
            Reptile, the latter in training only. Both need square images. Default: "none".
        prepare: from uint8 images to what the model takes. Default: `unit_interval`, float32 from 0 to 1.
        augment: `(key, image [height, width, channels]) -> image`, applied to every prepared image. Default: none.

    Returns:
        A `Task` whose support and query are `(images, labels)`: images `[num_tasks, ways * shots, height, width,
        channels]` and `[num_tasks, ways * queries, ...]`, labels int32, class by class.

    Raises:
        ValueError: if there are fewer classes than `ways`, fewer images in some class than `shots + queries` (inside
            `jit`, where the counts are not known, fewer in the largest class), if images to turn are not square, if a
            number is not an integer of 1 or more, or if `augment` changes the shape of an image.

    Example:
        >>> import jax, numpy as np
        >>> from jax_meta.datasets import ClassImages
        >>> from jax_meta.tasks import sample_episodes
        >>> data = ClassImages(np.zeros((10, 4, 8, 8, 1), np.uint8), np.full(10, 4), tuple("abcdefghij"))
        >>> tasks = sample_episodes(jax.random.key(0), data, 2, ways=5, shots=1, queries=3)
        >>> assert tasks.query[0].shape == (2, 15, 8, 8, 1) and tasks.support[1].tolist() == [[0, 1, 2, 3, 4]] * 2
    """
    check_count(num_tasks, "num_tasks", least=1)
    check_episodes(data, ways=ways, shots=shots, queries=queries, rotations=rotations)
    class_key, example_key, turn_key, augment_key = jax.random.split(key, 4)
    turned_classes = 4 if rotations == "classes" else 1
    drawn = sample_without_replacement(class_key, (num_tasks, len(data.images) * turned_classes), ways)
    classes, turns = drawn // turned_classes, drawn % turned_classes
    if rotations == "random":
        turns = jax.random.randint(turn_key, turns.shape, 0, 4)
    size = (num_tasks, ways, data.images.shape[1])
    available = jnp.arange(size[-1])[None, None] < jnp.asarray(data.counts)[classes][..., None]
    examples = sample_without_replacement(example_key, size, shots + queries, available)
    images = jnp.asarray(data.images)[classes[..., None], examples]
    if rotations != "none":
        images = jax.vmap(jax.vmap(turn))(images, turns)
    images = prepare(images)
    if augment is not None:
        keys = jax.random.split(augment_key, images.shape[:3])
        augmented = jax.vmap(jax.vmap(jax.vmap(augment)))(keys, images)
        if jnp.shape(augmented) != images.shape:
            raise ValueError(
                f"augment makes {describe(augmented)} of images {describe(images)}: it must keep their shape."
            )
        images = augmented
    return Task(with_labels(images[:, :, :shots]), with_labels(images[:, :, shots:]))


def episodes(
    data: ClassImages,
    *,
    ways: int,
    shots: int,
    queries: int,
    rotations: Rotations = "none",
    prepare: Prepare = unit_interval,
    augment: Augment | None = None,
) -> Sampler:
    """A sampler of N-way K-shot tasks for `jax_meta.fit`: `sample_episodes` with these options.

    The images move to the device now, and are an argument of what is compiled with the sampler, not a constant in it.

    Args:
        data: images by class.
        ways: as in `sample_episodes`, as are the others.
        shots: support images of each class.
        queries: query images of each class.
        rotations: "none", "random" or "classes". Default: "none".
        prepare: from uint8 images to what the model takes. Default: `unit_interval`.
        augment: `(key, image) -> image`. Default: none.

    Returns:
        The sampler, `(key, num_tasks) -> Task`, a `jax.tree_util.Partial`.

    Raises:
        ValueError: as in `sample_episodes`, now.

    Example:
        >>> import jax, numpy as np
        >>> from jax_meta.datasets import ClassImages
        >>> from jax_meta.tasks import episodes
        >>> data = ClassImages(np.zeros((10, 4, 8, 8, 1), np.uint8), np.full(10, 4), tuple("abcdefghij"))
        >>> sample_tasks = episodes(data, ways=5, shots=1, queries=3, rotations="random")
        >>> shapes = jax.eval_shape(lambda key: sample_tasks(key, 2), jax.random.key(0))
        >>> assert shapes.support[0].shape == (2, 5, 8, 8, 1)
    """
    check_episodes(data, ways=ways, shots=shots, queries=queries, rotations=rotations)
    options = {"ways": ways, "shots": shots, "queries": queries}

    def sample(data, key, num_tasks):
        return sample_episodes(key, data, num_tasks, **options, rotations=rotations, prepare=prepare, augment=augment)

    return jax.tree_util.Partial(sample, jax.device_put(data))


def sample_without_replacement(
    key: jax.Array, shape: tuple[int, ...], count: int, available: jax.Array | None = None
) -> jax.Array:
    """`count` different positions of the last axis of `shape`, in random order, among those `available`: int32."""
    scores = jax.random.uniform(key, shape)
    return jax.lax.top_k(scores if available is None else jnp.where(available, scores, -1), count)[1]


def turn(images: jax.Array, quarter_turns: jax.Array) -> jax.Array:
    """Turns images `[examples, size, size, channels]` counter-clockwise by a number of quarter turns from 0 to 3."""
    images = jnp.where(quarter_turns >= 2, images[:, ::-1, ::-1], images)
    return jnp.where(quarter_turns % 2 == 1, jnp.rot90(images, axes=(1, 2)), images)


def with_labels(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`[num_tasks, ways, examples, ...]` to `(images [num_tasks, ways * examples, ...], labels)`."""
    num_tasks, ways, examples = images.shape[:3]
    labels = jnp.broadcast_to(jnp.repeat(jnp.arange(ways, dtype=jnp.int32), examples), (num_tasks, ways * examples))
    return images.reshape(num_tasks, ways * examples, *images.shape[3:]), labels


def check_class_images(data: ClassImages) -> None:
    """Raises TypeError for other data."""
    if not isinstance(data, ClassImages):
        raise TypeError(
            f"tasks are drawn from jax_meta.datasets.ClassImages, got a {type(data).__name__}: make it of uint8 images "
            "[classes, examples, height, width, channels], or take one part of Splits, such as splits.train."
        )


def check_episodes(data: ClassImages, *, ways: int, shots: int, queries: int, rotations: Rotations = "none") -> None:
    """Raises ValueError if the data cannot give such tasks, and TypeError if it is no such data."""
    check_class_images(data)
    for name, value in (("ways", ways), ("shots", shots), ("queries", queries)):
        check_count(value, name, least=1)
    check_choice("rotations", rotations, get_args(Rotations))
    classes, most, height, width = data.images.shape[:4]
    if rotations != "none" and height != width:
        raise ValueError(f"images of {height} x {width} pixels cannot be turned: load them with size={height}.")
    turned = classes * (4 if rotations == "classes" else 1)
    if ways > turned:
        raise ValueError(f"{ways} ways need as many classes, and there are {turned}: choose fewer ways.")
    counts = np.full(classes, most) if isinstance(data.counts, jax.core.Tracer) else np.asarray(data.counts)
    if counts.min() < shots + queries:
        scarce = int(counts.argmin())
        raise ValueError(
            f"{shots} shots and {queries} queries need {shots + queries} images of a class, and {data.names[scarce]!r} "
            f"has {counts[scarce]}: choose fewer, or leave out such classes with jax_meta.datasets.select."
        )
