"""Data sets that come as pickles, read without running what else a pickle can hold.

A pickle is a program: it may call any function that it can import. Here it can import nothing, but the few names by
which NumPy pickles its arrays stand for functions of ours. Nor can it make of a few bytes an object that takes all
memory or time: what it does is limited to the operations that data sets need, and to a number of them.
"""

import os
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

from jax_meta.datasets.pickled_arrays import STAND_INS, PickledArray, PickledDtype, set_items

OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    LIST EMPTY_LIST APPEND APPENDS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT
"""
"""What a pickle may do as Python has it. Not here are sets, classes, and references to what is not in the file."""

MOST_STEPS = 1 << 23
"""CIFAR-100's largest pickle has a third of a million; a step may leave a hundred bytes in memory."""

CHUNK = 1 << 20


class RefusedGlobalError(ValueError):
    """A pickle names something that no data set needs."""


class ArrayUnpickler(pickle._Unpickler):
    """Reads plain containers and arrays.

    It is Python's own and not the faster one in C, which allows any pickle to hash nested tuples, to set the attributes
    of our functions, and to ask for a table of objects of any length.
    """

    def __init__(self, file: IO[bytes], *, encoding: str) -> None:
        """Takes a file that can seek, and how to read Python 2's strings."""
        source, length = source_of(file)
        self.steps, self.room = 0, 4 * length + CHUNK
        super().__init__(source, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise RefusedGlobalError(f"{module[:99]}.{name[:99]}")
        return STAND_INS[module, name]


def source_of(file: IO[bytes]) -> tuple[Any, int]:
    """What a pickle is read from, and its length: of more bytes than there are it raises EOFError, and reads none."""
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)

    def read(size: int) -> bytes:
        # A buffered file makes room for all that it is asked for.
        content = b"" if size > CHUNK and size > end - file.tell() else file.read(size)
        if len(content) < size:
            raise EOFError("it ends early")
        return content

    def readline() -> bytes:
        line = file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ends in a line")
        return line

    return SimpleNamespace(read=read, readline=readline), end - start


def put(unpickler: Any) -> None:
    """PUT, with the numbers that LONG_BINPUT has: of larger ones, many can be made to share one hash."""
    index = int(unpickler.readline()[:-1])
    if not 0 <= index < 1 << 32:
        raise ValueError(f"no place {index} for an object")
    unpickler.memo[index] = unpickler.stack[-1]


def make_dict(unpickler: Any) -> None:
    """DICT: a dict of all since the mark."""
    made: dict = {}
    set_items(made, unpickler.pop_mark())
    unpickler.append(made)


def set_item(unpickler: Any) -> None:
    """SETITEM: the last two are a key and a value of the dict before them."""
    value, key = unpickler.stack.pop(), unpickler.stack.pop()
    set_items(unpickler.stack[-1], [key, value])


def set_all_items(unpickler: Any) -> None:
    """SETITEMS: all since the mark are keys and values of the dict before it."""
    items = unpickler.pop_mark()
    set_items(unpickler.stack[-1], items)


def reduce(unpickler: Any) -> None:
    """REDUCE: a call of one of the stand-ins."""
    arguments = unpickler.stack.pop()
    if not isinstance(arguments, tuple):
        raise TypeError(f"a call with {type(arguments)} for its arguments")
    unpickler.stack[-1] = unpickler.stack[-1](*arguments)
    take_room(unpickler)


def build(unpickler: Any) -> None:
    """BUILD, of our own two: of others it would set the attributes, such as the defaults of our functions."""
    state = unpickler.stack.pop()
    if not isinstance(unpickler.stack[-1], PickledArray | PickledDtype):
        raise TypeError(f"{type(unpickler.stack[-1])} takes no state")
    unpickler.stack[-1].__setstate__(state)
    take_room(unpickler)


def take_room(unpickler: Any) -> None:
    """Raises ValueError when what was made takes much more room than the file: by copies of one thing, many times."""
    made = unpickler.stack[-1]
    if isinstance(made, bytes | dict):
        unpickler.room -= len(made) if isinstance(made, bytes) else 16 * len(made)
    elif isinstance(made, np.ndarray | np.generic):
        unpickler.room -= made.nbytes
    if unpickler.room < 0:
        raise ValueError("it makes much more of its bytes than they are")


def counted(operation: Callable[[Any], None]) -> Callable[[Any], None]:
    """An operation that counts all operations; raises ValueError after `MOST_STEPS`."""

    def step(unpickler: Any) -> None:
        unpickler.steps += 1
        if unpickler.steps > MOST_STEPS:
            raise ValueError(f"more than {MOST_STEPS} steps")
        operation(unpickler)

    return step


PYTHONS: dict[int, Any] = pickle._Unpickler.dispatch
OURS = {
    pickle.PUT: put,
    pickle.DICT: make_dict,
    pickle.SETITEM: set_item,
    pickle.SETITEMS: set_all_items,
    pickle.REDUCE: reduce,
    pickle.BUILD: build,
    pickle.BYTEARRAY8: PYTHONS[pickle.BINBYTES8[0]],  # a bytearray would be filled with zeros before it is read
}
ALLOWED = {code: PYTHONS[code[0]] for code in (getattr(pickle, name) for name in OPCODES.split())} | OURS
ArrayUnpickler.dispatch = {code[0]: counted(operation) for code, operation in ALLOWED.items()}


def load_arrays(file: IO[bytes], *, encoding: str = "bytes", name: str | None = None) -> Any:
    """Reads one pickle of arrays and plain containers: dicts, lists, tuples, strings, bytes and numbers.

    Args:
        file: a binary file that can seek.
        encoding: how to read Python 2's strings. Default: as bytes.
        name: what messages call the file. Default: its own name.

    Returns:
        What was pickled. Arrays may be a subclass of `numpy.ndarray`, without behaviour of its own, and read-only, and
        bytearrays are bytes. Keys of dicts are text or whole numbers. Beware that lists may hold one another many
        times over, or themselves: `pickled_arrays.as_array` takes those that do not.

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
            f"{name} is damaged, or no pickle of plain arrays "
            f"({str(error)[:200] or type(error).__name__}): get it anew."
        ) from error
