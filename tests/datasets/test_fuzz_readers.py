"""Every reader of data sets, given damaged files: it reads something whole, or raises an error of ours that names them.

The damage is drawn from seeds: to see one again, run `check(reader, folder, seed)` with those of the message.
"""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jax_meta.datasets import cifar100, image_folder, omniglot
from jax_meta.datasets.cache import cached
from jax_meta.datasets.image_folder import load_image_folder
from jax_meta.datasets.images import ClassImages
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from jax_meta.datasets.pickles import load_arrays
from tests.datasets import test_cifar100
from tests.datasets.hostile import attempt, damage, is_valid
from tests.datasets.mini_imagenet_files import SIZE, write_csv, write_npz, write_pickles

SEEDS = [20, pytest.param(150, marks=pytest.mark.slow)]
"""How many damages of each file: few in the fast tier."""
STEMS = ("images_background", "images_evaluation")


def rewrap(path, change):
    """Changes the content of one member of a zip, and packs it anew with a right checksum."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    first = sorted(members)[0]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name == first else content)


def write_omniglot(folder):
    for stem in STEMS:
        with zipfile.ZipFile(folder / f"{stem}.zip", "w") as archive:
            for example in range(20):
                file = io.BytesIO()
                Image.fromarray(np.random.default_rng(example).random((105, 105)) < 0.9).save(file, "PNG")
                archive.writestr(f"{stem}/{stem}/character01/0001_{example:02d}.png", file.getvalue())


def read_omniglot(folder):
    return omniglot.decode_archives([folder / f"{stem}.zip" for stem in STEMS], size=5, resample="nearest")


def cifar(mode, protocol=2):
    def write(folder):
        test_cifar100.write_archive(folder / "c.tar", test_cifar100.make_contents(), mode=mode, protocol=protocol)

    return write, "c.tar", lambda folder: cifar100.read_archive(folder / "c.tar")


def mini_imagenet(write, target):
    return write, target, lambda folder: load_mini_imagenet(folder, size=SIZE, cache_folder=folder / "c")


def write_compressed(folder):
    write_npz(folder)
    path = folder / "mini-imagenet-train.npz"
    with np.load(path) as arrays:
        np.savez_compressed(path, **arrays)


def image_format(suffix):
    def write(folder):
        pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
        for name in "ab":
            (folder / "images" / name).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / "images" / name / f"1.{suffix}")

    return write, f"images/a/1.{suffix}", lambda folder: load_image_folder(folder / "images", size=4)


def write_pickle(protocol):
    values = {b"a": np.arange(9).reshape(3, 3), "b": [1, 2.5, None, True, "c" * 300], "d": np.array(["e", "f"])}
    return lambda folder: (folder / "a.pkl").write_bytes(pickle.dumps(values, protocol))


def read_pickle(folder):
    with (folder / "a.pkl").open("rb") as file:
        load_arrays(file)


def read_cache(folder):
    built = ClassImages(np.ones((2, 3, 4, 5, 1), np.uint8), np.array([3, 1], np.int32), ("a", "b"))
    return cached("test", [Path(__file__)], lambda: built, options={"a": 1}, cache_folder=folder / "caches")


PICKLE, NPZ = "mini-imagenet-cache-train.pkl", "mini-imagenet-train.npz"
READERS = {
    "omniglot": (write_omniglot, "images_background.zip", read_omniglot),
    "cifar tar.gz": cifar("w:gz"),
    "cifar tar": cifar("w"),
    "cifar tar, protocol 5": cifar("w", protocol=5),
    "cifar tar.xz": cifar("w:xz"),
    "cifar tar.bz2": cifar("w:bz2"),
    "mini-imagenet csv": mini_imagenet(write_csv, "train.csv"),
    "mini-imagenet image": mini_imagenet(write_csv, "images/n0600000000.jpg"),
    "mini-imagenet pickle": mini_imagenet(write_pickles, PICKLE),
    "mini-imagenet pickle 0": mini_imagenet(lambda folder: write_pickles(folder, protocol=0), PICKLE),
    "mini-imagenet npz": mini_imagenet(write_npz, NPZ),
    "mini-imagenet npz, compressed": mini_imagenet(write_compressed, NPZ),
    **{f"image folder {suffix}": image_format(suffix) for suffix in ("png", "jpg", "gif", "webp", "bmp", "tiff")},
    **{f"pickle {protocol}": (write_pickle(protocol), "a.pkl", read_pickle) for protocol in range(6)},
    "cache": (read_cache, "caches/*.images", read_cache),
}


@pytest.fixture(autouse=True)
def small_data_sets(monkeypatch):
    for constant, value in (("CLASSES", 3), ("SIDE", test_cifar100.SIDE), ("EXAMPLES", test_cifar100.EXAMPLES)):
        monkeypatch.setattr(cifar100, constant, value)
    monkeypatch.setattr(omniglot, "ARCHIVES", {stem: omniglot.Archive(1, "") for stem in STEMS})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 20)  # of which an image may well be that is damaged
    for module in (omniglot, image_folder):  # which would be most of the time
        monkeypatch.setattr(module, "track", lambda items, **options: items)


def check(reader, folder, seed, *, inside=False):
    """Loads with the damage of one seed; returns whether that was refused."""
    _, target, load = READERS[reader]
    generator = np.random.default_rng(seed)
    (path,) = folder.glob(target)
    whole = path.read_bytes()
    try:
        if inside:
            rewrap(path, lambda content: damage(content, generator))
        else:
            path.write_bytes(damage(whole, generator))
        found = attempt(lambda: load(folder), folder)
    except BaseException as error:
        error.add_note(f"{reader!r} with seed {seed}")
        raise
    finally:
        path.write_bytes(whole)
        for cache in folder.glob("**/*.images"):
            if cache != path:
                cache.unlink()
    parts = [found] if isinstance(found, ClassImages) else found if isinstance(found, tuple) else []
    assert all(map(is_valid, parts)), f"{reader!r} with seed {seed}"
    return isinstance(found, str)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(reader, seeds, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write, _, load = READERS[reader]
    write(folder)
    load(folder)
    refused = sum(check(reader, folder, seed) for seed in range(seeds))
    assert refused == 0 if reader == "cache" else refused > seeds // 4
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("reader", ["omniglot", "mini-imagenet npz"])
def test_damage_that_the_checksum_of_a_zip_does_not_show(reader, seeds, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    READERS[reader][0](folder)
    assert sum(check(reader, folder, seed, inside=True) for seed in range(seeds)) > seeds // 4
