"""Writing, where the disk may be full and the reader gone: what stops a run says what to do, and lines stop none."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Say = Callable[[str], None]
FULL = re.compile("ENOSPC|No space left on device|Disk quota exceeded")


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Makes of an error of a write an OSError that says what it means for the run; libraries raise it as anything."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"{folder} cannot be written: {reason(error)}. What was saved before is whole: once there is space, or "
            "permission, the same call goes on from it."
        ) from error


def reason(error: Exception) -> str:
    """Why a write failed, in a few words, also where TensorStore says it in many."""
    found = FULL.search(str(error))
    if found:
        return "No space left on device" if found[0] == "ENOSPC" else found[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def say(text: str) -> None:
    """Prints a line; that its reader is gone, as in `| head -1`, or its disk full, is no reason to end a run."""
    with suppress(OSError, ValueError), readers_may_leave():  # ValueError: of a file that is closed
        print(text, flush=True)


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Passes over an error of writing to standard output whose reader is gone, and writes there no more."""
    try:
        yield
    except BrokenPipeError:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())  # so that Python's last flush does not fail, either
        else:
            raise  # it was another pipe


def aloud(log: Say, text: str) -> None:
    """Prints a line, and keeps it in the log."""
    say(text)
    log(text)


def into(path: Path) -> Say:
    """What adds lines to a file, if it can."""

    def write(text: str) -> None:
        with suppress(OSError), path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    return write
