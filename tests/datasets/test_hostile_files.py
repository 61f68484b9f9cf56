"""Images and caches made to fill the memory, to wait forever, or to run a program."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from jax_meta.datasets.cache import MAGIC, cached, images_offset
from jax_meta.datasets.image_folder import read_image
from jax_meta.datasets.images import ClassImages
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from tests.datasets.hostile import attempt, is_valid, png
from tests.datasets.mini_imagenet_files import SIZE, write_csv


def test_pipes_are_not_waited_for(tmp_path):
    write_csv(tmp_path)
    path = tmp_path / "images" / "n0600000000.jpg"
    path.unlink()
    os.mkfifo(path)
    assert "1 of the 1 images in" in attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)


def test_parts_of_images_are_not_believed_about_their_length(tmp_path):
    path = tmp_path / "1.png"
    pixels = png().index(b"IDAT") - 4
    path.write_bytes(png()[:pixels] + b"\x7f" + png()[pixels + 1 :])
    image = attempt(lambda: read_image(path, size=None, channels=1), tmp_path)
    np.testing.assert_array_equal(image, np.zeros((105, 105, 1)))  # for all its pixels are there


def test_pillow_runs_no_other_program(tmp_path):
    path = tmp_path / "1.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert "cannot identify" in attempt(lambda: read_image(path, size=None, channels=3), tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "message"), [(10_000, "10000 x 10000 pixels, of PIL"), (60_000, "decompression bomb")]
)
def test_images_of_absurd_size_are_refused(tmp_path, side, message):
    path = tmp_path / "1.png"
    path.write_bytes(png(side, side))
    assert message in attempt(lambda: read_image(path, size=4, channels=3), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(b"[" * 100_000, id="nested"),
        {"shape": [6]},
        {"shape": [-2, -3, 1, 1, 1]},
        {"shape": [1 << 32, 1 << 32, 1, 1, 1]},
        {"shape": [2.0, 3, 1, 1, 1]},
        {"shape": "23111"},
        {"counts": [4, 1]},
        {"counts": [3, -1]},
        {"counts": [3]},
        {"counts": [3, True]},
        {"names": "ab"},
        {"names": ["a", ["b"]]},
        {"names": {"a": 1}},
        {"names": None},
    ],
)
def test_caches_that_were_tampered_with_are_built_anew(tmp_path, change):
    built = ClassImages(np.ones((2, 3, 1, 1, 1), np.uint8), np.array([3, 1], np.int32), ("a", "b"))
    load = lambda: cached("test", [Path(__file__)], lambda: built, options={}, cache_folder=tmp_path / "c")  # noqa: E731
    load()
    (path,) = (tmp_path / "c").iterdir()
    length = int.from_bytes(path.read_bytes()[len(MAGIC) :][:8], "little")
    header = json.loads(path.read_bytes()[len(MAGIC) + 8 :][:length])
    header = change if isinstance(change, bytes) else json.dumps(header | change).encode()
    claimed = MAGIC + len(header).to_bytes(8, "little") + header
    path.write_bytes(claimed.ljust(images_offset(len(header)) + 6, b"\0"))
    data = attempt(load, tmp_path)
    assert is_valid(data)
    np.testing.assert_array_equal(data.images, built.images)
    assert data.names == built.names


@pytest.mark.filterwarnings("ignore:no cache of test")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_what_lies_in_the_place_of_a_cache_is_not_read_nor_followed(tmp_path, make):
    built = ClassImages(np.ones((1, 1, 1, 1, 1), np.uint8), np.ones(1, np.int32), ("a",))
    load = lambda: cached("test", [Path(__file__)], lambda: built, options={}, cache_folder=tmp_path / "c")  # noqa: E731
    load()
    (path,) = (tmp_path / "c").iterdir()
    path.unlink()
    make(path)
    assert is_valid(attempt(load, tmp_path))
