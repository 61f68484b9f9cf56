"""Groups of classes as tasks, a sampler of tasks at hand, and the augmentation that their paper uses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

import jax_meta
from jax_meta.datasets import ClassImages
from jax_meta.tasks import affine, among, grouped, unit_interval

KEY = jax.random.key(0)


def data(classes=6, examples=4, counts=None):
    """Each image is filled with the number of its class and of itself: class c, image i has 16 c + i."""
    numbers = 16 * np.arange(classes)[:, None] + np.arange(examples)
    images = np.broadcast_to(numbers[..., None, None, None], (classes, examples, 2, 2, 1)).astype(np.uint8)
    return ClassImages(images, np.full(classes, examples) if counts is None else np.array(counts), tuple("abcdef"))


def test_a_group_is_a_task_whose_first_images_are_its_queries():
    support, query = grouped(data(), ways=3, queries=1)
    assert_array_equal(query[0][:, :, 0, 0, 0], [[0, 16, 32], [48, 64, 80]])
    assert_array_equal(support[0][1, :, 0, 0, 0], [49, 50, 51, 65, 66, 67, 81, 82, 83])
    assert_array_equal(support[1], [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 2)
    assert support[0].dtype == np.uint8
    prepared = grouped(data(), ways=3, queries=1, prepare=unit_interval).query[0]
    np.testing.assert_allclose(prepared[0, 1, 0, 0, 0], 16 / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "counts"),
    [({"ways": 4, "queries": 1}, None), ({"ways": 3, "queries": 4}, None), ({"ways": 3, "queries": 1}, [4] * 5 + [3])],
)
def test_groups_that_are_no_tasks_are_refused(options, counts):
    with pytest.raises(ValueError, match="need a multiple of"):
        grouped(data(counts=counts), **options)


def first_classes(tasks):
    return (np.asarray(tasks.query[0])[:, 0, 0, 0, 0] // 16).tolist()


def test_tasks_of_a_meta_step_differ_as_long_as_there_are_enough():
    sampler = among(grouped(data(), ways=2, queries=1))  # three tasks, whose first classes are 0, 2, 4
    draws = [first_classes(sampler(key, 7)) for key in jax.random.split(KEY, 200)]
    assert all(sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 2, 4] for drawn in draws)
    counts = np.bincount([drawn[0] for drawn in draws], minlength=5)[::2]
    assert (np.abs(counts - 200 / 3) < 5 * np.sqrt(200 * 2 / 9)).all()


def test_the_sampler_trains():
    tasks = grouped(data(), ways=2, queries=1, prepare=unit_interval)
    loss_fn = jax_meta.classification(lambda params, inputs: inputs.reshape(len(inputs), -1) @ params)
    learner = jax_meta.reptile(loss_fn, optax.sgd(0.5), num_steps=2)
    state = jax_meta.init(learner, optax.sgd(0.5), jnp.zeros((4, 2)), KEY)
    state, history = jax_meta.fit(learner, optax.sgd(0.5), among(tasks), state, num_meta_steps=20, num_tasks=2)
    assert history["loss"][-1] < history["loss"][0]


def only(**options):
    """The augmentation without what is not asked for."""
    return {"degrees": 0.0, "shift": 0.0, "scales": (1.0, 1.0)} | options


def test_affine_moves_by_whole_pixels_both_ways_and_fills_with_zeros():
    image = jnp.arange(1.0, 101).reshape(10, 10, 1)
    keys = jax.random.split(KEY, 300)
    moved = np.asarray(jax.vmap(lambda key: affine(key, image, **only(shift=0.2)))(keys))
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    windows = [padded[row : row + 10, column : column + 10] for row in range(5) for column in range(5)]
    found = [[(window == one).all() for window in windows].index(True) for one in moved]
    assert set(found) == set(range(25))


def test_affine_turns_about_the_middle():
    image = jnp.arange(1.0, 26).reshape(5, 5, 1)
    turned = np.asarray(jax.vmap(lambda key: affine(key, image, **only(degrees=360.0)))(jax.random.split(KEY, 400)))
    assert (turned[:, 2, 2] == 13).all()
    quarter_turns = [np.rot90(image, turns) for turns in range(4)]
    assert all(any((quarter == one).all() for one in turned) for quarter in quarter_turns)
    inner = np.sort(turned[:, 1:4, 1:4].reshape(400, -1), axis=1)
    assert (np.diff(inner, axis=1) > 0).mean() > 0.8  # nearly no pixel is there twice, and none comes from far away


@pytest.mark.parametrize(("scale", "side"), [(2.0, 8), (0.5, 2)])
def test_affine_makes_larger_and_smaller(scale, side):
    image = jnp.zeros((12, 12, 1)).at[4:8, 4:8].set(1.0)
    found = np.asarray(affine(KEY, image, **only(scales=(scale, scale))))[..., 0]
    start = (12 - side) // 2
    expected = np.zeros((12, 12))
    expected[start : start + side, start : start + side] = 1
    assert_array_equal(found, expected)


def test_affine_scales_as_much_as_it_may():
    image = jnp.zeros((41, 41, 1)).at[10:31, 10:31].set(1.0)
    areas = jax.vmap(lambda key: affine(key, image, **only(scales=(0.8, 1.2))).sum())(jax.random.split(KEY, 300))
    sides = np.sqrt(areas) / 21
    assert 0.75 < sides.min() < 0.85
    assert 1.15 < sides.max() < 1.25


@pytest.mark.parametrize("options", [{"degrees": -1}, {"shift": -0.1}, {"scales": (1.2, 0.8)}, {"scales": (0, 1)}])
def test_affine_refuses_what_it_cannot_do(options):
    with pytest.raises(ValueError, match="scales two factors above 0"):
        affine(KEY, jnp.zeros((4, 4, 1)), **options)
