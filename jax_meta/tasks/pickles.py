"""Data sets that come as pickles, read without running what else a pickle can hold.

A pickle is a program: it may call any function that it can import. Here it can import nothing. The few names by which
NumPy pickles its arrays stand for the functions below, which build arrays of numbers and of fixed-length strings.
"""

import collections
import pickle
from typing import IO, Any

import numpy as np

KINDS = "biufcSU"
"""The kinds of element allowed: never objects, nor structures that may hold them."""


class PickledDtype:
    """Stands for `numpy.dtype`, whose own `__setstate__` believes a pickle about where it holds pointers."""

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = False) -> None:
        """Takes the arguments of `numpy.dtype` as pickled; Python 2 wrote the code in bytes."""
        self.dtype = np.dtype(code.decode("ascii") if isinstance(code, bytes) else str(code))
        if self.dtype.kind not in KINDS or self.dtype.subdtype is not None:
            raise TypeError(f"arrays of dtype {code!r} are not allowed")

    def __setstate__(self, state: tuple) -> None:
        """Takes the byte order, and nothing else."""
        order, *structure = state[1:5]
        if any(structure):
            raise TypeError("arrays of a structured dtype are not allowed")
        sign: Any = order.decode("ascii") if isinstance(order, bytes) else order
        self.dtype = self.dtype.newbyteorder(sign)


class PickledArray(np.ndarray):
    """Stands for `numpy.ndarray`; `numpy.asarray` makes it a plain one, without a copy."""

    def __setstate__(self, state: Any) -> None:
        """Takes the shape, an allowed dtype, and the content in bytes."""
        _, shape, dtype, fortran_order, data = state
        super().__setstate__((1, shape, element_type(dtype), fortran_order, as_bytes(data)))


def element_type(dtype: PickledDtype) -> np.dtype:
    """The NumPy dtype, of a dtype that was pickled as such."""
    if not isinstance(dtype, PickledDtype):
        raise TypeError(f"{dtype!r} is not a dtype")
    return dtype.dtype


def as_bytes(data: bytes | str, codec: str | bytes = "latin1") -> bytes:
    """Bytes as they are, and as pickled in text: characters 0 to 255 (the `codec` pickled with them is not used)."""
    return data.encode("latin1") if isinstance(data, str) else data


def empty_array(*pickled: Any) -> PickledArray:
    """What `_reconstruct` makes, for `__setstate__` to fill."""
    return PickledArray((0,), np.uint8)


def array_of_buffer(data: bytes, dtype: PickledDtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """What `_frombuffer` makes: an array from pickle protocol 5."""
    return np.frombuffer(as_bytes(data), element_type(dtype)).reshape(shape, order=order)  # type: ignore[call-overload]


def scalar(dtype: PickledDtype, data: bytes | str) -> np.generic:
    """A NumPy scalar."""
    return np.frombuffer(as_bytes(data), element_type(dtype))[0]


def empty_bytes() -> bytes:
    """Empty bytes, which protocols 0 to 2 write as a call of `bytes`."""
    return b""


STAND_INS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): array_of_buffer for core in ("core", "_core")},
    ("numpy", "dtype"): PickledDtype,
    ("numpy", "ndarray"): None,
    ("_codecs", "encode"): as_bytes,
    ("__builtin__", "bytes"): empty_bytes,
    ("collections", "OrderedDict"): collections.OrderedDict,
}


class RefusedGlobalError(ValueError):
    """A pickle names something that no data set needs."""


class ArrayUnpickler(pickle.Unpickler):
    """Reads plain containers and arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise RefusedGlobalError(f"{module}.{name}")
        return STAND_INS[module, name]


def load_arrays(file: IO[bytes], *, encoding: str = "bytes", name: str | None = None) -> Any:
    """Reads one pickle of arrays and plain containers: dicts, lists, tuples, strings, bytes and numbers.

    Args:
        file: a binary file.
        encoding: how to read Python 2's strings. Default: as bytes.
        name: what messages call the file. Default: its own name.

    Returns:
        What was pickled. Arrays may be a subclass of `numpy.ndarray`, without behaviour of its own, and read-only.

    Raises:
        ValueError: if the pickle is damaged, or names any other global, which is not imported, let alone called.
    """
    name = name or str(getattr(file, "name", file))
    try:
        return ArrayUnpickler(file, encoding=encoding).load()
    except RefusedGlobalError as error:
        raise ValueError(
            f"refuses to load global {error} from {name}: a data set has no need of it, and it could run any code. "
            "Get the file anew from a source that you trust."
        ) from None
    except Exception as error:
        raise ValueError(
            f"{name} is damaged, or no pickle of plain arrays ({error or type(error).__name__}): get it anew."
        ) from error
