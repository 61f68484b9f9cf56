"""N-way K-shot tasks from images by class: pure functions of a key, which run on the device inside `jit`.

The rotations are those of Finn, Abbeel, Levine, arXiv:1703.03400, and of Vinyals et al., arXiv:1606.04080.
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.base import Sampler, Task
from jax_meta.checks import check_choice
from jax_meta.datasets.images import ClassImages

Rotations = Literal["none", "random", "classes"]
Prepare = Callable[[jax.Array], jax.Array]
Augment = Callable[[jax.Array, jax.Array], jax.Array]


def unit_interval(images: jax.Array) -> jax.Array:
    """uint8 to float32 from 0 to 1."""
    return images.astype(jnp.float32) / 255


def inverted(images: jax.Array) -> jax.Array:
    """uint8 to float32 from 0 for white to 1 for black: Omniglot's ink is 1 and its paper 0, as in the MAML paper."""
    return 1 - unit_interval(images)


def standardised(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Prepare:
    """A function from uint8 to float32 with that mean and standard deviation, one of each a channel, taken away."""
    return lambda images: (unit_interval(images) - expand(mean, images)) / expand(deviation, images)


def expand(values: tuple[float, ...], images: jax.Array) -> jax.Array:
    """One number a channel, with the rank of `images`."""
    return jnp.asarray(values, jnp.float32).reshape(*[1] * (images.ndim - 1), -1)


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
        num_tasks: how many tasks.
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
            `jit`, where the counts are not known, fewer in the largest class), or if images to turn are not square.
    """
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
        images = jax.vmap(jax.vmap(jax.vmap(augment)))(keys, images)
    return Task(with_labels(images[:, :, :shots]), with_labels(images[:, :, shots:]))


def episodes(data: ClassImages, **options) -> Sampler:
    """The sampler `(key, num_tasks) -> Task` of `sample_episodes` with these options, for `jax_meta.fit`.

    The images move to the device now, and are an argument of what is compiled with the sampler, not a constant in it.
    """
    check_episodes(
        data, **{name: options[name] for name in ("ways", "shots", "queries", "rotations") if name in options}
    )

    def sample(data, key, num_tasks):
        return sample_episodes(key, data, num_tasks, **options)

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


def flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """An augmentation: mirrors an image `[height, width, channels]` left to right, with probability one half."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def shift(key: jax.Array, image: jax.Array, *, pixels: int = 4) -> jax.Array:
    """An augmentation: moves an image by up to `pixels` each way, and fills with zeros; a crop of the padded image."""
    padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def in_turn(*augmentations: Augment) -> Augment:
    """One augmentation after the other, each with its own key."""

    def augment(key, image):
        for step, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(key, step), image)
        return image

    return augment


def check_episodes(data: ClassImages, *, ways: int, shots: int, queries: int, rotations: Rotations = "none") -> None:
    """Raises ValueError if the data cannot give such tasks."""
    for name, value in (("ways", ways), ("shots", shots), ("queries", queries)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}.")
    check_choice("rotations", rotations, get_args(Rotations))
    classes, most, height, width = data.images.shape[:4]
    if rotations != "none" and height != width:
        raise ValueError(f"images of {height} x {width} pixels cannot be turned: load them with size={height}.")
    if ways > classes * (4 if rotations == "classes" else 1):
        raise ValueError(f"{ways} ways need as many classes, and there are {classes}: choose fewer ways.")
    counts = np.full(classes, most) if isinstance(data.counts, jax.core.Tracer) else np.asarray(data.counts)
    if counts.min() < shots + queries:
        scarce = int(counts.argmin())
        raise ValueError(
            f"{shots} shots and {queries} queries need {shots + queries} images of a class, and {data.names[scarce]!r} "
            f"has {counts[scarce]}: choose fewer, or leave out such classes with jax_meta.datasets.select."
        )
