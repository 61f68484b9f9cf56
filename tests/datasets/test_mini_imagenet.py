"""mini-ImageNet in small: its three forms give the same classes, and are read once."""

import numpy as np
import pytest
from PIL import Image

from jax_meta.datasets import mini_imagenet
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from tests.datasets.mini_imagenet_files import COUNTS, FORMS, SIZE, make_part, write_csv, write_npz, write_pickles


def make_expected(part):
    labels, images = make_part(part)
    names = sorted(set(labels))
    return names, [images[[position for position, label in enumerate(labels) if label == name]] for name in names]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_classes(tmp_path, form):
    FORMS[form](tmp_path)
    for _ in ("decoded", "cached"):
        for part, data in load_mini_imagenet(tmp_path, size=SIZE)._asdict().items():
            names, classes = make_expected(part)
            assert list(data.names) == names
            assert data.images.dtype == np.uint8
            assert data.images.shape == (len(names), max(map(len, classes)), SIZE, SIZE, 3)
            np.testing.assert_array_equal(data.counts, [len(images) for images in classes])
            for row, images in zip(data.images, classes, strict=True):
                np.testing.assert_array_equal(row[: len(images)], images)
                assert not row[len(images) :].any()


@pytest.mark.parametrize("form", FORMS)
def test_second_load_reads_the_caches(tmp_path, form, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    FORMS[form](folder)
    expected = load_mini_imagenet(folder, size=SIZE, cache_folder=tmp_path / "caches")
    assert len(list((tmp_path / "caches").iterdir())) == 3
    for name in ("decode", "read_pickle", "read_npz"):
        monkeypatch.setattr(mini_imagenet, name, lambda *args, **options: pytest.fail("read again"))
    again = load_mini_imagenet(folder, size=SIZE, cache_folder=tmp_path / "caches")
    for part, same in zip(expected, again, strict=True):
        np.testing.assert_array_equal(part.images, same.images)


def test_forms_are_looked_for_in_order(tmp_path):
    def form():
        return {path.name for path in mini_imagenet.find_form(tmp_path).values()}

    write_npz(tmp_path, prefix="")
    assert "train.npz" in form()
    write_npz(tmp_path)
    assert "mini-imagenet-train.npz" in form()
    write_pickles(tmp_path)
    assert "mini-imagenet-cache-train.pkl" in form()
    write_csv(tmp_path)
    assert form() == {"train.csv", "val.csv", "test.csv"}
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert "mini-imagenet-cache-train.pkl" in form()
    (tmp_path / "mini-imagenet-cache-val.pkl").unlink()
    assert "mini-imagenet-train.npz" in form()


def test_images_of_the_csv_form_are_resized(tmp_path):
    write_csv(tmp_path)
    for path in (tmp_path / "images").iterdir():
        Image.new("RGB", (40, 30), (10, 20, 30)).save(path, format="jpeg", quality=95)
    splits = load_mini_imagenet(tmp_path)
    assert splits.train.images.shape == (3, 3, 84, 84, 3)
    np.testing.assert_allclose(splits.train.images.astype(int), np.full((3, 3, 84, 84, 3), (10, 20, 30)), atol=3)
    assert load_mini_imagenet(tmp_path, size=8).test.images.shape == (1, 1, 8, 8, 3)


def test_whole_numbers_are_labels_if_they_are_not_shared(tmp_path):
    images = np.arange(4, dtype=np.uint8).repeat(SIZE * SIZE * 3).reshape(4, SIZE, SIZE, 3)
    for first, part in enumerate(COUNTS):
        labels = np.array([10, 9, 10, 9]) + 100 * first
        np.savez(tmp_path / f"{part}.npz", images=images, labels=labels)
    data = load_mini_imagenet(tmp_path, size=SIZE).train
    assert data.names == ("10", "9")
    np.testing.assert_array_equal(data.images[..., 0, 0, 0], [[0, 2], [1, 3]])


@pytest.mark.parametrize(("labels", "copied"), [("aabb", False), ("abab", True), ("bbaa", True), ("aaab", True)])
def test_images_in_order_are_not_copied(labels, copied):
    images = np.arange(4, dtype=np.uint8).repeat(3).reshape(4, 1, 1, 3)
    places = {label: np.flatnonzero(np.array(list(labels)) == label) for label in "ba"}
    data = mini_imagenet.group_images(images, places)
    assert data.names == ("a", "b")
    for row, name in enumerate("ab"):
        np.testing.assert_array_equal(data.images[row, : data.counts[row], 0, 0, 0], places[name])
    assert np.shares_memory(data.images, images) != copied
