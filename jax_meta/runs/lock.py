"""A folder is held by one process at a time, by a lock on a file in it that goes with the process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jax_meta.runs.writing import explained

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
HELD: set[IO[str]] = set()
"""The locks of this process; one that is forked from it has them open, too, and would keep them when this is gone."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the lock goes with the process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open_lock(folder / LOCK)
    except OSError as error:
        raise OSError(f"{folder} cannot be written: {error.strerror or error}. Choose another folder.") from error
    with file, held(file):
        content = file.read().strip()
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OSError(
                    f"{folder} is in use by process {content or 'of another machine'}: "
                    "wait for it, stop it, or choose another folder."
                ) from error
            except OSError as error:  # of a file system that has no locks
                raise OSError(f"{folder} cannot be locked: {error.strerror}. Choose another folder.") from error
        if content and not content.isdecimal():
            raise ValueError(f"{folder / LOCK} is not the lock of a run: choose another folder.")
        with explained(folder):  # not by file.write, of which a full disk would keep a part for file.close to fail on
            os.ftruncate(file.fileno(), 0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def open_lock(path: Path) -> IO[str]:
    """Opens the file, made if missing, to read and write; raises OSError for a link, and for what is no file."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(f"{path} is a link, or no file")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.fdopen(os.open(path, flags, 0o666), "r+", encoding="utf-8", errors="replace")


@contextmanager
def held(lock: IO[str]) -> Iterator[None]:
    """Holds a lock in this process, and not in those that are forked from it."""
    HELD.add(lock)
    try:
        yield
    finally:
        HELD.discard(lock)


def let_go() -> None:
    """Closes the locks that a forked process has from its parent."""
    for lock in HELD:
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=let_go)
