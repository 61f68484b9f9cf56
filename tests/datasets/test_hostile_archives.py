"""Archives, images and caches made to fill the memory or the disk, to wait forever, or to run a program.

What is large is a claim: the files themselves are small, and are made at once.
"""

import gzip
import os
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from jax_meta.datasets import archives, cifar100, mini_imagenet, omniglot
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from tests.datasets.hostile import MEBI, attempt, npy_header, png
from tests.datasets.mini_imagenet_files import SIZE, write_npz

NAMES = [f"images_background/Latin/character01/0001_{example:02d}.png" for example in range(20)]
VAL = "mini-imagenet-val.npz"
X = np.ones((4, SIZE, SIZE, 3), np.uint8)


def write_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)


def claim_sizes(path, size):
    """Overwrites what the directory of a zip says that its first member unpacks to."""
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)


def member(name, size=0, kind=tarfile.REGTYPE):
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT)


TARS = {
    "negative size": (member("a") + member("b", -512), r"its member b has -512 bytes"),
    "endless member": (member("cifar-100-python/train", 1 << 50), r"has 1125899906842624 bytes, of at most"),
    "endless other member": (member("other", 1 << 50), r"has 1125899906842624 bytes, of at most"),
    "extension that is all there is": (gzip.compress(member("a", 64 * MEBI, b"x") + bytes(64 * MEBI)), r"it lacks"),
    "extension of quadratic time": (member("a", MEBI, b"x") + b"1" * MEBI, r"it lacks"),
    "extensions of extensions": ((member("a", 512, b"x") + b"9 a=b\n".ljust(512, b"\0")) * 3000, r"it lacks"),
    "long names of long names": ((member("a", 512, b"L") + b"name".ljust(512, b"\0")) * 3000, r"it lacks"),
    "sparse": (member("cifar-100-python/train", 512, b"S") + bytes(512), r"it lacks"),
    "device": (member("cifar-100-python/train", 0, tarfile.CHRTYPE), r"it lacks"),
    "link outside": (member("cifar-100-python/train/../../../etc/passwd", 3) + b"abc".ljust(512), r"it lacks"),
    "too many": (member("a") * (archives.MOST_MEMBERS + 1), r"more than 10000 members"),
    "cut in a member": (member("cifar-100-python/train", 512) + bytes(100), r"ends in its member"),
    "long after its end": (gzip.compress(bytes(5 * MEBI)), r"unpacks to more than 4194304 bytes"),
}


@pytest.mark.parametrize("name", TARS)
def test_hostile_tars_are_refused(name, tmp_path, monkeypatch):
    content, message = TARS[name]
    path = tmp_path / "cifar-100-python.tar.gz"
    path.write_bytes(content)
    if name == "long after its end":
        monkeypatch.setattr(cifar100, "LARGEST", 4 * MEBI)
    found = attempt(lambda: cifar100.load_cifar100(tmp_path), tmp_path)
    assert "is damaged, or is not CIFAR-100's" in found
    with pytest.raises(ValueError, match=message):
        cifar100.load_cifar100(tmp_path)
    assert os.listdir(tmp_path) == [path.name]


def first_is(content):
    return [(NAMES[0], content), *((name, png()) for name in NAMES[1:])]


ZIPS = {
    "bomb": (lambda path: write_zip(path, first_is(bytes(128 * MEBI))), r"unpacks to 134217728 bytes, of at most"),
    "bomb that says it is small": (
        lambda path: (write_zip(path, first_is(png() + bytes(300 * MEBI))), claim_sizes(path, 1000)),
        r"Bad CRC-32|Truncated|damaged",
    ),
    "other compression": (
        lambda path: write_zip(path, first_is(png()), zipfile.ZIP_LZMA),
        r"other method than deflate",
    ),
    "absurd image": (lambda path: write_zip(path, first_is(png(9000, 9000))), r"9000 x 9000 pixels, not 105 x 105"),
    "other format": (lambda path: write_zip(path, first_is(b"%!PS-Adobe-3.0 EPSF-3.0\n")), r"cannot identify"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_hostile_zips_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "ARCHIVES", {"images_background": omniglot.Archive(1, "")})
    write, message = ZIPS[name]
    path = tmp_path / "images_background.zip"
    write(path)
    found = attempt(lambda: omniglot.decode_archives([path], size=5, resample="lanczos"), tmp_path)
    assert "is damaged, or is not Omniglot's" in found
    with pytest.raises(ValueError, match=message):
        omniglot.decode_archives([path], size=5, resample="lanczos")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_drawing_is_not_counted_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "ARCHIVES", {"images_background": omniglot.Archive(1, "")})
    path = tmp_path / "images_background.zip"
    write_zip(path, [(name, png()) for name in (*NAMES[1:], NAMES[1])])
    with pytest.raises(ValueError, match=rf"{path} .*character01 has two drawings of one name"):
        omniglot.decode_archives([path], size=5, resample="lanczos")


