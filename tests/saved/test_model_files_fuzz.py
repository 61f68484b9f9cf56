"""Damaged and hostile model files: each is loaded or refused with an error that names it, in bounded time."""

import json
import random
import struct
import time

import jax
import numpy as np
import pytest

from jax_meta.saved.files import load_model
from tests.saved.model_file_cases import PARAMS, SUPPORT, saved

SECONDS = 5
F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def read(path, content):
    """Loads a file of that content; returns None if it was refused in a line that names the file."""
    path.write_bytes(content)
    start = time.perf_counter()
    loaded, message = None, f"{path} is loaded"
    try:
        loaded = load_model(path)
    except (ValueError, OSError) as error:
        message = str(error)
    assert time.perf_counter() - start < SECONDS
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < len(str(path)) + 500
    return loaded


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return content[8 : 8 + length]


def file_of(header, body=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + body


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("whole") / "model").read_bytes()


def test_every_truncation_is_refused(tmp_path, whole):
    header = len(header_of(whole)) + 8
    for length in {*range(0, header, 7), *range(header - 9, len(whole))}:
        assert read(tmp_path / "model", whole[:length]) is None, length
    assert read(tmp_path / "model", whole + b"\0") is None
    assert read(tmp_path / "model", whole) is not None


def test_flipped_bits_of_tensors_change_numbers_only(tmp_path, whole):
    draw = random.Random(0)
    start = len(header_of(whole)) + 8
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[draw.randrange(start, len(whole))] ^= 1 << draw.randrange(8)
        loaded = read(tmp_path / "model", damaged)
        assert jax.tree.structure(loaded.meta_params) == jax.tree.structure(PARAMS)
        leaves = zip(jax.tree.leaves(loaded.meta_params), jax.tree.leaves(PARAMS), strict=True)
        changed = [np.sum(~((new == old) | (np.isnan(new) & np.isnan(old)))) for new, old in leaves]
        assert sum(changed) <= 1  # none where the sign of a zero changed


def test_damaged_headers_load_or_are_refused(tmp_path, whole):
    draw = random.Random(1)
    end = len(header_of(whole)) + 8
    tokens = [
        b"{",
        b"}",
        b"[",
        b'"',
        b"-1",
        b"9" * 30,
        b"null",
        b"NaN",
        b"1e999",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\0",
    ]
    outcomes = set()
    for attempt in range(600):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 1, 1, 3, 10))):
            place = draw.randrange(end)
            if attempt % 2:
                damaged[place] ^= 1 << draw.randrange(8)
            else:  # of the same length, so that the header is still found
                token = draw.choice(tokens)
                damaged[place : place + len(token)] = token
        loaded = read(tmp_path / "model", damaged)
        outcomes.add(loaded is not None)
        if loaded is not None:
            assert loaded.apply(loaded.meta_params, SUPPORT[0]).shape == (6, 2)
    assert outcomes == {True, False}


def test_settings_of_any_kind_are_refused(tmp_path, whole):
    """Every setting in turn becomes each of these values, of which one at most is right."""
    header = json.loads(header_of(whole))
    body = whole[8 + len(header_of(whole)) :]
    settings = json.loads(header["__metadata__"]["jax_meta"])
    places = [(key,) for key in settings] + [
        (outer, key) for outer in ("model", "learner", "optimizer") for key in settings[outer]
    ]
    values = [
        None,
        True,
        -1,
        0,
        1e308,
        10**300,
        2**63,
        "",
        "relu",
        "__import__",
        [],
        [[]],
        [None] * 50,
        {},
        {"name": []},
    ]
    for place in places:
        for value in values:
            changed = json.loads(json.dumps(settings))
            (changed if len(place) == 1 else changed[place[0]])[place[-1]] = value
            header["__metadata__"]["jax_meta"] = json.dumps(changed)
            loaded = read(tmp_path / "model", file_of(header, body))
            allowed = ("jax_meta", "activation", "normalise", "num_steps", "learning_rate")
            assert loaded is None or place[-1] in allowed, (place, value)


@pytest.mark.parametrize(
    "content",
    [
        file_of(b"{}", length=2**64 - 1),
        file_of(b"{}", length=2**63),
        file_of(b"{}", length=10**8),
        file_of(b"{}", length=1),
        file_of(b""),
        file_of(b"{}"),
        file_of(b"["),
        file_of(b"[" * 10**6),
        file_of(b'{"a":' * 10**6),
        file_of(b'{"__metadata__":{"jax_meta":' + b"[" * 10**6),
        file_of({"__metadata__": {"jax_meta": "[" * 10**6}}),
        file_of({"__metadata__": {"jax_meta": '{"format":' * 6_000}}),
        file_of({"__metadata__": {"jax_meta": '{"format": ' + "9" * 5_000 + "}"}}),
        file_of({"__metadata__": {"jax_meta": {"format": 1}}}),
        file_of({"__metadata__": None}),
        file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"0000"),
        file_of(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"0000"),
        file_of(b'{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', b"0000"),
        file_of({"a": F32, "b": F32}, b"0000"),
        file_of({"a": F32, "\x1b[2J\n" * 10**5: F32}, b"0000"),
        file_of({"a": {**F32, "data_offsets": [4, 0]}}, b"0000"),
        file_of({"a": {**F32, "data_offsets": [0, 2**64 - 1]}}, b"0000"),
        file_of({"a": {**F32, "shape": [2**62, 4]}}, b"0000"),
        file_of({"a": {**F32, "dtype": "os.system"}}, b"0000"),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        b"PK\x03\x04" + bytes(100),
        b"",
    ],
)
def test_hostile_headers_are_refused(tmp_path, content):
    assert read(tmp_path / "model", content) is None


@pytest.mark.parametrize(
    "change",
    [
        {"a": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [0] * 100, "data_offsets": [0, 0]}},
        {"a": {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [0, 0]}},
        {"a": {"dtype": "BOOL", "shape": [0], "data_offsets": [0, 0]}},
        {".".join("a" * 10**5): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
        {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in ("a.b", "a.b.c")},
    ],
    ids=["wide", "overflow", "rank", "float8", "bool", "deep", "nested"],
)
def test_hostile_tensors_are_refused_where_only_names_say_what_they_should_be(tmp_path, whole, change):
    path = saved(tmp_path / "model", {"w": np.zeros((0, 3), np.float32)}, model=None, input_shape=None)
    header = json.loads(header_of(path.read_bytes()))
    assert load_model(path, model=lambda params, inputs: inputs).meta_params["w"].shape == (0, 3)
    path.write_bytes(file_of({**header, **change}))
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"get the file anew|rename the parameters"):
        load_model(path, model=lambda params, inputs: inputs)
    assert time.perf_counter() - start < SECONDS


def test_a_name_given_twice_is_one_tensor_or_refused(tmp_path, whole):
    header = header_of(whole)
    entry = b'"params.Dense_0.bias":'
    twice = header.replace(entry, entry + b'{"dtype":"F32","shape":[4],"data_offsets":[0,16]},' + entry)
    body = whole[8 + len(header) :]
    loaded = read(tmp_path / "model", file_of(twice, body))
    assert loaded is None or loaded.meta_params["params"]["Dense_0"]["bias"].shape == (4,)
