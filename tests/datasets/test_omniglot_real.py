"""The real Omniglot, decoded once: all of it is there, looks like ink on paper, and is split as documented."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from jax_meta.datasets.omniglot import load_omniglot

pytestmark = pytest.mark.slow

BACKGROUND = {"Latin", "Greek", "Tifinagh", "Futurama", "N_Ko"}
EVALUATION = {"Gurmukhi", "Mongolian", "Tibetan", "ULOG"}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    if "JAX_META_DATA" not in os.environ:
        pytest.skip("set JAX_META_DATA to the folder that has omniglot/images_background.zip to test the real data")
    cache_folder = tmp_path_factory.mktemp("cache")
    folder = Path(os.environ["JAX_META_DATA"]) / "omniglot"
    return lambda **options: load_omniglot(folder, cache_folder=cache_folder, **options)


@pytest.fixture(scope="module")
def maml(load):
    return load(split="maml")


@pytest.fixture(scope="module")
def vinyals(maml, load):
    return load(split="vinyals")


def names(splits):
    return [set(part.names) for part in splits]


def alphabets(part):
    return {name.split("/")[0] for name in part.names}


def test_splits_are_disjoint_and_have_all_characters(maml, vinyals):
    assert [len(part.names) for part in maml] == [1100, 100, 423]
    assert [len(part.names) for part in vinyals] == [1028, 172, 423]
    for splits in (maml, vinyals):
        assert len(set.union(*names(splits))) == 1623
        assert all(list(part.names) == sorted(part.names) for part in splits)
    assert set.union(*names(maml)) == set.union(*names(vinyals))


def test_every_character_has_twenty_different_drawings(maml):
    for part in maml:
        assert part.images.shape == (len(part.names), 20, 28, 28, 1)
        assert part.images.dtype == np.uint8
        np.testing.assert_array_equal(part.counts, np.full(len(part.names), 20))
    drawings = [image.tobytes() for part in maml for images in part.images for image in images]
    # Two people drew one dot, Braille/character01, at the same place.
    assert len(set(drawings)) == len(drawings) - 1 == 1623 * 20 - 1


def test_drawings_are_dark_ink_on_white_paper(maml):
    ink = 1 - np.concatenate([part.images for part in maml]) / 255.0
    fractions = ink.mean(axis=(2, 3, 4))
    assert 0.07 < fractions.mean() < 0.1
    assert fractions.min() > 0.002
    assert fractions.max() < 0.3
    assert np.median(ink) == 0


def test_vinyals_parts_hold_the_alphabets_they_should(vinyals):
    assert alphabets(vinyals.train) | alphabets(vinyals.val) >= BACKGROUND
    assert alphabets(vinyals.test) >= EVALUATION
    assert not alphabets(vinyals.test) & BACKGROUND
    assert not alphabets(vinyals.val) & EVALUATION


def test_a_name_has_the_same_drawings_in_every_split(maml, vinyals):
    drawings = {name: images for part in maml for name, images in zip(part.names, part.images, strict=True)}
    for part in vinyals:
        for name, images in list(zip(part.names, part.images, strict=True))[::20]:
            np.testing.assert_array_equal(images, drawings[name])


def test_seed_chooses_the_maml_split(load, maml):
    assert names(load(split="maml", seed=0)) == names(maml)
    others = names(load(split="maml", seed=1))
    assert [len(part) for part in others] == [1100, 100, 423]
    # Two independent draws of 423 characters out of 1,623 share 110 of them, give or take 8.
    assert 70 < len(others[2] & set(maml.test.names)) < 150


def test_second_load_is_fast(load, maml):
    start = time.perf_counter()
    again = load(split="maml")
    assert time.perf_counter() - start < 2
    np.testing.assert_array_equal(again.val.images, maml.val.images)