def write_bomb(path):
    """Zeros of 1,000 times the size of the file, as images of a part that would be right otherwise."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy_header((64 * MEBI // 108, SIZE, SIZE, 3)) + bytes(64 * MEBI // 108 * 108))
        archive.writestr("labels.npy", npy_header((1,)) + b"a")


def test_npz_files_may_unpack_to_a_multiple_of_their_size_only(tmp_path, monkeypatch):
    write_npz(tmp_path)
    write_bomb(tmp_path / VAL)
    found = attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)
    assert "labels uint8 [1] for images [621378, 6, 6, 3]" in found  # and no sooner, for it is of less than a gibibyte
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", MEBI)
    found = attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)
    assert "images.npy unpacks to 67108952 bytes, of at most" in found


NPZ = {
    "claim past all memory": (
        [("images.npy", npy_header((10**12, 6, 6, 3)))],
        r"0 bytes for an array uint8 \[10000",
    ),
    "claim of gigabytes": ([("images.npy", npy_header((1 << 26, 6, 6, 3)))], r"0 bytes for an array"),
    "negative claim": ([("images.npy", npy_header((-1, 6, 6, 3)))], r"0 bytes for an array"),
    "wrapped claim": ([("images.npy", npy_header((1 << 32, 1 << 32)))], r"0 bytes for an array"),
    "element of gigabytes": ([("images.npy", npy_header((1,), f"|S{1 << 30}"))], r"0 bytes for an array"),
    "labels without a byte": (
        [("images.npy", npy_header((10**9, 1, 1, 0))), ("labels.npy", npy_header((10**9,), "|S0"))],
        r"images\.npy .* \[1000000000, 1, 1, 0\], which take no room",
    ),
    "labels of no size": (
        [("images.npy", npy_header((1, 1, 1, 3)) + b"abc"), ("labels.npy", npy_header((10**9,), "<U0"))],
        r"labels\.npy .* <U0 \[1000000000\], which take no room",
    ),
    "other version": ([("images.npy", b"\x93NUMPY\x03\x00")], r"version \(3, 0\)"),
    "nested header": ([("images.npy", b"\x93NUMPY\x01\x00\xac\x26" + b"(" * 9900)], r"no npz file"),
    "no array": ([("images", b"text"), ("labels", b"text")], r"images is not a file in the archive"),
    "pickle": ([("images.npy", b"cos\nsystem\n(S'true'\ntR.")], r"no npz file"),
}


@pytest.mark.parametrize("name", NPZ)
def test_hostile_npz_files_are_refused(name, tmp_path):
    members, message = NPZ[name]
    write_npz(tmp_path)
    write_zip(tmp_path / VAL, members)
    found = attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)
    assert f"{tmp_path / VAL} is damaged, or is not mini-ImageNet's" in found
    with pytest.raises(ValueError, match=message):
        load_mini_imagenet(tmp_path, size=SIZE)


def test_labels_of_a_npz_file_that_are_no_text_are_told(tmp_path):
    write_npz(tmp_path)
    np.savez(tmp_path / VAL, images=X, labels=np.array([b"\xff"] * 4))
    assert "'utf-8' codec" in attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)


def test_as_many_labels_as_images_take_no_quadratic_time(tmp_path):
    labels = np.array([f"{label:030d}" for label in range(60_000)])
    np.savez(tmp_path / VAL, images=np.zeros((60_000, 1, 1, 3), np.uint8), labels=labels)
    _, places = attempt(lambda: mini_imagenet.read_npz(tmp_path / VAL), tmp_path)
    assert [where.tolist() for where in places.values()] == [[place] for place in range(60_000)]


def test_one_long_class_among_many_short_ones_does_not_fill_the_disk(tmp_path, monkeypatch):
    write_npz(tmp_path)
    labels = np.maximum(np.arange(2000) - 1000, 0)
    np.savez(tmp_path / VAL, images=np.zeros((2000, SIZE, SIZE, 3), np.uint8), labels=labels)
    monkeypatch.setattr(mini_imagenet, "ALWAYS_ALLOWED", 0)
    found = attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)
    assert "one class of 1001 images: with the rows of all 1000 classes" in found
