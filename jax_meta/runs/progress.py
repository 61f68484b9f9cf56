"""What a run shows while it works: a bar on a terminal, else lines; and the lines in its log in any case."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event, Lock, Thread
from typing import NamedTuple

from rich import progress

from jax_meta.runs.records import Record
from jax_meta.runs.writing import Say, aloud, readers_may_leave

QUIET_SECONDS = 30.0
"""Between two lines, where nothing else is to tell."""


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        step: meta-steps taken.
        num_meta_steps: meta-steps in all.
        steps_per_second: of the last part, validation and saving left out; 0.0 before the first.
        record: the newest line of metrics; empty before the first.
    """

    step: int
    num_meta_steps: int
    steps_per_second: float
    record: Record


Report = Callable[[Progress], None]


@contextmanager
def shown(name: str, report: Report | None, log: Say) -> Iterator[Report]:
    """Yields what tells `report`, or, where there is none, shows a bar or prints lines; the lines go to `log`, too."""
    with ExitStack() as stack:
        show = report
        if show is None and sys.stdout.isatty():
            show = stack.enter_context(bar(name))
        write = stack.enter_context(lines(name, log if show else partial(aloud, log)))

        def update(now: Progress) -> None:
            write(now)
            if show:
                with readers_may_leave():
                    show(now)

        yield update


@contextmanager
def bar(name: str) -> Iterator[Report]:
    """Yields what moves a bar on the terminal; there is none where no step is taken."""
    with bars() as display:
        task: progress.TaskID | None = None

        def show(doing: str, now: Progress) -> None:
            nonlocal task
            if task is None:
                if now.step >= now.num_meta_steps:
                    return
                task = display.add_task(name, total=None, status=doing)
            if now.steps_per_second:
                display.update(task, completed=now.step, total=now.num_meta_steps, status=doing)

        yield in_words(show)


def in_words(show: Callable[[str, Progress], None]) -> Report:
    """A report that shows the speed and the newest of every metric, so that the last validation stays in sight."""
    latest: Record = {}

    def report(now: Progress) -> None:
        latest.update(now.record)
        show(describe(now._replace(record=latest)) if now.steps_per_second else "compiles", now)

    return report


def bars() -> progress.Progress:
    """Bars with what is going on, the time taken and the time left."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=14),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.fields[status]}"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )


@contextmanager
def lines(name: str, told: Say) -> Iterator[Report]:
    """Yields what tells a line of the first part, each validation and the end; else one comes each `QUIET_SECONDS`.

    That is the newest record, and while there is none, as in a long compilation, what is being waited for.
    """
    now, lock, ended = Progress(0, 0, 0.0, {}), Lock(), Event()
    start = since = last = time.monotonic()

    def tell(*more: str) -> None:
        nonlocal last
        last = time.monotonic()
        place = [f"{now.step:,} of {now.num_meta_steps:,}"] if now.num_meta_steps else []
        told(f"{name}: {', '.join([*place, *filter(None, [describe(now), *more])])}")

    def report(newest: Progress) -> None:
        nonlocal now, since
        with lock:
            is_first, now, since = not now.steps_per_second, newest, time.monotonic()
            finished = now.step == now.num_meta_steps
            validated = any(metric.startswith("val_") for metric in now.record)
            if now.steps_per_second and (is_first or validated or finished or since - last >= QUIET_SECONDS):
                tell(f"finished in {duration(since - start)}" if finished else left(now))

    def watch() -> None:
        while not ended.wait(max(0.01, last + QUIET_SECONDS - time.monotonic())):
            with lock:
                if time.monotonic() - last >= QUIET_SECONDS:
                    doing = "in the next part" if now.steps_per_second else "compiling"
                    tell(f"{doing} for {duration(time.monotonic() - since)}", left(now))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield report
    finally:
        ended.set()
        watcher.join()


def describe(now: Progress) -> str:
    """The speed and the metrics, briefly."""
    metrics = [
        f"{name.replace('_', ' ')} {value:.3g}"
        for name, value in now.record.items()
        if name in ("loss", "accuracy", "val_loss", "val_accuracy", "skipped") and value is not None
    ]
    return ", ".join([*rate(now.steps_per_second), *metrics])


def rate(steps_per_second: float) -> list[str]:
    """The speed in words, in a unit in which it is 1 or more; nothing where it is not known."""
    if not steps_per_second:
        return []
    if steps_per_second < 1:
        return [f"{1 / steps_per_second:.3g} s a meta-step"]
    return [f"{steps_per_second:,.0f}/s" if steps_per_second >= 100 else f"{steps_per_second:.3g}/s"]


def left(now: Progress) -> str:
    """The time left in words; empty where nothing is left, or the speed is not known."""
    steps = now.num_meta_steps - now.step
    return f"{duration(steps / now.steps_per_second)} left" if steps and now.steps_per_second else ""


def duration(seconds: float) -> str:
    """A time in words, in a unit in which it is 1 or more: `1 s` (also for less), `2.5 min`, `1.3 h`."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 3_570 else f"{seconds / 3_600:.1f} h"
