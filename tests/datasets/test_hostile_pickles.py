"""Pickles made to crash the process, to take all memory or time, or to change the reader: each is refused at once.

`laughs(9)` is a list of a thousand million numbers, written in 300 bytes; `laughs(30)` has no end.
"""

import io
import struct

import numpy as np
import pytest

from jax_meta.datasets import pickled_arrays, pickles
from jax_meta.datasets.cifar100 import group_records
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from jax_meta.datasets.pickles import load_arrays
from tests.datasets.hostile import MAKE_DTYPE, RECONSTRUCT, attempt, dtype, guarded, laughs, number, raw, state, text
from tests.datasets.mini_imagenet_files import SIZE, write_pickles

GIBI = 1 << 30
THREE = number(3) + b"\x85"
ARRAY = RECONSTRUCT + state(raw(b"abc"), THREE)
NESTED = b"K\x01" + b"2\x86" * 64
BUFFER = b"cnumpy.core.numeric\n_frombuffer\n("
ENCODE = b"c_codecs\nencode\n"

HOSTILE = {
    "place in the memo, binary": (b"K\x00r" + struct.pack("<I", GIBI >> 3) + b"0].", None),
    "place in the memo, text": (b"K\x00p99999999999\n.", r"no place 99999999999"),
    "places of one hash": (b"K\x00p2305843009213693951\n.", r"no place"),
    "bytes": (b"\x8e" + struct.pack("<Q", 3 * GIBI) + b"abc.", r"ends early"),
    "bytes past all memory": (b"\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", r"ends early"),
    "bytearray": (b"\x96" + struct.pack("<Q", 3 * GIBI) + b"abc.", r"ends early"),
    "text": (b"\x8d" + struct.pack("<Q", 3 * GIBI) + b"abc.", r"ends early"),
    "number": (b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.", r"ends early"),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 3 * GIBI) + b"K\x01.", r"ends early"),
    "hash of nested tuples": (b"}" + NESTED + b"K\x01s.", r"a key of .*tuple"),
    "hash of nested tuples, many": (b"}(" + NESTED + b"K\x01u.", r"a key of .*tuple"),
    "hash of nested tuples, text": (b"(" + NESTED + b"K\x01d.", r"a key of .*tuple"),
    "hash of nested tuples, ordered": (
        b"ccollections\nOrderedDict\n(](" + NESTED + b"K\x01\x86etR.",
        r"a key of .*tuple",
    ),
    "keys of one hash": (b"}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x1fK\x01s.", r"small whole number"),
    "set": (b"\x80\x04\x8f(" + NESTED + b"\x90.", r"damaged"),
    "class": (b"\x80\x02cnumpy\ndtype\n)\x81.", r"damaged"),
    "dtype of nested lists": (b"(" + MAKE_DTYPE + laughs(30) + b"\x85R.", r"dtype <class 'list'> are not"),
    "dtype of many parts": (MAKE_DTYPE + text("u1," * 300_000) + b"\x85R.", r"dtype 'u1,u1"),
    "bytes of nested lists": (ENCODE + laughs(30) + text("latin1") + b"\x86R.", r"damaged"),
    "wrapped size": (
        RECONSTRUCT + state(raw(b""), b"\x8a\x05\0\0\0\0\1\x8a\x05\0\0\0\0\1\x86") + b".",
        r"0 bytes for an array",
    ),
    "product without end": (RECONSTRUCT + state(raw(b""), b"(" + number(7) * 100 + b"t") + b".", r"0 bytes for an arr"),
    "elements of no size": (RECONSTRUCT + state(raw(b""), number(10**9) + b"\x85", "S0") + b".", r"dtype 'S0' are not"),
    "negative side": (RECONSTRUCT + state(raw(b""), number(-1) + b"\x85") + b".", r"0 bytes for an array"),
    "view of an array": (b"(" + ARRAY + b"q\0" + BUFFER + b"h\0" + dtype() + THREE + text("C") + b"tRt.", r"not bytes"),
    "array filled twice": (ARRAY + state(raw(b""), number(0) + b"\x85") + b".", r"filled twice"),
    "element of an array": (ARRAY + b"K\0K\7s.", r"PickledArray'> is not a dict"),
    "element of a list": (b"](K\1eK\0K\7s.", r"list'> is not a dict"),
    "attributes of a function": (ENCODE + b"N}" + text("__defaults__") + b"Ns\x86b.", r"function'> takes no state"),
    "arguments of any length": (MAKE_DTYPE + raw(b"a" * 1000) + b"R.", r"a call with"),
    "copies of one text": (
        b"(" + text("x" * 100_000) + b"q\0" + (ENCODE + b"h\0\x85R") * 2000 + b"t.",
        r"much more of its bytes",
    ),
    "copies of one scalar": (
        b"("
        + raw(b"x" * 100_000)
        + b"q\0"
        + (b"cnumpy.core.multiarray\nscalar\n" + dtype("S100000") + b"h\0\x86R") * 2000,
        r"much more of its bytes",
    ),
    "copies of one dict": (
        b"]("
        + b"".join(number(i) + b"N\x86" for i in range(9999))
        + b"eq\0("
        + b"ccollections\nOrderedDict\nh\0\x85R" * 999,
        r"much more of its bytes",
    ),
    "long name": (b"c" + b"x" * 1_000_000 + b"\nsystem\n.", r"refuses to load global x{99}\.system from"),
    "number of many digits": (b"L" + b"9" * 100_000 + b"L\n.", r"damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_at_once(name, tmp_path):
    content, message = HOSTILE[name]
    path = tmp_path / "data.pkl"
    path.write_bytes(content)
    defaults = pickled_arrays.as_bytes.__defaults__

    def load():
        with path.open("rb") as file:
            return load_arrays(file)

    found = attempt(load, tmp_path)
    assert pickled_arrays.as_bytes.__defaults__ == defaults
    if message is None:
        assert found == []
        return
    with pytest.raises(ValueError, match=message):
        load()


def test_steps_are_limited(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_STEPS", 100)
    assert load_arrays(io.BytesIO(b"]" * 99 + b".")) == []
    with pytest.raises(ValueError, match=r"more than 100 steps"):
        load_arrays(io.BytesIO(b"]" * 100 + b"."))


@pytest.mark.parametrize("value", [b"cos\nsystem\n(tR.", b"(ios\nsystem\n.", b"(cos\nsystem\no.", b"\x82\1.", b"P1\n."])
def test_no_other_way_to_a_global(tmp_path, value):
    with guarded(tmp_path), pytest.raises(ValueError, match=r"refuses to load global os\.system|damaged"):
        load_arrays(io.BytesIO(value), name="data.pkl")


@pytest.mark.parametrize("key", ["image_data", "class_dict"])
@pytest.mark.parametrize("endless", [laughs(30), laughs(9), b"]q\0h\0a"], ids=["nested", "large", "of itself"])
def test_lists_without_end_are_no_arrays(tmp_path, key, endless):
    write_pickles(tmp_path)
    images = RECONSTRUCT + state(raw(bytes(2160)), b"(" + number(20) + number(6) * 2 + b"K\3t")
    values = {"image_data": images, "class_dict": b"}" + text("a") + endless + b"s"}
    if key == "image_data":
        values[key] = endless
    content = b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u."
    (tmp_path / "mini-imagenet-cache-val.pkl").write_bytes(content)
    found = attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)
    assert "a list of other than numbers and strings" in found


def test_many_labels_may_not_share_one_long_list(tmp_path):
    write_pickles(tmp_path)
    places = b"](" + b"K\1" * 3000 + b"eq\0"
    labels = text("0") + places + b"".join(text(str(label)) + b"h\0" for label in range(1, 20_000))
    images = np.zeros((3001, SIZE, SIZE, 3), np.uint8).tobytes()
    array = RECONSTRUCT + state(raw(images), b"(" + number(3001) + number(6) * 2 + b"K\3t")
    content = b"}(" + text("image_data") + array + text("class_dict") + b"}(" + labels + b"uu."
    (tmp_path / "mini-imagenet-cache-val.pkl").write_bytes(content)
    found = attempt(lambda: load_mini_imagenet(tmp_path, size=SIZE), tmp_path)
    assert "more places of images than images" in found


@pytest.mark.parametrize(
    "value", [[[1, 2], [3]], [{}], "text", {1: 2}, [None], ["x" * 10_000] * 40_000, [b"x" * (1 << 20), *[b""] * 999]]
)
def test_lists_that_are_no_arrays_are_refused_by_cifar(value):
    batch = {b"data": np.zeros((1, 3), np.uint8), b"fine_labels": [0], b"filenames": value}
    with pytest.raises((TypeError, ValueError), match=r"a list|not an array"):
        group_records({"only": batch}, ["a"], examples={"only": 1}, side=1)
