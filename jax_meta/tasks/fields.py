"""Images as tasks: the examples of a task are the pixels of one image, from place to colour."""

import jax
import jax.numpy as jnp

from jax_meta.base import Batch, Sampler, Task
from jax_meta.checks import check_count, describe
from jax_meta.datasets.images import ClassImages
from jax_meta.tasks.episodes import check_class_images
from jax_meta.tasks.preparations import Prepare, unit_interval

__all__ = ["coordinates", "fields", "pixels_of"]


def coordinates(height: int, width: int) -> jax.Array:
    """The places of pixels, from -1 to 1 down and across, row by row.

    Args:
        height: rows, 2 or more.
        width: columns, 2 or more.

    Returns:
        float32 `[height * width, 2]`, the row first; float64 where JAX has it enabled.

    Raises:
        ValueError: if one is not an integer of 2 or more.

    Example:
        >>> from jax_meta.tasks import coordinates
        >>> assert coordinates(2, 2).tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    """
    check_count(height, "height", least=2)
    check_count(width, "width", least=2)
    rows, columns = jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width)
    return jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def pixels_of(image: jax.Array) -> Batch:
    """An image as a data set: each pixel's place, and its colour.

    Args:
        image: `[height, width, channels]`, prepared.

    Returns:
        `(coordinates(height, width), colours)`, the colours `[height * width, channels]`.

    Raises:
        ValueError: if the image is not `[height, width, channels]`, of 2 or more each way.

    Example:
        >>> import jax.numpy as jnp
        >>> from jax_meta.tasks import pixels_of
        >>> places, colours = pixels_of(jnp.arange(12.0).reshape(2, 2, 3))
        >>> assert places.shape == (4, 2) and colours[1].tolist() == [3, 4, 5]
    """
    if jnp.ndim(image) != 3:
        raise ValueError(f"an image must be [height, width, channels], got {describe(image)}.")
    height, width, channels = image.shape
    return coordinates(height, width), image.reshape(-1, channels)


def fields(data: ClassImages, *, pixels: int | None = None, prepare: Prepare = unit_interval) -> Sampler:
    """A sampler whose tasks are images: learn one from some of its pixels, or from all.

    Matthew Tancik, Ben Mildenhall, Terrance Wang, Divi Schmidt, Pratul P. Srinivasan, Jonathan T. Barron, Ren Ng:
    Learned Initializations for Optimizing Coordinate-Based Neural Representations, arXiv:2012.02189. For networks such
    as `jax_meta.models.SIREN`. The images move to the device now, and are an argument of what is compiled with the
    sampler, not a constant in it.

    Args:
        data: images by class; classes are drawn evenly, then images of a class.
        pixels: how many pixels, drawn anew for each task, are its support set; all others are its query set. By default
            all pixels are both sets: the task is to store the image, and the two share their examples.
        prepare: from uint8 images to colours. Default: `unit_interval`, float32 from 0 to 1.

    Returns:
        The sampler, `(key, num_tasks) -> Task`, a `jax.tree_util.Partial`. Support and query are
        `(coordinates [num_tasks, pixels, 2], colours [num_tasks, pixels, channels])`.

    Raises:
        TypeError: if `data` is no `ClassImages`.
        ValueError: if `pixels` is not an integer from 1 to one fewer than an image has.

    Example:
        >>> import jax, numpy as np
        >>> from jax_meta.datasets import ClassImages
        >>> from jax_meta.tasks import fields
        >>> data = ClassImages(np.zeros((10, 4, 8, 8, 3), np.uint8), np.full(10, 4), tuple("abcdefghij"))
        >>> tasks = fields(data, pixels=16)(jax.random.key(0), 5)
        >>> assert tasks.support[0].shape == (5, 16, 2) and tasks.query[1].shape == (5, 48, 3)
    """
    check_class_images(data)
    check_pixels(pixels, data.images.shape[2] * data.images.shape[3])

    def sample(data: ClassImages, key: jax.Array, num_tasks: int) -> Task:
        check_count(num_tasks, "num_tasks", least=1)
        class_key, image_key, pixel_key = jax.random.split(key, 3)
        classes = jax.random.randint(class_key, (num_tasks,), 0, len(data.images))
        images = jax.random.randint(image_key, (num_tasks,), 0, jnp.asarray(data.counts)[classes])
        batch = jax.vmap(pixels_of)(prepare(data.images[classes, images]))
        return Task(batch, batch) if pixels is None else split(pixel_key, batch, pixels)

    return jax.tree_util.Partial(sample, jax.device_put(data))


def split(key: jax.Array, batch: Batch, pixels: int) -> Task:
    """So many random pixels of each image to learn from, and the others."""
    num_tasks, available = batch[0].shape[:2]
    order = jnp.argsort(jax.random.uniform(key, (num_tasks, available)), axis=1)

    def taken(places: jax.Array) -> Batch:
        return tuple(jnp.take_along_axis(leaf, places[..., None], axis=1) for leaf in batch)

    return Task(taken(order[:, :pixels]), taken(order[:, pixels:]))


def check_pixels(pixels: int | None, available: int) -> None:
    """Raises ValueError if a support set of so many pixels leaves no query set."""
    if pixels is None:
        return
    check_count(pixels, "pixels", least=1)
    if pixels >= available:
        raise ValueError(
            f"pixels={pixels} of {available} leave none for the query set: choose fewer, or pixels=None, which gives "
            "all of them to both sets."
        )
