"""Images as tasks: every pixel is where it is, and is given or kept back, never both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jax_meta.datasets import ClassImages
from jax_meta.tasks import coordinates, fields, pixels_of

KEY = jax.random.key(0)


def images(classes=5, examples=3, height=4, width=6):
    """Every image has a number of its own in its first channel, and every pixel in its second."""
    pixels = np.zeros((classes, examples, height, width, 2), np.uint8)
    pixels[..., 0] = np.arange(classes * examples).reshape(classes, examples, 1, 1)
    pixels[..., 1] = np.arange(height * width).reshape(height, width)
    return ClassImages(pixels, np.full(classes, examples), tuple("abcdefghij"[:classes]))


def numbers(colours):
    return np.round(255 * np.asarray(colours)).astype(int)


def test_places_run_from_corner_to_corner_row_by_row():
    places = np.asarray(coordinates(3, 5)).reshape(3, 5, 2)
    assert_array_equal(places[0, 0], [-1, -1])
    assert_array_equal(places[-1, 0], [1, -1])
    assert_array_equal(places[0, -1], [-1, 1])
    assert_allclose(places[1, 2], 0, atol=1e-7)
    assert_allclose(np.diff(places[:, 0, 0]), 1)
    assert_allclose(np.diff(places[0, :, 1]), 0.5)


def test_all_pixels_are_both_sets_each_at_its_place():
    tasks = fields(images())(KEY, 7)
    assert tasks.support[0].shape == (7, 24, 2)
    assert tasks.support[1].shape == (7, 24, 2)
    jax.tree.map(assert_array_equal, tasks.support, tasks.query)
    for places, colours in zip(*tasks.support, strict=True):
        assert_array_equal(places, coordinates(4, 6))
        assert_array_equal(numbers(colours)[:, 1], np.arange(24))
        assert len(set(numbers(colours)[:, 0])) == 1


def test_pixels_are_given_or_kept_back_and_never_both():
    tasks = fields(images(), pixels=5)(KEY, 40)
    assert tasks.support[0].shape == (40, 5, 2)
    assert tasks.query[0].shape == (40, 19, 2)
    given, kept = numbers(tasks.support[1]), numbers(tasks.query[1])
    assert_array_equal(np.sort(np.concatenate([given, kept], axis=1)[..., 1]), np.tile(np.arange(24), (40, 1)))
    assert_array_equal(given[:, 0, 0], kept[:, 0, 0])
    assert_allclose(tasks.support[0], np.asarray(coordinates(4, 6))[given[..., 1]])  # a pixel takes its place along
    assert len({tuple(sorted(task)) for task in given[..., 1]}) > 30  # drawn anew for each task


def test_images_beyond_a_class_count_are_never_drawn_and_all_others_are():
    data = images()
    data = ClassImages(data.images, np.array([1, 3, 2, 3, 3]), data.names)
    drawn = set(numbers(fields(data)(KEY, 400).support[1])[:, 0, 0])
    assert drawn == {0, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14}


def test_an_image_is_its_places_and_colours():
    image = np.arange(24.0).reshape(2, 4, 3)
    places, colours = pixels_of(image)
    assert_array_equal(np.asarray(colours).reshape(image.shape), image)
    assert_array_equal(places, coordinates(2, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fields(images(), pixels=24), ValueError, "pixels=24 of 24 leave none for the query set.*pixels=None"),
        (lambda: fields(images(), pixels=0), ValueError, "pixels"),
        (lambda: fields(images().images), TypeError, "ClassImages"),
        (lambda: fields(images())(KEY, 0), ValueError, "num_tasks"),
        (lambda: pixels_of(jnp.zeros((4, 4))), ValueError, r"\[height, width, channels\]"),
        (lambda: coordinates(1, 4), ValueError, "height"),
    ],
)
def test_wrong_use_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
