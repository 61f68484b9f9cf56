"""`ClassImages` of another form than what every function takes it for are refused where they are made."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from jax_meta.datasets import ClassImages, select, select_names
from jax_meta.tasks import inverted, standardised, unit_interval

SHAPE = (3, 5, 4, 4, 3)
IMAGES = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8)
COUNTS = np.array([5, 2, 4], np.int32)
NAMES = ("a", "b", "c")
DATA = ClassImages(IMAGES, COUNTS, NAMES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES / np.float32(255), r"uint8 from 0 to 255, got float32\[3, 5, 4, 4, 3\].*\(images \* 255\)\.round\(\)"),
        (IMAGES.astype(np.int64), r"got int64.*images\.astype\(np\.uint8\)"),
        (IMAGES.astype(bool), r"got bool.*images\.astype\(np\.uint8\) \* 255"),
        (
            IMAGES[..., 0],
            r"\[classes, examples, height, width, channels\], got uint8\[3, 5, 4, 4\].*images\[\.\.\., None\]",
        ),
        (IMAGES[0, 0], r"got uint8\[4, 4, 3\]"),
        (
            np.moveaxis(np.zeros((3, 5, 28, 28, 1), np.uint8), -1, 2),
            r"channels last.*\[3, 5, 1, 28, 28\].*np\.moveaxis",
        ),
        (np.zeros((3, 0, 4, 4, 3), np.uint8), r"no axis of size 0"),
        (IMAGES.tolist(), r"an array of images, got a list"),
    ],
    ids=["floats", "int64", "bool", "no channels", "one image", "channels first", "empty", "list"],
)
def test_images_of_another_form(images, message):
    with pytest.raises(ValueError, match=message):
        ClassImages(images, COUNTS, NAMES)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (COUNTS[:2], r"a count for each of the 3 classes, got int32\[2\]"),
        (COUNTS[:, None], r"got int32\[3, 1\]"),
        (COUNTS.astype(float), r"whole numbers.*got float64\[3\]"),
        (np.array([5, 6, 4], np.int32), r"from 1 to the 5 images that there are, and that of 'b' is 6"),
        (np.array([0, 2, 4], np.int32), r"that of 'a' is 0.*leave such a class out"),
        (5, r"an array of counts, got a int"),
    ],
)
def test_counts_that_do_not_fit(counts, message):
    with pytest.raises(ValueError, match=message):
        ClassImages(IMAGES, counts, NAMES)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:2], r"a name for each of the 3 classes, got 2"),
        ("abc", r"a tuple of text"),
        ((0, 1, 2), r"a tuple of text.*tuple\(map\(str, names\)\)"),
    ],
)
def test_names_that_do_not_fit(names, message):
    with pytest.raises(ValueError, match=message):
        ClassImages(IMAGES, COUNTS, names)


def test_a_list_of_names_becomes_a_tuple():
    assert ClassImages(IMAGES, COUNTS, list(NAMES)).names == NAMES
    with pytest.raises(ValueError, match="float64"):
        dataclasses.replace(DATA, images=IMAGES / 255)


def test_it_is_a_pytree_whatever_its_leaves_are():
    doubled = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), DATA)
    assert doubled.images.shape == (2, *SHAPE)
    assert jax.tree.map(lambda leaf: None, DATA).counts is None
    first = jax.jit(lambda data: jax.tree.map(lambda leaf: leaf[0], data))(doubled)
    assert_array_equal(first.images, IMAGES)
    assert first.names == NAMES
    total = jax.vmap(lambda data: data.images.astype(int).sum() + data.counts.sum(), (ClassImages_axes(),))(doubled)
    assert_array_equal(total, [IMAGES.astype(int).sum() + COUNTS.sum()] * 2)
    assert [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(DATA)] == [".images", ".counts"]


def ClassImages_axes():  # noqa: N802
    return jax.tree.map(lambda leaf: 0, DATA)


def test_it_can_be_made_inside_jit():
    def mean(images, counts):
        return select(ClassImages(images, counts, NAMES), [0, 2]).images.astype(float).mean()

    np.testing.assert_allclose(jax.jit(mean)(IMAGES, COUNTS), IMAGES[[0, 2]].mean())
    with pytest.raises(ValueError, match="float"):
        jax.jit(mean)(IMAGES / 255, COUNTS)


@pytest.mark.parametrize("indices", [[3], [-4], [0.5], [True, False, True], [[0, 1]], []])
def test_classes_that_there_are_not(indices):
    with pytest.raises(ValueError, match=r"one or more of the classes 0 to 2"):
        select(DATA, indices)


def test_classes_by_number_and_name():
    assert select(DATA, [-1, 0]).names == ("c", "a")
    assert_array_equal(select(DATA, np.array([2, 0])).images, IMAGES[[2, 0]])
    assert_array_equal(select_names(DATA, ["b", "c"]).counts, [2, 4])


def test_a_name_of_two_classes_is_none():
    twins = ClassImages(IMAGES, COUNTS, ("a", "b", "a"))
    assert select_names(twins, ["b"]).counts == [2]
    with pytest.raises(ValueError, match=r"'a' is the name of 2 classes.*jax_meta\.datasets\.select"):
        select_names(twins, ["b", "a"])


@pytest.mark.parametrize("prepare", [unit_interval, inverted, standardised((0.5,) * 3, (0.5,) * 3)])
def test_images_that_are_prepared_already_are_not_divided_again(prepare):
    with pytest.raises(ValueError, match=r"uint8 from 0 to 255, got float"):
        prepare(IMAGES / 255)
