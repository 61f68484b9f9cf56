"""Interleaved rounds: in each round each has its turn, so that whatever slows the machine down slows them all."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.harness.processes import WorkerError
from benchmarks.harness.progress import Tell
from benchmarks.harness.results import rounded

Run = Callable[[], Any]  # a compiled call without arguments
Record = dict[str, Any]


def silent(doing: str) -> None:
    """Tells nobody what is going on."""


class Turns(NamedTuple):
    repeats: int  # rounds in which all have their turn
    seconds: float  # about how long a turn lasts
    tell: Tell = silent  # is called with what is going on


def take_turns(turns: Mapping[Any, Run], repeats: int, tell: Tell = silent) -> dict[Any, list[Any]]:
    """What each returned in each of the rounds."""
    samples: dict[Any, list[Any]] = {name: [] for name in turns}
    for round_ in range(repeats):
        for name, turn in turns.items():
            tell(f"{name}: {round_ + 1}/{repeats}")
            samples[name].append(turn())
    return samples


def timed(run: Run) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def time_turns(runs: Mapping[Any, Run], repeats: int, tell: Tell = silent) -> dict[Any, list[float]]:
    """The seconds of each in each of the rounds, after one to warm up."""
    samples = take_turns({name: partial(timed, run) for name, run in runs.items()}, repeats + 1, tell)
    return {name: seconds[1:] for name, seconds in samples.items()}


def median_seconds(runs: Mapping[Any, Run], repeats: int, tell: Tell = silent) -> dict[Any, float]:
    """The median seconds of each over so many rounds, after one to warm up."""
    return {name: statistics.median(seconds) for name, seconds in time_turns(runs, repeats, tell).items()}


def microseconds_a_step(seconds: Sequence[float], steps: int) -> Record:
    """The median and the quartiles of turns of so many steps."""
    low, median, high = (np.quantile(seconds, (0.25, 0.5, 0.75)) / steps * 1e6).tolist()
    return {"microseconds": rounded(median, 4), "quartiles": rounded([low, high], 4)}


def median_ratio(samples: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(sample / other for sample, other in zip(samples, others, strict=True))


def measure_each(
    names: Iterable[str], prepare: Callable[[str, Record, ExitStack], Run], repeats: int, tell: Tell = silent
) -> dict:
    """What came of each: its `status`, which is "measured" or says why not; a failure ends one alone.

    `prepare(name, record, stack) -> turn` starts what the stack is to end, and is called for one after the other. It
    and the turn write what they find into the record, and raise WorkerError where one has failed.
    """
    records: dict = {name: {"status": "measured"} for name in names}
    turns: dict[str, Run] = {}

    def turn(name: str) -> None:
        if records[name]["status"] == "measured":
            with reporting(records[name]):
                turns[name]()

    with ExitStack() as stack:
        for name, record in records.items():
            tell(f"{name}: start")
            with reporting(record), ExitStack() as own:
                turns[name] = prepare(name, record, own)
                stack.push(own.pop_all())
        take_turns({name: partial(turn, name) for name in turns}, repeats, tell)
    return records


@contextmanager
def reporting(record: Record) -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        record["status"] = str(error)


def reasons(records: dict[str, dict], labels: dict[str, str]) -> list[str]:
    """Who was not measured, of records by place and name: one text in Markdown, or none."""
    told = [
        f"- {labels[name]}, {where}: {record['status']}\n"
        for where, row in records.items()
        for name, record in row.items()
        if record["status"] != "measured"
    ]
    return ["".join(told)] if told else []
