"""mini-ImageNet's files when they are missing, damaged or of another content: each is told by name, with the remedy."""

import os
import pickle

import numpy as np
import pytest

from jax_meta.datasets import mini_imagenet
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from tests.datasets.mini_imagenet_files import COUNTS, FORMS, SIZE, write_csv, write_npz, write_pickles

X = np.ones((4, SIZE, SIZE, 3), np.uint8)
Y = np.array(["a", "a", "b", "b"])


def test_no_form_at_all_names_them_and_their_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*csv.*cache.*npz.*no official download.*Ravi.*ImageNet"):
        load_mini_imagenet(tmp_path / "none")


@pytest.mark.parametrize("form", ["pickle", "npz"])
def test_stored_images_are_not_resized(tmp_path, form):
    FORMS[form](tmp_path)
    load_mini_imagenet(tmp_path, size=SIZE)
    with pytest.raises(ValueError, match=rf"{tmp_path}/mini-.*train.* images of 6 x 6 pixels, not 84 x 84: give their"):
        load_mini_imagenet(tmp_path)


@pytest.mark.parametrize("size", [0, -1, 2.0, (84, 84), None])
def test_size_is_checked_first(tmp_path, size):
    with pytest.raises(ValueError, match=r"size must be an int of 1 or more"):
        load_mini_imagenet(tmp_path, size=size)


@pytest.mark.parametrize("form", FORMS)
def test_shared_labels_are_refused(tmp_path, form, monkeypatch):
    monkeypatch.setitem(COUNTS, "test", {"n06": 1, "n02": 1})
    FORMS[form](tmp_path)
    if form == "csv":
        monkeypatch.setattr(mini_imagenet, "decode", lambda *args, **options: pytest.fail("long work"))
    with pytest.raises(ValueError, match=rf"train and test in {tmp_path} share 1 labels, such as 'n02'.*one part only"):
        load_mini_imagenet(tmp_path, size=SIZE)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": X}, r"labels is not a file"),
        ({"images": X, "labels": Y[:3]}, r"labels <U1 \[3\] for images \[4, 6, 6, 3\]"),
        ({"images": X, "labels": np.ones(4)}, r"labels float64 \[4\]"),
        ({"images": X.astype(np.float32), "labels": Y}, r"images float32 \[4, 6, 6, 3\], not uint8"),
        ({"images": X[..., :1], "labels": Y}, r"images uint8 \[4, 6, 6, 1\], not uint8 \[N, size, size, 3\]"),
        ({"images": X[:0], "labels": Y[:0]}, r"no labels"),
        ({"images": X, "labels": Y.astype(object)}, r"allow_pickle=False"),
    ],
)
def test_bad_npz_files_are_told(tmp_path, arrays, message):
    write_npz(tmp_path)
    np.savez(tmp_path / "mini-imagenet-val.npz", **arrays)
    with pytest.raises(ValueError, match=rf"{tmp_path}/mini-imagenet-val.npz is damaged, or is not .*{message}"):
        load_mini_imagenet(tmp_path, size=SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], r"no dict of image_data and class_dict"),
        ({"image_data": X}, r"no dict .*'class_dict'"),
        ({"class_dict": {"a": [0]}}, r"no dict .*'image_data'"),
        ({"image_data": X, "class_dict": [0]}, r"no dict of"),
        ({"image_data": X, "class_dict": {"a": [0], b"a": [1]}}, r"two labels of the same name"),
        ({"image_data": X, "class_dict": {"a": [0, 4]}}, r"not all different, from 0 to 3"),
        ({"image_data": X, "class_dict": {"a": [0, -1]}}, r"not all different, from 0 to 3"),
        ({"image_data": X, "class_dict": {"a": [0], "b": [0]}}, r"not all different"),
        ({"image_data": X, "class_dict": {"a": [0], "b": []}}, r"no labels, or one whose images"),
        ({"image_data": X, "class_dict": {"a": [0.5]}}, r"not a list of whole numbers"),
        ({"image_data": X, "class_dict": {}}, r"no labels"),
        ({"image_data": X[0], "class_dict": {"a": [0]}}, r"images uint8 \[6, 6, 3\], not uint8"),
    ],
)
def test_bad_pickles_are_told(tmp_path, content, message):
    write_pickles(tmp_path)
    path = tmp_path / "mini-imagenet-cache-test.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=rf"{path} is damaged, or is not .*{message}"):
        load_mini_imagenet(tmp_path, size=SIZE)


def test_pickles_run_no_code(tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "victim"),)

    write_pickles(tmp_path)
    path = tmp_path / "mini-imagenet-cache-train.pkl"
    path.write_bytes(pickle.dumps({"image_data": Malice()}))
    with pytest.raises(ValueError, match=rf"refuses to load global .*mkdir from {path}"):
        load_mini_imagenet(tmp_path, size=SIZE)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("form", ["pickle", "npz"])
def test_truncated_files_are_told(tmp_path, form):
    FORMS[form](tmp_path)
    (path,) = tmp_path.glob("mini-*train*")
    content = path.read_bytes()
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{path} is damaged"):
            load_mini_imagenet(tmp_path, size=SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no images in it"),
        (b"filename,label\n", r"no images in it"),
        (b"file,label\na.jpg,n01\n", r"columns filename and label"),
        (b"filename,label\na.jpg\n", r"a row without a filename or label"),
        (b"filename,label\na.jpg,\n", r"a row without a filename or label"),
        (b"filename,label\na.jpg,n01\na.jpg,n02\n", r"an image is listed twice"),
        (b"filename,label\n\xff.jpg,n01\n", r"columns filename and label: 'utf-8' codec"),
        (b'filename,label\n"a.jpg,n01', r"columns filename and label: unexpected end"),
    ],
)
def test_bad_csv_files_are_told(tmp_path, content, message):
    write_csv(tmp_path)
    (tmp_path / "val.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path}/val.csv is damaged, or is not .*{message}"):
        load_mini_imagenet(tmp_path, size=SIZE)


def test_missing_images_are_counted_and_named(tmp_path):
    write_csv(tmp_path)
    for path in sorted((tmp_path / "images").glob("n0[13]*"))[1:3]:
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of the 9 images in .*train.csv .*/images, such as n0100000004\.jpg"
    ):
        load_mini_imagenet(tmp_path, size=SIZE)


def test_damaged_image_is_named(tmp_path):
    write_csv(tmp_path)
    path = tmp_path / "images" / "n0600000000.jpg"
    path.write_bytes(b"not an image")
    with pytest.raises(ValueError, match=rf"cannot decode the image {path}"):
        load_mini_imagenet(tmp_path, size=SIZE)
