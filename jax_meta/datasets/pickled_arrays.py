"""What stands for NumPy's names in a pickle: functions that build arrays of numbers and of fixed-length strings.

They believe nothing: a shape is compared with the bytes there are, an array is filled once, from bytes of its own.
"""

import collections
import math
import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

CODE = re.compile(r"[biufcSU][1-9][0-9]{0,8}")
"""The dtypes allowed: never objects, nor structures that may hold them, nor elements without a byte."""

LARGEST_LIST = 1 << 30
"""In bytes, as an array: one long string in a list makes every element as long."""

LARGEST_KEY = (1 << 61) - 2
"""Whole numbers up to here have hashes of their own; of larger ones any number can be made to share one."""


class PickledDtype:
    """Stands for `numpy.dtype`, whose own `__setstate__` believes a pickle about where it holds pointers."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        """Takes the arguments of `numpy.dtype` as pickled; Python 2 wrote the code in bytes."""
        text: Any = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not CODE.fullmatch(text):
            # Not the repr of another object, which a few bytes can make endless.
            raise TypeError(
                f"arrays of dtype {repr(text[:20]) if isinstance(text, str) else type(text)} are not allowed"
            )
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        """Takes the byte order, and nothing else."""
        order, *structure = state[1:5]
        if any(structure):
            raise TypeError("arrays of a structured dtype are not allowed")
        sign: Any = order.decode("ascii") if isinstance(order, bytes) else order
        self.dtype = self.dtype.newbyteorder(sign)


class PickledArray(np.ndarray):
    """Stands for `numpy.ndarray`; `numpy.asarray` makes it a plain one, without a copy."""

    filled = False

    def __setstate__(self, state: Any) -> None:
        """Takes the shape, an allowed dtype, and the content in bytes."""
        if self.filled:
            raise ValueError("an array that is filled twice")
        _, shape, dtype, fortran_order, data = state
        content, kind = as_bytes(data), element_type(dtype)
        plain: Any = (1, sides(shape, kind, content), kind, bool(fortran_order), content)
        super().__setstate__(plain)
        self.filled = True


def element_type(dtype: PickledDtype) -> np.dtype:
    """The NumPy dtype, of a dtype that was pickled as such."""
    if not isinstance(dtype, PickledDtype):
        raise TypeError(f"{type(dtype)} is not a dtype")
    return dtype.dtype


def as_bytes(data: bytes | str, codec: str | bytes = "latin1") -> bytes:
    """Bytes as they are, and as pickled in text: characters 0 to 255 (the `codec` pickled with them is not used)."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes):  # an array could be freed while another is a view of it
        raise TypeError(f"{type(data)} is not bytes")
    return data


def sides(shape: Any, dtype: np.dtype, content: bytes) -> tuple[int, ...]:
    """The shape, as a tuple; raises ValueError unless an array of it has just these bytes."""
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    possible = len(shape) <= 64 and all(isinstance(side, int) and 0 <= side <= sys.maxsize for side in shape)
    if not possible or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for an array of another size")
    return shape


def empty_array(*pickled: Any) -> PickledArray:
    """What `_reconstruct` makes, for `__setstate__` to fill."""
    return PickledArray((0,), np.uint8)


def array_of_buffer(data: bytes, dtype: PickledDtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """What `_frombuffer` makes: an array from pickle protocol 5."""
    content, kind = as_bytes(data), element_type(dtype)
    shape = sides(shape, kind, content)
    return np.frombuffer(content, kind).reshape(shape, order=order)  # type: ignore[call-overload]


def scalar(dtype: PickledDtype, data: bytes | str) -> np.generic:
    """A NumPy scalar."""
    return np.frombuffer(as_bytes(data), element_type(dtype))[0]


def empty_bytes() -> bytes:
    """Empty bytes, which protocols 0 to 2 write as a call of `bytes`."""
    return b""


def ordered_dict(pairs: Iterable = ()) -> collections.OrderedDict:
    """An ordered dict; Python 2 pickled its pairs with it."""
    made: collections.OrderedDict = collections.OrderedDict()
    for key, value in pairs:
        set_items(made, [key, value])
    return made


def set_items(target: Any, items: list) -> None:
    """Adds keys and values, in turn, to a dict; raises TypeError for anything else, which might believe them.

    Keys are text or whole numbers, because the hash of nested tuples may take forever.
    """
    if not isinstance(target, dict):
        raise TypeError(f"{type(target)} is not a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        number = isinstance(key, int | np.integer) and abs(int(key)) <= LARGEST_KEY
        if not number and not isinstance(key, str | bytes):
            raise TypeError(f"a key of {type(key)}, not text or a small whole number")
        target[key] = value


def as_array(value: Any) -> np.ndarray:
    """An array, or a flat list of numbers or strings as one; raises TypeError for others, which might be endless."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if not isinstance(value, list | tuple):
        raise TypeError(f"{type(value)} is not an array, nor a list")
    if not all(isinstance(element, str | bytes | int | float | np.generic) for element in value):
        raise TypeError("a list of other than numbers and strings")
    longest = max((len(element) for element in value if isinstance(element, str | bytes)), default=0)
    if 4 * longest * len(value) > LARGEST_LIST:
        raise ValueError(f"a list of {len(value)} strings of up to {longest} characters")
    return np.asarray(value)


STAND_INS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): array_of_buffer for core in ("core", "_core")},
    ("numpy", "dtype"): PickledDtype,
    ("numpy", "ndarray"): None,
    ("_codecs", "encode"): as_bytes,
    ("__builtin__", "bytes"): empty_bytes,
    ("collections", "OrderedDict"): ordered_dict,
}
