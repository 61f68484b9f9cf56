"""The restricted unpickler: real arrays arrive whole, and nothing else is imported, called or believed."""

import collections
import io
import os
import pickle
import struct

import numpy as np
import pytest

from jax_meta.datasets.pickles import load_arrays

DATA = {
    "image_data": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big_endian": np.array([1, 2], ">i2"),
    "text": np.array(["wnid", "é"]),
    "raw": np.array([b"a", b"bc"]),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.uint8),
    "scalar": np.float64(1.5),
    "nested": [(1, 2.5, None), b"\x00\xff", b"", collections.OrderedDict(a=[1])],
    b"bytes": "text",
}


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def assert_same(found, expected):
    if isinstance(expected, np.ndarray | np.generic):
        assert isinstance(found, np.ndarray | np.generic)
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    else:
        assert found == expected
        assert type(found) is type(expected)


def load(content, **options):
    return load_arrays(io.BytesIO(content), name="data.pkl", **options)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_round_trip(protocol):
    assert_same(load(pickle.dumps(DATA, protocol)), DATA)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_names_of_older_numpy_are_known(protocol):
    content = pickle.dumps(DATA["image_data"], protocol)
    assert b"numpy._core" in content
    if protocol < 4:  # protocol 4 writes the length of the name before it
        content = content.replace(b"numpy._core", b"numpy.core")
    else:
        content = content.replace(b"\x8c\x16numpy._core.", b"\x8c\x15numpy.core.")
        start = content.index(b"\x95") + 1
        content = content[:start] + struct.pack("<Q", len(content) - start - 8) + content[start + 8 :]
    assert_same(load(content), DATA["image_data"])


def python_2(value):
    """Protocol 2 as Python 2 wrote it: strings are BINSTRINGs, of which an array's content is one."""

    def string(content):
        return b"T" + struct.pack("<i", len(content)) + content

    dtype = b"cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ"
    dtype += b"\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR(K\x01(K"
    array += bytes([len(value)]) + b"t" + dtype + b"\x89" + string(value.tobytes()) + b"tb"
    return b"\x80\x02}(" + string(b"data") + array + string(b"names") + b"]" + string(b"caf\xe9") + b"au."


def test_python_2_pickle_has_keys_in_bytes():
    value = np.array([0, 127, 128, 255], np.uint8)
    assert_same(load(python_2(value)), {b"data": value, b"names": [b"caf\xe9"]})
    assert_same(load(python_2(value), encoding="latin1"), {"data": value, "names": ["café"]})


def test_array_is_not_copied_by_asarray():
    array = load(pickle.dumps(DATA["image_data"], 2))
    assert type(np.asarray(array)) is np.ndarray
    assert np.shares_memory(np.asarray(array), array)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, rf"{os.system.__module__}\.system"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (np.load, r"numpy\.load"),
    ],
    ids=["os.system", "eval", "numpy.load"],
)
def test_calls_are_refused_and_not_made(tmp_path, protocol, function, named):
    victim = tmp_path / "victim"
    argument = {os.system: f"touch {victim}", eval: f"open({str(victim)!r}, 'w')", np.load: str(victim)}[function]
    with pytest.raises(ValueError, match=rf"refuses to load global {named} from data\.pkl.*source that you trust"):
        load(pickle.dumps({"data": [Call(function, argument)]}, protocol))
    assert not victim.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "builtins\ngetattr",
        "numpy\nmemmap",
        "numpy\nndarray.tofile",
        "numpy.core.multiarray\nfromfile",
        "_codecs\ndecode",
    ],
)
@pytest.mark.parametrize("protocol", [0, 4])
def test_every_other_global_is_refused(name, protocol):
    module, attribute = name.split("\n")
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, attribute)]
    content = b"c" + name.encode() + b"\n." if protocol == 0 else b"\x80\x04" + b"".join(texts) + b"\x93."
    with pytest.raises(ValueError, match=rf"refuses to load global {module}\.{attribute} from"):
        load(content)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "array",
    [np.array([{}, []], object), np.zeros(2, [("a", "O")]), np.zeros(2, [("a", "u1")]), np.zeros(1, "M8[s]")],
    ids=["object", "structure of objects", "structure", "time"],
)
def test_other_arrays_are_refused(array, protocol):
    with pytest.raises(ValueError, match=r"data\.pkl is damaged, or no pickle of plain arrays .*not allowed"):
        load(pickle.dumps(array, protocol))


class LyingDtype:
    """Pickles as a dtype of eight bytes which are a pointer, with the flag that says so cleared."""

    def __reduce__(self):
        fields = {"a": (np.dtype("u8"), 0)}
        return np.dtype, ("V8",), (3, "|", None, ("a",), fields, 8, 1, 0)


def test_pickle_is_not_believed_about_pointers():
    reconstruct, arguments, _ = np.zeros(1).__reduce__()
    array = Call(reconstruct, *arguments)
    array.call += ((1, (1,), LyingDtype(), False, b"\x41" * 8),)
    with pytest.raises(ValueError, match=r"arrays of dtype 'V8' are not allowed"):
        load(pickle.dumps(array))


def test_structure_cannot_be_given_to_a_plain_dtype():
    with pytest.raises(ValueError, match=r"arrays of a structured dtype are not allowed"):
        load(pickle.dumps(StateOnly((3, "|", None, ("a",), {"a": 1}, 8, 1, 0))))


class StateOnly:
    """Pickles as `numpy.dtype("u8")` with the state given."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return np.dtype, ("u8",), self.state


def test_array_longer_than_its_bytes_is_refused():
    reconstruct, arguments, state = np.zeros(2, np.uint8).__reduce__()
    array = Call(reconstruct, *arguments)
    array.call += ((1, (1000,), state[2], False, b"ab"),)
    with pytest.raises(ValueError, match=r"data\.pkl is damaged"):
        load(pickle.dumps(array))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_truncation_names_the_file(protocol):
    content = pickle.dumps({"data": np.arange(9, dtype=np.uint8), "labels": [1, 2]}, protocol)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"data\.pkl is damaged, or no pickle"):
            load(content[:length])


def test_file_is_named_after_itself(tmp_path):
    path = tmp_path / "train.pkl"
    path.write_bytes(b"not a pickle")
    with path.open("rb") as file, pytest.raises(ValueError, match=rf"{path} is damaged"):
        load_arrays(file)
