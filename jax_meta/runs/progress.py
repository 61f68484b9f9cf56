"""What a run shows while it works: a bar on a terminal, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich import progress

from jax_meta.runs.records import Record

QUIET_SECONDS = 30.0
"""Between two lines, where there is no terminal."""


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
def shown(name: str, report: Report | None) -> Iterator[Report]:
    """Yields `report`, or, where there is none, what shows a bar or prints lines."""
    if report is not None:
        yield report
    elif not sys.stdout.isatty():
        yield printer(name)
    else:
        with bars() as display:
            task = display.add_task(name, total=None, status="compiles")
            yield in_words(
                lambda status, now: display.update(task, completed=now.step, total=now.num_meta_steps, status=status)
            )


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


def printer(name: str) -> Report:
    """Prints the validations, the last record, and otherwise a record each `QUIET_SECONDS`."""
    last = time.monotonic()

    def report(now: Progress) -> None:
        nonlocal last
        validated = any(metric.startswith("val_") for metric in now.record)
        is_due = validated or now.step == now.num_meta_steps or time.monotonic() - last > QUIET_SECONDS
        if not (now.record and is_due):
            return
        last = time.monotonic()
        told = [f"{name}: {now.step:,} of {now.num_meta_steps:,}", *filter(None, [describe(now)])]
        if now.steps_per_second and now.step < now.num_meta_steps:
            told.append(f"{duration((now.num_meta_steps - now.step) / now.steps_per_second)} left")
        print(", ".join(told), flush=True)

    return report


def describe(now: Progress) -> str:
    """The speed and the metrics, briefly."""
    metrics = [
        f"{name.replace('_', ' ')} {value:.3g}"
        for name, value in now.record.items()
        if name in ("loss", "accuracy", "val_loss", "val_accuracy", "skipped") and value is not None
    ]
    speed = now.steps_per_second
    rates = [f"{speed:,.0f}/s" if speed >= 100 else f"{speed:.3g}/s"] if speed else []
    return ", ".join([*rates, *metrics])


def duration(seconds: float) -> str:
    """A time in words, in a unit in which it is 1 or more: `1 s` (also for less), `2.5 min`, `1.3 h`."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 3_570 else f"{seconds / 3_600:.1f} h"
