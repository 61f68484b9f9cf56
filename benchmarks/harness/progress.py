"""What a benchmark shows while it works: bars on a terminal, elsewhere lines; and the lines in a log file in any case.

A line is written as soon as something is done, when a part is finished, and about every half minute, however long a
part is.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock, Thread

from jax_meta.runs.progress import QUIET_SECONDS, bars, duration
from jax_meta.runs.writing import into

Tell = Callable[..., None]
"""`tell(doing)` begins the next piece of a part; `tell(doing, completed)` says how many are finished."""
Begin = Callable[[str, int], AbstractContextManager[Tell]]
"""`with begin(name, total) as tell` is a part of so many pieces; they are finished when it ends."""


@dataclass
class Part:
    """How far a part is: what it does now, the pieces finished, and those that were when it began, in a run resumed."""

    name: str
    total: int
    start: float
    doing: str = ""
    completed: int = -1
    first: int = 0

    def describe(self) -> str:
        elapsed, completed = time.monotonic() - self.start, max(0, self.completed)
        left = f"{duration(elapsed)} so far"
        if completed > self.first:
            left = f"about {duration(elapsed * (self.total - completed) / (completed - self.first))} left"
        return ", ".join(filter(None, [f"{self.name}: {completed:,} of {self.total:,}", self.doing, left]))


@contextmanager
def progress(log: Path, command: str, *, every: float = QUIET_SECONDS) -> Iterator[Begin]:
    """Yields what begins a part; parts may go on side by side, in threads.

    The log begins with the command, and has the time since the start before each line; `every` is in seconds.
    """
    start, parts, lock, ended, moves = time.monotonic(), list[Part](), Lock(), Event(), Event()
    display, terminal, write = bars(), sys.stdout.isatty(), into(log)

    def note(line: str) -> None:
        write(f"{timedelta(seconds=int(time.monotonic() - start))} {line}")

    def say(line: str) -> None:
        with lock:
            note(line)
            if not terminal:
                with suppress(OSError):  # a closed pipe is no reason to end a measurement
                    print(line, flush=True)

    def watch() -> None:
        while not ended.wait(every):
            at_work = f"at work, {duration(time.monotonic() - start)} so far"
            for line in [part.describe() for part in parts] or [at_work]:
                say(line)

    @contextmanager
    def begin(name: str, total: int) -> Iterator[Tell]:
        part = Part(name, max(1, total), time.monotonic())
        bar = display.add_task(name, total=part.total, status="")

        def show(doing: str, completed: int) -> None:
            part.doing, part.completed = doing, completed
            display.update(bar, completed=completed, status=doing)

        def tell(doing: str, completed: int | None = None) -> None:
            if part.completed < 0:
                part.first = completed or 0
            show(doing, part.completed + 1 if completed is None else completed)
            if part.completed > part.first and not moves.is_set():
                moves.set()
                say(part.describe())

        parts.append(part)
        try:
            yield tell
        except BaseException:
            say(f"{part.describe()}: stopped")
            raise
        finally:
            parts.remove(part)
        show("finished", part.total)
        say(f"{name}: finished, {part.total:,} in {duration(time.monotonic() - part.start)}")

    note(command)
    with ExitStack() as stack:
        if terminal:
            stack.enter_context(display)
        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(ended.set)
        yield begin
