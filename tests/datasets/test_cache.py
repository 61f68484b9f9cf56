"""A cache is read only when it is whole and of these sources and options; else it is built anew."""

import json
import os
import shutil

import numpy as np
import pytest

from jax_meta.datasets import cache
from jax_meta.datasets.cache import MAGIC, cached, images_offset
from jax_meta.datasets.images import ClassImages

OPTIONS = {"size": [2, 3]}


class Builder:
    def __init__(self):
        images = np.random.default_rng(0).integers(0, 256, (3, 4, 2, 3, 1), np.uint8)
        self.data = ClassImages(images, np.array([4, 2, 3], np.int32), ("a", "b/ö", "c"))
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.data


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "data" / "source.zip"
    path.parent.mkdir()
    path.write_bytes(b"first")
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "jax_meta"


def check_equal(data, expected):
    np.testing.assert_array_equal(data.images, expected.images)
    np.testing.assert_array_equal(data.counts, expected.counts)
    assert data.names == expected.names
    assert data.images.dtype == np.uint8
    assert data.counts.dtype == np.int32


def cache_files(folder):
    return list(folder.glob("test-*.images"))


def inverted(data):
    return ClassImages(255 - data.images, data.counts, data.names)


def test_second_call_maps_the_file_instead_of_building(source):
    build = Builder()
    for _ in range(2):
        data = cached("test", [source], build, options=OPTIONS)
        check_equal(data, build.data)
        assert isinstance(data.images, np.memmap)
        assert not data.images.flags.writeable
    assert build.calls == 1
    assert set(source.parent.iterdir()) == {source, *cache_files(source.parent)[:1]}


def test_cache_folder_is_made_and_the_only_place(source, tmp_path):
    build = Builder()
    for _ in range(2):
        check_equal(cached("test", [source], build, options=OPTIONS, cache_folder=tmp_path / "new" / "one"), build.data)
    assert build.calls == 1
    assert len(cache_files(tmp_path / "new" / "one")) == 1
    assert not cache_files(source.parent)


def test_options_have_caches_of_their_own(source):
    builds = Builder(), Builder()
    for size in (0, 1, 0, 1):
        cached("test", [source], builds[size], options={"size": size})
    assert [build.calls for build in builds] == [1, 1]


def with_header(header):
    text = json.dumps(header).encode()
    return (MAGIC + len(text).to_bytes(8, "little") + text).ljust(images_offset(len(text)) + 72, b"\0")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[:-1], id="last byte missing"),
        pytest.param(lambda whole: whole + b"\0", id="a byte too many"),
        pytest.param(lambda whole: whole[:100], id="header cut"),
        pytest.param(lambda whole: whole.replace(b"images 1", b"images 0"), id="another version"),
        pytest.param(lambda whole: b"\xff" * len(whole), id="garbage"),
        pytest.param(lambda whole: MAGIC + b"\xff" * len(whole), id="garbage after the magic"),
        pytest.param(lambda whole: with_header(["shape"]), id="header is a list"),
    ],
)
def test_damaged_cache_is_built_anew(source, damage):
    build = Builder()
    cached("test", [source], build, options=OPTIONS)
    (path,) = cache_files(source.parent)
    whole = path.read_bytes()
    assert damage(whole) != whole
    path.write_bytes(damage(whole))
    check_equal(cached("test", [source], build, options=OPTIONS), build.data)
    assert build.calls == 2
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("content", "later"), [(b"second", 0), (b"first", 1000)], ids=["size", "time"])
def test_changed_source_makes_the_cache_stale(source, content, later):
    build = Builder()
    cached("test", [source], build, options=OPTIONS)
    times = 0, source.stat().st_mtime_ns + later
    source.write_bytes(content)
    os.utime(source, ns=times)
    build.data = inverted(build.data)
    for _ in range(2):
        check_equal(cached("test", [source], build, options=OPTIONS), build.data)
    assert build.calls == 2
    assert len(cache_files(source.parent)) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interrupted_write_leaves_nothing_behind(source, monkeypatch, error, step):
    def interrupt(*args):
        assert any(path.suffix == ".partial" for path in source.parent.iterdir())
        raise error

    def write_twice_stopping_at_the_first():
        with monkeypatch.context() as patch:
            patch.setattr(cache.os, step, interrupt)
            with pytest.raises(error):
                cached("test", [source], build, options=OPTIONS)
        before = {path.name: path.read_bytes() for path in source.parent.iterdir()}
        check_equal(cached("test", [source], build, options=OPTIONS), build.data)
        return before

    build = Builder()
    assert write_twice_stopping_at_the_first() == {"source.zip": b"first"}
    first = {path.name: path.read_bytes() for path in source.parent.iterdir()}
    source.write_bytes(b"second")
    assert write_twice_stopping_at_the_first() == {**first, "source.zip": b"second"}


def make_read_only(*folders):
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o555)


@pytest.mark.parametrize("reason", ["read-only", "full"])
def test_folder_that_cannot_be_written_falls_back_to_the_cache_home(source, home, monkeypatch, reason):
    def fail_at_first(handle):
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(home.parent))
        raise OSError(28, "No space left on device")

    if reason == "read-only":
        make_read_only(source.parent)
    else:
        monkeypatch.setattr(cache.os, "fsync", fail_at_first)
    build = Builder()
    for _ in range(2):
        check_equal(cached("test", [source], build, options=OPTIONS), build.data)
    assert build.calls == 1
    assert len(cache_files(home)) == 1
    assert os.listdir(source.parent) == ["source.zip"]


def test_others_may_read_the_cache_as_they_may_any_new_file(source, tmp_path):
    cached("test", [source], Builder(), options=OPTIONS)
    (path,) = cache_files(source.parent)
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_without_any_writable_folder_images_are_in_memory_with_a_warning(source, home):
    make_read_only(source.parent, home)
    build = Builder()
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"no cache of test: cannot write to {source.parent} or {home}"):
            data = cached("test", [source], build, options=OPTIONS)
        check_equal(data, build.data)
    assert build.calls == 2


def test_cache_homes_keep_sources_of_one_name_apart(source, home, tmp_path):
    other = tmp_path / "other" / source.name
    other.parent.mkdir()
    shutil.copy2(source, other)
    make_read_only(source.parent, other.parent)
    builds = Builder(), Builder()
    builds[1].data = inverted(builds[1].data)
    for path, build in zip((source, other), builds, strict=True):
        check_equal(cached("test", [path], build, options=OPTIONS), build.data)
    assert [build.calls for build in builds] == [1, 1]
