"""Members of zip, tar and npz files, read in memory: nothing is unpacked to disk, and no claim of size is believed.

What an archive says that a member will unpack to is compared with a limit first, and held to afterwards.
"""

import bz2
import gzip
import lzma
import math
import os
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np

BLOCK = 512
MOST_MEMBERS = 10_000
WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"]\0\0": lzma.open}
"""How a compressed file begins, and what opens it."""

ALWAYS_ALLOWED = 1 << 30
MOST_EXPANSION = 64
"""An array may unpack to a gibibyte, or to this many times the size of its file: a zip bomb has 1,000."""


def read_tar(path: Path, names: Collection[str], *, most: int) -> dict[str, bytes]:
    """The content of the regular files of those names; a name in the archive may begin with "./".

    Not by `tarfile.open`, which holds headers of any length in memory and, in some versions of Python, takes quadratic
    time for them. Other members, and the headers by which newer tars extend the old ones, are skipped.

    Raises:
        ValueError: if the archive unpacks to more than `most` bytes, or has too many members.
        Exception: of `tarfile`, `gzip`, `bz2` or `lzma`, if it is damaged.
    """
    contents = {}
    with open_unpacked(path) as file:
        for _ in range(MOST_MEMBERS):
            if not any(header := file.read(BLOCK)):
                break
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            size = 0 if member.type in WITHOUT_CONTENT else member.size
            if not 0 <= size <= most - file.tell():
                raise ValueError(f"its member {member.name[:99]} has {size} bytes, of at most {most} for all")
            name = member.name.removeprefix("./")
            if name in names and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                contents[name] = file.read(size)
                if len(contents[name]) < size:
                    raise EOFError(f"it ends in its member {name}")
                file.seek(-size % BLOCK, os.SEEK_CUR)
            else:
                file.seek(size + -size % BLOCK, os.SEEK_CUR)
        else:
            raise ValueError(f"it has more than {MOST_MEMBERS} members")
        # To its end, where gzip compares the checksum of all that came before.
        while file.read(1 << 20):
            if file.tell() > most:
                raise ValueError(f"it unpacks to more than {most} bytes")
    return contents


def open_unpacked(path: Path) -> IO[bytes]:
    """Opens a file for reading, through what it is compressed by, if anything."""
    with path.open("rb") as file:
        start = file.read(max(map(len, MAGIC)))
    return next((opener for magic, opener in MAGIC.items() if start.startswith(magic)), open)(path, "rb")


def open_member(archive: zipfile.ZipFile, name: str, *, most: int) -> IO[bytes]:
    """Opens a member of a zip; raises ValueError if it unpacks to more than `most` bytes, or by other than deflate."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{name.removesuffix('.npy')} is not a file in the archive") from None
    if member.file_size > most:
        raise ValueError(f"{name} unpacks to {member.file_size} bytes, of at most {most}")
    # zipfile unpacks a whole chunk of the others at once, whatever it grows to.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by another method than deflate")
    return archive.open(member)


def read_member(archive: zipfile.ZipFile, name: str, *, most: int) -> bytes:
    """The content of a member of a zip; raises what `open_member` and `zipfile` do."""
    with open_member(archive, name, most=most) as file:
        return file.read(most)


def read_arrays(path: Path, names: Collection[str]) -> list[np.ndarray]:
    """The arrays of an npz file; raises ValueError, or an error of `zipfile`, unless they are all there and whole.

    A header is compared with the size of its member before there is room made for the array. Objects are refused.
    """
    most = max(ALWAYS_ALLOWED, MOST_EXPANSION * path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        return [read_array(archive, f"{name}.npy", most=most) for name in names]


def read_array(archive: zipfile.ZipFile, name: str, *, most: int) -> np.ndarray:
    """One array, of at most that many bytes."""
    with open_member(archive, name, most=most) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{name} has version {version} of the format, not 1.0 or 2.0")
        rest = archive.getinfo(name).file_size - file.tell()
        if not dtype.hasobject and (min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != rest):
            raise ValueError(f"{name} has {rest} bytes for an array {dtype} {list(shape)}")
        if not dtype.hasobject and not rest and shape[:1] != (0,):  # any number, which take room once they are sorted
            raise ValueError(f"{name} has elements {dtype} {list(shape)}, which take no room")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
