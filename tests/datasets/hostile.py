"""What a reader of hostile files must keep to, watched; and the pieces of which such files are made."""

import faulthandler
import io
import os
import resource
import struct
import sys
import time
import tracemalloc
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

Image.init()  # the imports of its plugins are not what is watched
RUN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "pty.spawn",
    "ctypes.dlopen",
)
CHANGE = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MEBI = 1 << 20

watched: list = []
"""The folder outside of which nothing may be written, while there is one, and what was done all the same."""


def notice(event, arguments):
    """The audit hook: Python has no way to remove one."""
    if not watched or not (event in RUN or event in CHANGE or event == "open"):
        return
    if event == "open" and not (arguments[2] or 0) & WRITING:
        return
    paths = [arguments[0]] if event == "open" else arguments[:2]
    paths = [Path(os.fsdecode(path)) for path in paths if isinstance(path, str | bytes | Path)]
    # A link is followed when it is opened, but is itself what is renamed or removed.
    paths = [path.resolve() if event == "open" else path.parent.resolve() / path.name for path in paths]
    if event in RUN or not all(path.is_relative_to(watched[0]) for path in paths):
        watched.append((event, arguments))


sys.addaudithook(notice)


@contextmanager
def guarded(folder, *, seconds=10.0, most=96 * MEBI):
    """Fails if what is inside takes longer, makes room for more bytes at once, runs a program or writes elsewhere."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watched[:] = [Path(os.path.realpath(folder))]
    # The thread of faulthandler must begin and end while memory is traced, or the two may crash.
    tracemalloc.start()
    faulthandler.dump_traceback_later(60, exit=True, file=sys.__stderr__)  # what hangs in C hears no signal
    start = time.perf_counter()
    try:
        yield
    finally:
        elapsed, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
        faulthandler.cancel_dump_traceback_later()
        tracemalloc.stop()
        done = watched[1:]
        watched.clear()
        # Here, so that they are made after an error as well.
        assert not done, f"did {done}"
        assert elapsed < seconds, f"took {elapsed:.1f} s"
        assert peak < most, f"made room for {peak / MEBI:.0f} MiB"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1024
        assert grown < 4 * most, f"grew by {grown / MEBI:.0f} MiB"


def attempt(load, folder):
    """What `load()` returns, or the text of its error, which must be of the kind and name the file."""
    try:
        with guarded(folder):
            return load()
    except (ValueError, OSError) as error:
        refusal = error
    assert str(folder) in str(refusal), f"the file is not named by {type(refusal).__name__}: {refusal}"
    assert len(str(refusal)) < 1500, f"a message of {len(str(refusal))} characters"
    cause = refusal
    while cause := cause.__cause__ or cause.__context__:
        assert not isinstance(cause, MemoryError), "asked for more memory than there is"
    return str(refusal)


def is_valid(data):
    """Whether `ClassImages` are what their documentation says."""
    classes, examples = data.images.shape[:2]
    assert data.images.dtype == np.uint8
    assert data.images.ndim == 5
    assert data.counts.dtype == np.int32
    assert data.counts.shape == (classes,)
    assert data.counts.min() > 0
    assert data.counts.max() <= examples
    assert len(set(data.names)) == classes
    return all(type(name) is str for name in data.names)


# Pickles, opcode by opcode.
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n)R"
MAKE_DTYPE = b"cnumpy\ndtype\n"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def raw(value):
    return b"B" + struct.pack("<I", len(value)) + value


def number(value):
    return b"J" + struct.pack("<i", value)


def dtype(code="u1"):
    return MAKE_DTYPE + text(code) + b"\x85R"


def state(content, shape, code="u1"):
    """BUILDs the array before it; `content` and `shape` are pickled already."""
    return b"(K\x01" + shape + dtype(code) + b"\x89" + content + b"tb"


def laughs(levels, width=10):
    """A list of lists of lists ..., each of ten times the one before: 10**levels elements in some 30 bytes a level."""
    inner = b"]q\x00(" + b"K\x01" * width + b"e"
    return inner + b"".join(b"0]q%c(" % level + b"h%c" % (level - 1) * width + b"e" for level in range(1, levels))


# Other files.
def png(width=105, height=105):
    """A PNG of that size and no more bytes than it takes to say so, unless it is small."""
    file = io.BytesIO()
    if width * height < MEBI:
        Image.new("1", (width, height)).save(file, "PNG")
        return file.getvalue()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(9))))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def npy_header(shape, descr="|u1"):
    """The header of an npy file which claims that shape."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def damage(content, generator):
    """The content with some of its bytes changed, lost, moved, repeated, or overwritten by extreme numbers."""
    for _ in range(generator.integers(1, 4)):
        size = len(content)
        place, other = (int(generator.integers(0, size + 1)) for _ in range(2))
        length = int(generator.integers(1, 1 + min(64, max(1, size // 2))))
        chunk = content[other : other + length]
        extreme = bytes([generator.choice([0, 0x7F, 0x80, 0xFF])]) * int(generator.choice([1, 2, 4, 8]))
        kind = generator.integers(0, 8)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content = content[:place] + content[place + length :]
        elif kind == 2:
            content = content[:place] + chunk + content[place:]
        elif kind == 3:
            content = content[:place] + chunk + content[place + length :]
        elif kind == 4:
            content = content[:place] + extreme + content[place + len(extreme) :]
        else:
            flipped = bytearray(content)
            for position in generator.integers(0, max(size, 1), min(size, length if kind == 5 else 1)):
                flipped[position] ^= 1 << int(generator.integers(0, 8))
            content = bytes(flipped)
    return content
