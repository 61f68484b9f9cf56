"""All of CIFAR-100, packed as the official archive from the images in `$JAX_META_DATA`: both splits, pixel by pixel."""

import os
import runpy
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jax_meta.datasets.cifar100 import load_cifar100

pytestmark = pytest.mark.slow

MEANS = [0.5070751592371323, 0.486548873314951, 0.4409178433670343]
"""Of the 50,000 training images, as published."""


@pytest.fixture(scope="module")
def data_folder():
    if not os.environ.get("JAX_META_DATA"):
        pytest.skip("JAX_META_DATA is not set: the folder of the real images")
    return Path(os.environ["JAX_META_DATA"])


@pytest.fixture(scope="module")
def real(data_folder, tmp_path_factory):
    """The folder of the real archive, both splits, and the seconds that the second of them took to load."""
    script = data_folder.parent / "bin" / "cifar100-official"
    if not script.exists():
        pytest.skip(f"there is no {script}, which packs the archive")
    folder = tmp_path_factory.mktemp("cifar100")
    runpy.run_path(str(script))["main"](folder)
    splits = {"cifar_fs": load_cifar100(folder)}
    start = time.perf_counter()
    splits["fc100"] = load_cifar100(folder, split="fc100")
    yield folder, splits, time.perf_counter() - start
    for file in folder.iterdir():
        file.unlink()


def test_real_archive_has_one_cache_for_both_splits(real):
    folder, _, seconds = real
    assert sorted(file.suffix for file in folder.iterdir()) == [".gz", ".images"]
    assert seconds < 2


@pytest.mark.parametrize(("split", "sizes"), [("cifar_fs", [64, 16, 20]), ("fc100", [60, 20, 20])])
def test_real_splits_are_those_published(real, data_folder, split, sizes):
    splits = real[1][split]
    assert [len(part.names) for part in splits] == sizes
    assert len({name for part in splits for name in part.names}) == 100
    for part, name in zip(splits, splits._fields, strict=True):
        assert list(part.names) == (data_folder / "splits" / split / f"{name}.txt").read_text().split()
        assert part.images.shape == (len(part.names), 600, 32, 32, 3)
        assert part.images.dtype == np.uint8
        np.testing.assert_array_equal(part.counts, 600)


def test_real_superclasses_are_in_one_part_of_fc100(real, data_folder):
    lines = (data_folder / "splits" / "cifar100_superclass.txt").read_text().splitlines()
    superclass = dict(line.split() for line in lines)
    parts = [{superclass[name] for name in part.names} for part in real[1]["fc100"]]
    assert [len(part) for part in parts] == [12, 4, 4]
    assert len(set.union(*parts)) == 20


@pytest.mark.parametrize("split", ["cifar_fs", "fc100"])
def test_real_images_equal_the_sheets(real, data_folder, split):
    for part in real[1][split]:
        for row in (0, len(part.names) - 1):
            with Image.open(data_folder / "cifar100" / f"{part.names[row]}.webp") as image:
                sheet = np.asarray(image.convert("RGB"))
            tiles = sheet.reshape(30, 32, 20, 32, 3).transpose(0, 2, 1, 3, 4).reshape(600, 32, 32, 3)
            np.testing.assert_array_equal(part.images[row], tiles)


def test_real_training_images_have_the_published_means(real):
    sums = sum(part.images[:, :500].sum((0, 1, 2, 3), dtype=np.int64) for part in real[1]["cifar_fs"])
    np.testing.assert_allclose(sums / (50_000 * 32 * 32 * 255), MEANS, rtol=1e-14)
