"""Omniglot: small zips of the same layout for what can go wrong, and the real ones for the rest."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from jax_meta.datasets import omniglot
from jax_meta.datasets.images import ClassImages
from jax_meta.datasets.omniglot import Archive, decode_archives, load_omniglot, split_classes

CHARACTERS = {
    "images_background": ("Latin/character02", "Latin/character01"),
    "images_evaluation": ("Greek/character01", "N_Ko/character01", "Angelic/character09"),
}


def drawing(name, example, shape=(105, 105)):
    seed = sum(map(ord, name)) * 20 + example
    return np.random.default_rng(seed).random(shape) < 0.9


def png(bits):
    file = io.BytesIO()
    Image.fromarray(bits).save(file, "PNG")
    return file.getvalue()


def members(stem):
    return {
        f"{stem}/{name}/{number:04d}_{example + 1:02d}.png": png(drawing(name, example))
        for number, name in enumerate(CHARACTERS[stem], start=1)
        for example in reversed(range(20))
    }


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def archives(tmp_path, monkeypatch):
    counts = {stem: Archive(len(names), omniglot.ARCHIVES[stem].checksum) for stem, names in CHARACTERS.items()}
    monkeypatch.setattr(omniglot, "ARCHIVES", counts)
    return [write_zip(tmp_path / f"{stem}.zip", members(stem)) for stem in CHARACTERS]


@pytest.mark.parametrize(("size", "resample"), [(105, "lanczos"), (28, "lanczos"), (28, "nearest")])
def test_drawings_are_in_the_order_of_their_names(archives, size, resample):
    data = decode_archives(archives, size=size, resample=resample)
    assert data.names == tuple(sorted(CHARACTERS["images_background"] + CHARACTERS["images_evaluation"]))
    assert data.images.shape == (5, 20, size, size, 1)
    assert data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.counts, [20] * 5)
    for name, images in zip(data.names, data.images, strict=True):
        for example, image in enumerate(images):
            original = Image.fromarray(drawing(name, example))
            # What the authors' code does for "nearest": it asks for Lanczos, but of a 1-bit image.
            grey = original if resample == "nearest" else original.convert("L")
            expected = grey.resize((size, size), Image.Resampling.LANCZOS).convert("L")
            np.testing.assert_array_equal(image[..., 0], np.asarray(expected))


def test_other_entries_are_ignored(archives):
    expected = decode_archives(archives, size=5, resample="nearest")
    path, stem = archives[0], archives[0].stem
    others = ("", "Latin/", "Latin/.DS_Store", "Latin/character01/", "Latin/character01/Thumbs.db", "Latin/notes/1.png")
    files = {f"{prefix}{stem}/{name}": b"" for prefix in ("", "__MACOSX/") for name in others}
    files |= {f"__MACOSX/{name}".replace("00", "._00"): b"resource fork" for name in members(stem)}
    write_zip(path, files | members(stem))
    np.testing.assert_array_equal(decode_archives(archives, size=5, resample="nearest").images, expected.images)


def replace_one(content):
    return lambda files: files | {"images_background/Latin/character01/0002_07.png": content}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: {}, r"0 characters in images_background/<Alphabet>/character<NN>/, not 2"),
        (lambda files: members("images_evaluation"), r"0 characters"),
        (lambda files: {name: png for name, png in files.items() if "character01" in name}, r"1 characters"),
        (lambda files: dict(list(files.items())[1:]), r"Latin/character02 has 19 drawings, not 20"),
        (replace_one(b""), r"character01/0002_07\.png: cannot identify"),
        (replace_one(png(drawing("", 0))[:200]), r"character01/0002_07\.png: "),
        (replace_one(png(drawing("", 0, (28, 28)))), r"0002_07\.png: it is 28 x 28 pixels, not 105 x 105"),
    ],
)
def test_wrong_zips_are_refused(archives, change, message):
    path = write_zip(archives[0], change(members(archives[0].stem)))
    with pytest.raises(
        ValueError, match=rf"{path} is damaged, or is not Omniglot's .*{message}.*Delete it and download"
    ):
        decode_archives(archives, size=5, resample="lanczos")


def flip(whole, start):
    return whole[:start] + bytes(byte ^ 0xFF for byte in whole[start : start + 40]) + whole[start + 40 :]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[: len(whole) // 2], id="truncated"),
        pytest.param(lambda whole: whole[:-1], id="last byte missing"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: b"404: Not Found", id="not a zip"),
        pytest.param(lambda whole: flip(whole, 200), id="bytes of a drawing flipped"),
        pytest.param(lambda whole: flip(whole, len(whole) - 2000), id="bytes of the directory flipped"),
    ],
)
def test_damaged_zips_are_refused_and_not_cached(archives, damage):
    archives[1].write_bytes(damage(archives[1].read_bytes()))
    with pytest.raises(ValueError, match=rf"{archives[1]} is damaged.*Delete it.*download=True or from https.*\.zip\."):
        load_omniglot(archives[1].parent)
    assert sorted(os.listdir(archives[0].parent)) == [path.name for path in archives]


def test_absent_zips_are_named_or_downloaded(archives, monkeypatch):
    folder = archives[0].parent
    archives[1].unlink()
    with pytest.raises(FileNotFoundError, match=rf"no file {archives[1]}.*images_background\.zip.*download=True"):
        load_omniglot(folder)
    fetched = []

    def fetch(url, path, *, checksum):
        fetched.append((url, path, checksum))
        return write_zip(path, members(path.stem))

    monkeypatch.setattr(omniglot, "fetch", fetch)
    assert omniglot.find_archives(folder, download=True) == archives
    url = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_evaluation.zip"
    assert fetched == [(url, archives[1], "md5:6b91aef0f799c5bb55b94e3f2daec811")]


def test_size_and_resample_have_caches_of_their_own(archives, monkeypatch):
    monkeypatch.setattr(omniglot, "split_classes", lambda data, **options: data)
    decoded = []
    monkeypatch.setattr(omniglot, "decode_drawing", lambda *args, **options: decoded.append(options) or 0)
    for _ in range(2):
        for options in ({"size": 5}, {"size": 6}, {"size": 5, "resample": "nearest"}):
            assert load_omniglot(archives[0].parent, **options).images.shape[2:] == (options["size"],) * 2 + (1,)
    assert len(decoded) == 3 * 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "lake"}, r"split must be one of 'maml', 'vinyals', 'alphabets', got 'lake'"),
        ({"resample": "cubic"}, r"resample must be one of 'lanczos', 'nearest', got 'cubic'"),
        ({"size": 0}, r"size must be an int of 1 or more, got 0"),
        ({"seed": -1}, r"seed must be an int of 0 or more, got -1"),
    ],
)
def test_bad_options_are_refused_before_the_data_are_looked_for(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_omniglot(tmp_path / "absent", **options)


def alphabets(sizes):
    """Alphabets of so many characters, whose images say which they are."""
    names = [f"{alphabet:02d}/character{number:02d}" for alphabet, size in enumerate(sizes) for number in range(size)]
    images = np.array([[int(name[:2]), int(name[-2:])] for name in names], np.uint8).reshape(-1, 1, 1, 2, 1)
    return ClassImages(images, np.ones(len(names), np.int32), tuple(names))


def test_whole_alphabets_are_tasks(monkeypatch):
    data = alphabets([19] * 4 + [20] * 20 + [30] * 26)
    monkeypatch.setattr(omniglot, "ARCHIVES", {"all": Archive(len(data.names), "")})
    splits, other = (split_classes(data, split="alphabets", seed=seed) for seed in (0, 1))
    assert [len(part.names) for part in splits] == [25 * 20, 11 * 20, 10 * 20]
    marks = [part.images.reshape(-1, 20, 2) for part in splits]
    for part, found in zip(splits, marks, strict=True):
        assert (found[..., 0] == found[:, :1, 0]).all()  # 20 characters of one alphabet
        assert part.names == tuple(f"{a:02d}/character{c:02d}" for a, c in found.reshape(-1, 2))
        assert all(len(set(characters)) == 20 for characters in found[..., 1].tolist())
    assert sorted(np.concatenate([found[:, 0, 0] for found in marks])) == list(range(4, 50))
    assert any(max(characters) > 19 for characters in marks[0][..., 1].tolist())  # not always the first ones
    assert other.test.names != splits.test.names
    assert split_classes(data, split="alphabets", seed=0).test.names == splits.test.names


def test_a_part_of_the_characters_cannot_be_split():
    data = ClassImages(np.zeros((3, 20, 1, 1, 1), np.uint8), np.full(3, 20, np.int32), ("a/1", "a/2", "a/3"))
    with pytest.raises(ValueError, match=r"'maml' is of all 1623 characters, got 3"):
        split_classes(data, split="maml")
