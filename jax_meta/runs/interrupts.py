"""SIGTERM and Ctrl-C end a run between two parts of it, once it is saved."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOLD = b"stops once this part is done and saved; again to stop at once\n"


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, a second of which acts at once; only in the main thread, and if not ignored."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number, frame):
        received.append(number)
        signal.signal(number, previous[number])
        with suppress(OSError):
            os.write(2, TOLD)  # not by print, which may be at work already

    previous = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: handler for number, handler in previous.items() if handler not in (signal.SIG_IGN, None)}
    for number in previous:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def act(number: int) -> None:
    """Does what the signal would have done: SIGTERM ends the process, SIGINT raises KeyboardInterrupt."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    signal.raise_signal(number)
    raise SystemExit(128 + number)  # where a handler of the caller's let it pass
