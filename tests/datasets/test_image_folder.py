"""A folder of images: what is read, in which order, and what is refused."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from jax_meta.datasets.image_folder import load_image_folder

RANDOM = np.random.default_rng(0)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def noise(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


@pytest.fixture
def pixels():
    return {("b", "2.png"): noise(5, 4, 3), ("b", "1.bmp"): noise(5, 4, 3), ("a", "0.PNG"): noise(5, 4, 3)}


@pytest.fixture
def folder(tmp_path, pixels):
    for (name, file), image in pixels.items():
        save(tmp_path / "images" / name / file, image)
    return tmp_path / "images"


def test_classes_and_images_are_in_the_order_of_their_names(folder, pixels):
    data = load_image_folder(folder)
    assert data.names == ("a", "b")
    assert data.images.shape == (2, 2, 5, 4, 3)
    assert data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.counts, [1, 2])
    np.testing.assert_array_equal(data.images[0], [pixels["a", "0.PNG"], np.zeros((5, 4, 3))])
    np.testing.assert_array_equal(data.images[1], [pixels["b", "1.bmp"], pixels["b", "2.png"]])


def test_hidden_other_and_deeper_files_are_ignored(folder):
    expected = load_image_folder(folder)
    (folder / "a" / "notes.txt").write_text("not an image")
    (folder / "README.png").write_text("not in a class")
    (folder / "a" / ".hidden.png").write_text("not an image")
    (folder / ".hidden").mkdir()
    (folder / "a" / "folder.png").mkdir()
    save(folder / "a" / "deeper" / "1.png", noise(9, 9, 3))
    data = load_image_folder(folder)
    np.testing.assert_array_equal(data.images, expected.images)
    assert data.names == expected.names


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".JPG"])
def test_formats(tmp_path, suffix):
    save(tmp_path / "images" / "a" / f"1{suffix}", np.full((8, 8, 3), (200, 30, 60)))
    image = load_image_folder(tmp_path / "images").images[0, 0]
    np.testing.assert_allclose(image.astype(int), np.full((8, 8, 3), (200, 30, 60)), atol=12)


def test_second_call_reads_the_cache_beside_the_folder(folder, monkeypatch):
    expected = load_image_folder(folder)
    (path,) = folder.parent.glob("images-*.images")
    monkeypatch.setattr("jax_meta.datasets.image_folder.decode", lambda *args, **options: pytest.fail("decoded again"))
    monkeypatch.chdir(folder)
    for same in (folder, str(folder), "."):
        np.testing.assert_array_equal(load_image_folder(same).images, expected.images)
    assert set(folder.parent.iterdir()) == {folder, path}


def change_content(folder):
    path = folder / "b" / "1.bmp"
    status = path.stat()
    save(path, noise(5, 4, 3))
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change_content, id="same size, another time"),
        pytest.param(lambda folder: save(folder / "a" / "new.png", noise(5, 4, 3)), id="added"),
        pytest.param(lambda folder: (folder / "b" / "1.bmp").unlink(), id="removed"),
        pytest.param(lambda folder: (folder / "b" / "2.png").rename(folder / "b" / "0.png"), id="renamed"),
        pytest.param(lambda folder: (folder / "b" / "1.bmp").rename(folder / "a" / "1.bmp"), id="moved"),
        pytest.param(lambda folder: (folder / "a").rename(folder / "c"), id="class renamed"),
        pytest.param(lambda folder: save(folder / "c" / "1.png", noise(5, 4, 3)), id="class added"),
    ],
)
def test_changed_images_replace_the_cache(folder, tmp_path, change):
    before = load_image_folder(folder)
    images, names = np.array(before.images), before.names
    change(folder)
    data = load_image_folder(folder)
    shutil.copytree(folder, tmp_path / "fresh" / "images")
    expected = load_image_folder(tmp_path / "fresh" / "images")
    np.testing.assert_array_equal(data.images, expected.images)
    np.testing.assert_array_equal(data.counts, expected.counts)
    assert data.names == expected.names
    assert not np.array_equal(data.images, images) or data.names != names
    assert len(list(folder.parent.glob("images-*.images"))) == 1


def test_size_and_channels_have_caches_of_their_own(folder):
    shapes = [
        load_image_folder(folder, size=size, channels=channels).images.shape[2:]
        for size, channels in ((None, 3), (3, 3), ((3, 2), 3), (None, 1), (None, 3))
    ]
    assert shapes == [(5, 4, 3), (3, 3, 3), (3, 2, 3), (5, 4, 1), (5, 4, 3)]


def test_cache_folder(folder, tmp_path):
    load_image_folder(folder, cache_folder=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert list(tmp_path.glob("*.images")) == []


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: b"text" * 99, lambda whole: whole[: len(whole) // 2]]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp"])
def test_damaged_images_are_named(folder, damage, suffix):
    path = save(folder / "a" / f"broken{suffix}", noise(40, 40, 3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"cannot decode the image {path}.*Replace the file or remove it"):
        load_image_folder(folder, size=5)
    assert list(folder.parent.glob("*.images")) == []


def test_images_of_two_sizes_need_a_size(folder):
    odd = save(folder / "b" / "3.png", noise(6, 7, 3))
    with pytest.raises(ValueError, match=rf"{odd} is 6 x 7 pixels.*0\.PNG is 5 x 4: give size="):
        load_image_folder(folder)
    assert load_image_folder(folder, size=4).images.shape == (2, 3, 4, 4, 3)


def test_folders_without_classes_are_refused(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent.*one sub-folder a class"):
        load_image_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"0\.PNG is a file.*unpack"):
        load_image_folder(folder / "a" / "0.PNG")
    with pytest.raises(ValueError, match=r"images/a has no sub-folders.*sub-folder of its own"):
        load_image_folder(folder / "a")
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("not an image")
    with pytest.raises(ValueError, match=r"images/empty has no images.*\.png.*move it elsewhere"):
        load_image_folder(folder)


@pytest.mark.parametrize("size", [0, -1, 2.5, (3,), (3, 0), (3, 4, 5), "84"])
def test_bad_sizes_are_refused(folder, size):
    with pytest.raises(ValueError, match=r"size must be a positive int, \(height, width\) or None, got"):
        load_image_folder(folder, size=size)


@pytest.mark.parametrize("channels", [0, 2, 4, "RGB"])
def test_bad_channels_are_refused(folder, channels):
    with pytest.raises(ValueError, match=r"channels must be 1 \(grey\) or 3 \(RGB\), got"):
        load_image_folder(folder, channels=channels)
