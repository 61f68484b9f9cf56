"""Episodes: every class and image is reached uniformly, support and query never share an image, labels are shuffled."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

import jax_meta
from jax_meta.datasets import ClassImages, Splits
from jax_meta.tasks import episodes, flip, in_turn, inverted, sample_episodes, shift, standardised, unit_interval
from jax_meta.tasks.episodes import turn
from tests.compiling import compiling

CLASSES, EXAMPLES = 6, 7
SIGNIFICANT = 1e-4
OUTER = optax.sgd(0.1)
OPTIONS = {"ways": 3, "shots": 2, "queries": 1}


def identity(images):
    return images


def numbered(counts=None, *, size=2):
    """Images whose pixels are their class (channel 0) and their place in it (channel 1)."""
    images = np.zeros((CLASSES, EXAMPLES, size, size, 2), np.uint8)
    images[..., 0] = np.arange(CLASSES)[:, None, None, None]
    images[..., 1] = np.arange(EXAMPLES)[:, None, None]
    counts = np.full(CLASSES, EXAMPLES) if counts is None else np.array(counts)
    return ClassImages(images, counts.astype(np.int32), tuple("abcdef"))


def drawn(seed, num_tasks=2_000, data=None, **options):
    """The classes and places of support and query, int `[num_tasks, ways, examples]`."""
    options = OPTIONS | {"prepare": identity} | options
    task = sample_episodes(jax.random.key(seed), data or numbered(), num_tasks, **options)
    pixels = [np.asarray(images)[:, :, 0, 0].reshape(num_tasks, options["ways"], -1, 2) for images, _ in task]
    return np.concatenate(pixels, 2)[..., 0].astype(int), np.concatenate(pixels, 2)[..., 1].astype(int), task


def test_shapes_labels_and_dtypes():
    task = sample_episodes(jax.random.key(0), numbered(), 4, **OPTIONS)
    assert task.support[0].shape == (4, 6, 2, 2, 2)
    assert task.query[0].shape == (4, 3, 2, 2, 2)
    assert task.support[0].dtype == jnp.float32
    assert task.support[1].dtype == jnp.int32
    assert_array_equal(task.support[1], np.tile([0, 0, 1, 1, 2, 2], (4, 1)))
    assert_array_equal(task.query[1], np.tile([0, 1, 2], (4, 1)))


def test_a_label_is_one_class_and_a_class_one_label():
    classes, _, _ = drawn(0)
    assert (classes == classes[:, :, :1]).all()
    assert all(len(set(row)) == 3 for row in classes[:, :, 0])


def test_support_and_query_share_no_image():
    _, places, _ = drawn(1)
    assert all(len(set(way)) == 3 for way in places.reshape(-1, 3))


def test_classes_are_reached_uniformly_under_every_label():
    classes, _, _ = drawn(2)
    for label in range(3):
        assert chisquare(np.bincount(classes[:, label, 0], minlength=CLASSES)).pvalue > SIGNIFICANT


def test_pairs_of_classes_are_reached_uniformly():
    classes, _, _ = drawn(3, 6_000)
    pairs = np.bincount(classes[:, 0, 0] * CLASSES + classes[:, 1, 0], minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    assert (pairs.diagonal() == 0).all()
    assert chisquare(pairs[~np.eye(CLASSES, dtype=bool)]).pvalue > SIGNIFICANT


@pytest.mark.parametrize("position", range(3))
def test_images_are_reached_uniformly_in_every_position(position):
    _, places, _ = drawn(4)
    assert chisquare(np.bincount(places[:, :, position].ravel(), minlength=EXAMPLES)).pvalue > SIGNIFICANT


def test_unequal_counts_reach_every_image_and_no_padding():
    counts = [3, 4, 5, 6, 7, 3]
    classes, places, _ = drawn(5, data=numbered(counts))
    for index, count in enumerate(counts):
        reached = np.bincount(places[classes == index], minlength=EXAMPLES)
        assert (reached[count:] == 0).all()
        assert chisquare(reached[:count]).pvalue > SIGNIFICANT


def test_tasks_and_keys_differ_and_the_same_key_repeats():
    classes, _, task = drawn(6)
    assert len({tuple(row) for row in classes[:, :, 0]}) == 6 * 5 * 4
    again, other = drawn(6)[2], drawn(7)[2]
    assert_array_equal(task.support[0], again.support[0])
    assert (task.support[0] != other.support[0]).any()


def test_jit_gives_the_same_and_the_sampler_is_the_function():
    """To the last bit, but for the division by 255, which a compiler may make a product."""
    options = OPTIONS | {"rotations": "random"}
    for prepare, assert_same in ((identity, assert_array_equal), (unit_interval, partial(assert_allclose, rtol=1e-6))):
        eager = sample_episodes(jax.random.key(0), numbered(), 5, **options, prepare=prepare)
        sampler = episodes(numbered(), **options, prepare=prepare)
        compiled = jax.jit(lambda sampler, key: sampler(key, 5))(sampler, jax.random.key(0))
        jax.tree.map(assert_same, eager, compiled)
    assert any(leaf.dtype == jnp.uint8 for leaf in jax.tree.leaves(sampler))


def turns_of(images):
    """How many quarter turns each of the images has made, told by the corner that the mark is in."""
    corners = np.stack([images[..., 0, 0, 0], images[..., 1, 0, 0], images[..., 1, 1, 0], images[..., 0, 1, 0]], -1)
    assert (corners.sum(-1) == 1).all()
    return corners.argmax(-1)


def marked():
    """Images with a mark in the first corner."""
    data = numbered()
    images = np.zeros_like(data.images)
    images[..., 0, 0, 0] = 1
    images[..., 1] = data.images[..., :1, :1, 0]
    return ClassImages(images, data.counts, data.names)


def test_random_rotations_turn_a_class_of_a_task_as_one():
    task = sample_episodes(jax.random.key(0), marked(), 2_000, **OPTIONS, rotations="random", prepare=identity)
    support, query = (turns_of(np.asarray(images)).reshape(2_000, 3, -1) for images, _ in task)
    assert (support == query).all()
    assert chisquare(np.bincount(query.ravel(), minlength=4)).pvalue > SIGNIFICANT
    assert not (query[:, 0] == query[:, 1]).all()


def test_class_rotations_make_four_classes_of_each():
    options = {"ways": 4 * CLASSES, "shots": 1, "queries": 1, "rotations": "classes", "prepare": identity}
    task = sample_episodes(jax.random.key(0), marked(), 50, **options)
    turns, classes = turns_of(np.asarray(task.query[0])), np.asarray(task.query[0])[..., 0, 0, 1]
    assert all(len(set(zip(*pair, strict=True))) == 4 * CLASSES for pair in zip(turns, classes, strict=True))
    assert_array_equal(turns, turns_of(np.asarray(task.support[0])))


def test_turn_is_numpy_rot90():
    images = jax.random.normal(jax.random.key(0), (2, 3, 3, 1))
    for turns in range(4):
        assert_array_equal(turn(images, jnp.array(turns)), np.rot90(images, turns, (1, 2)))


def test_preparations():
    image = np.array([[[0], [255]], [[51], [204]]], np.uint8)
    np.testing.assert_allclose(unit_interval(image)[..., 0], [[0, 1], [0.2, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(inverted(image)[..., 0], [[1, 0], [0.8, 0.2]], rtol=1e-6, atol=1e-7)
    colour = np.full((2, 2, 3), 51, np.uint8)
    result = standardised((0.2, 0.1, 0.0), (1.0, 0.5, 0.1))(colour)
    np.testing.assert_allclose(result[0, 0], [0, 0.2, 2], atol=1e-6)


def test_augmentations():
    image = jnp.arange(1.0, 10).reshape(3, 3, 1)
    keys = jax.random.split(jax.random.key(0), 400)
    flipped = np.asarray(jax.vmap(flip, (0, None))(keys, image))
    mirrored = (flipped == np.asarray(image)[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == np.asarray(image)).all((1, 2, 3))).all()
    assert 150 < mirrored.sum() < 250
    moved = np.asarray(jax.vmap(lambda key: shift(key, image, pixels=1))(keys))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = [padded[row : row + 3, column : column + 3] for row in range(3) for column in range(3)]
    found = [[(window == crop).all() for window in windows].index(True) for crop in moved]
    assert chisquare(np.bincount(found, minlength=9)).pvalue > SIGNIFICANT
    both = in_turn(lambda key, image: image + 1, lambda key, image: image * 2)
    assert_array_equal(both(keys[0], image), (image + 1) * 2)


def test_augmentation_differs_from_image_to_image():
    def noise(key, image):
        return image + jax.random.normal(key, image.shape)

    task = sample_episodes(jax.random.key(0), numbered(), 2, **OPTIONS, augment=noise)
    images = np.concatenate([np.asarray(leaf).reshape(-1, 8) for leaf, _ in task])
    assert len(np.unique((images - images.round()).round(4), axis=0)) == len(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 7}, r"7 ways need as many classes, and there are 6"),
        ({"ways": 0}, r"ways must be an integer of 1 or more, got 0"),
        ({"ways": 2.0}, r"ways must be an integer of 1 or more, got 2\.0"),
        ({"shots": True}, r"shots must be an integer of 1 or more, got True"),
        ({"queries": -1}, r"queries must be an integer of 1 or more, got -1"),
        ({"ways": 25, "rotations": "classes"}, r"25 ways need as many classes, and there are 24"),
        ({"queries": 6}, r"need 8 images of a class, and 'a' has 7"),
        ({"rotations": "some"}, r"rotations must be"),
    ],
)
def test_impossible_tasks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sample_episodes(jax.random.key(0), numbered(), 1, **(OPTIONS | options))
    with pytest.raises(ValueError, match=message):
        episodes(numbered(), **(OPTIONS | options))


def test_the_class_with_too_few_images_is_named():
    with pytest.raises(ValueError, match=r"'d' has 2: choose fewer, or leave out such classes"):
        episodes(numbered([7, 7, 7, 2, 7, 7]), **OPTIONS)


@pytest.mark.parametrize("num_tasks", [0, -1, 2.0])
def test_a_number_of_tasks_that_is_none(num_tasks):
    with pytest.raises(ValueError, match=f"num_tasks must be an integer of 1 or more, got {num_tasks}"):
        sample_episodes(jax.random.key(0), numbered(), num_tasks, **OPTIONS)


@pytest.mark.parametrize("data", [numbered().images, Splits(*[numbered()] * 3), None])
def test_tasks_are_drawn_from_class_images(data):
    with pytest.raises(TypeError, match=r"drawn from jax_meta\.datasets\.ClassImages.*splits\.train"):
        episodes(data, **OPTIONS)


def test_options_of_another_name_fail_at_once():
    with pytest.raises(TypeError, match="way"):
        episodes(numbered(), way=3, shots=1, queries=1)
    with pytest.raises(TypeError, match="queries"):
        episodes(numbered(), ways=3, shots=1)


def test_an_augmentation_that_crops_is_refused():
    with pytest.raises(
        ValueError, match=r"augment makes float32\[2, 3, 3, 1, 2, 2\] of images float32\[2, 3, 3, 2, 2, 2\]"
    ):
        sample_episodes(jax.random.key(0), numbered(), 2, **OPTIONS, augment=lambda key, image: image[:1])


def test_preparations_for_another_number_of_channels():
    """A mean of three channels would make three of one."""
    with pytest.raises(ValueError, match=r"3 means and deviations for images uint8\[4, 4, 1\]: give one for each"):
        standardised((0.5,) * 3, (0.5,) * 3)(np.zeros((4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match=r"above 0 are needed for each channel"):
        standardised((0.5,) * 3, (0.5, 0.0, 0.5))
    with pytest.raises(ValueError, match=r"are needed for each channel"):
        standardised((0.5,) * 3, (0.5,))


@pytest.mark.parametrize("pixels", [-1, 0.5])
def test_a_shift_that_is_no_number_of_pixels(pixels):
    with pytest.raises(ValueError, match="pixels must be an integer of 0 or more"):
        shift(jax.random.key(0), jnp.zeros((2, 2, 1)), pixels=pixels)


def test_oblong_images_cannot_be_turned():
    data = ClassImages(np.zeros((6, 3, 2, 4, 1), np.uint8), np.full(6, 3, np.int32), tuple("abcdef"))
    with pytest.raises(ValueError, match=r"images of 2 x 4 pixels cannot be turned"):
        sample_episodes(jax.random.key(0), data, 1, **OPTIONS, rotations="random")


def test_fit_takes_the_sampler_and_does_not_compile_again(caplog):
    """Two runs with the same sampler compile once, and the images are not constants of the program."""
    model = jax_meta.models.MLP((4,), 3)
    learner = jax_meta.maml(jax_meta.classification(model.apply), OUTER, num_steps=1)
    sampler = episodes(numbered(), **OPTIONS)
    state = jax_meta.init(learner, OUTER, model.init(jax.random.key(0), jnp.zeros((1, 8))), jax.random.key(1))
    first, _ = jax_meta.fit(learner, OUTER, sampler, state, num_meta_steps=2, num_tasks=2)
    with compiling(caplog) as messages:
        second, _ = jax_meta.fit(learner, OUTER, sampler, first, num_meta_steps=2, num_tasks=2)
    assert not [message for message in messages if "steps_on_samples" in message]
    whole, _ = jax_meta.fit(learner, OUTER, sampler, state, num_meta_steps=4, num_tasks=2)
    jax.tree.map(np.testing.assert_allclose, second.params, whole.params)
