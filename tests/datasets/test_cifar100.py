"""CIFAR-100: the records of the archive become classes, and bad archives are told."""

import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from jax_meta.datasets import cifar100
from jax_meta.datasets.cifar100 import group_records, load_cifar100, read_members

NAMES = ("apple", "bear", "cup")
EXAMPLES = {"train": 4, "test": 2}
SIDE = 2


def make_images():
    return np.random.default_rng(0).integers(0, 256, (3, 6, SIDE, SIDE, 3), np.uint8)


def make_batches(images, *, seed=0):
    """Batches as in the official archive, of `images` `[classes, 6, side, side, 3]`, their records in random order."""
    generator = np.random.default_rng(seed)
    batches = {}
    for name, part in (("train", images[:, :4]), ("test", images[:, 4:])):
        records = part.transpose(0, 1, 4, 2, 3).reshape(part.shape[0] * part.shape[1], -1)
        order = generator.permutation(len(records))
        labels, places = np.divmod(order, part.shape[1])
        files = [f"{NAMES[label]}_s_{place:06d}.png".encode() for label, place in zip(labels, places, strict=True)]
        batches[name] = {b"data": records[order], b"fine_labels": labels.tolist(), b"filenames": files}
    return batches


def write_archive(path, contents, *, mode="w:gz", prefix="cifar-100-python/", protocol=2):
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            payload = pickle.dumps(content, protocol)
            member = tarfile.TarInfo(prefix + name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))


def make_contents():
    return {**make_batches(make_images()), "meta": {b"fine_label_names": [name.encode() for name in NAMES]}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cifar-100-python.tar.gz"


@pytest.mark.parametrize("seed", range(3))
def test_order_of_records_has_no_effect(seed):
    images = make_images()
    data = group_records(make_batches(images, seed=seed), NAMES, examples=EXAMPLES, side=SIDE)
    np.testing.assert_array_equal(data.images, images)
    assert data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.counts, [6, 6, 6])
    assert data.names == NAMES


def test_channels_and_rows_are_where_cifar_has_them():
    record = np.arange(12, dtype=np.uint8)
    batch = {b"data": record[None], b"fine_labels": [0], b"filenames": [b"a"]}
    data = group_records({"only": batch}, ["a"], examples={"only": 1}, side=SIDE)
    np.testing.assert_array_equal(data.images[0, 0], [[[0, 4, 8], [1, 5, 9]], [[2, 6, 10], [3, 7, 11]]])


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        (b"data", lambda data: data[:-1], r"images of 'train' are uint8 \[11, 12\], not uint8 \[12, 12\]"),
        (b"data", lambda data: data[:, :-1], r"images of 'train' are uint8 \[12, 11\]"),
        (b"data", lambda data: data.astype(np.int16), r"images of 'train' are int16"),
        (b"fine_labels", lambda labels: labels[:-1], r"'train' has 11 labels and 12 file names for 12 images"),
        (b"filenames", lambda files: files[:-1], r"'train' has 12 labels and 11 file names for 12 images"),
        (
            b"fine_labels",
            lambda labels: [0 if label == 1 else label for label in labels],
            r"8 images of 'apple', not 4",
        ),
        (b"fine_labels", lambda labels: [label + 1 for label in labels], r"labels of 'train' .* from 0 to 2"),
        (b"fine_labels", lambda labels: [label - 1 for label in labels], r"labels of 'train' .* from 0 to 2"),
        (b"fine_labels", lambda labels: [float(label) for label in labels], r"labels of 'train' are not all whole"),
    ],
)
def test_wrong_records_are_told(key, change, message):
    batches = make_batches(make_images())
    batches["train"][key] = change(batches["train"][key])
    with pytest.raises(ValueError, match=message):
        group_records(batches, NAMES, examples=EXAMPLES, side=SIDE)


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:xz"])
@pytest.mark.parametrize("prefix", ["cifar-100-python/", "./cifar-100-python/"])
def test_archives_packed_anew_are_read(path, monkeypatch, mode, prefix):
    contents = make_contents()
    write_archive(path, dict(reversed(contents.items())), mode=mode, prefix=prefix)
    for constant, value in (("CLASSES", 3), ("SIDE", SIDE), ("EXAMPLES", EXAMPLES)):
        monkeypatch.setattr(cifar100, constant, value)
    data = cifar100.read_archive(path)
    np.testing.assert_array_equal(data.images, make_images())
    assert data.names == NAMES


def test_nothing_is_written_outside_nor_read_from_links(path):
    contents = make_contents()
    with tarfile.open(path, "w:gz") as archive:
        for name in contents:
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(ValueError, match=rf"{path} is damaged"):
        load_cifar100(path.parent)
    assert list(path.parent.iterdir()) == [path]


def test_missing_archive_names_the_remedy(path):
    with pytest.raises(FileNotFoundError, match=rf"no file {path}.*download=True"):
        load_cifar100(path.parent)


def test_unknown_split_is_told_first(path):
    with pytest.raises(ValueError, match=r"split must be one of 'cifar_fs', 'fc100', got 'fc10'"):
        load_cifar100(path.parent, split="fc10")


def test_archive_of_other_images_is_told(path):
    write_archive(path, make_contents())
    with pytest.raises(ValueError, match=rf"{path} is damaged, or is not .*3 names of classes, not 100.*download=True"):
        load_cifar100(path.parent)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_missing_member_is_named(path, name):
    contents = make_contents()
    del contents[name]
    write_archive(path, contents)
    with pytest.raises(ValueError, match=rf"it lacks cifar-100-python/{name}\).*download=True"):
        load_cifar100(path.parent)


def test_missing_key_is_named(path, monkeypatch):
    contents = make_contents()
    del contents["train"][b"fine_labels"]
    write_archive(path, contents)
    monkeypatch.setattr(cifar100, "CLASSES", 3)
    with pytest.raises(ValueError, match=rf"{path} .*it lacks b'fine_labels'"):
        load_cifar100(path.parent)


def test_truncated_archive_is_told_wherever_it_ends(path):
    write_archive(path, make_contents())
    content = path.read_bytes()
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{path} .*is damaged"):
            load_cifar100(path.parent)


def test_truncated_archive_without_compression_is_told(path):
    write_archive(path, make_contents(), mode="w")
    content = path.read_bytes()
    for length in range(0, 2500, 100):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{path} .*is damaged"):
            load_cifar100(path.parent)


def test_changed_pixel_fails_the_archives_own_checksum(path):
    write_archive(path, make_contents(), mode="w", protocol=4)
    packed = gzip.compress(path.read_bytes(), 0)
    pixels = make_batches(make_images())["train"][b"data"].tobytes()
    place = packed.index(pixels[:20])
    path.write_bytes(packed)
    np.testing.assert_array_equal(read_members(path)["train"][b"data"].tobytes(), pixels)
    path.write_bytes(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])
    with pytest.raises(ValueError, match=rf"{path} is damaged.*CRC"):
        read_members(path)


def test_malicious_archive_is_refused(path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "victim"),)

    write_archive(path, {"train": Malice()})
    with pytest.raises(
        ValueError, match=rf"refuses to load global .*mkdir from {path} \(its member cifar-100-python/tr"
    ):
        load_cifar100(path.parent)
    assert list(path.parent.iterdir()) == [path]
