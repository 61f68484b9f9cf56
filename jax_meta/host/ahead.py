"""Tasks of the host made ready in a thread, and taken in blocks, while the device computes."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from jax_meta.base import Task, TrainState
from jax_meta.host.batches import bytes_of, checked, shapes_of
from jax_meta.host.sources import HostTasks, OutOfTasksError, Seed
from jax_meta.sampling import SAMPLE_AHEAD_BYTES

MOST_AHEAD = 4096
"""Batches that may wait, and no more than two blocks of them."""


class Batch(NamedTuple):
    """The tasks of one meta-step, or what the source raised instead."""

    tasks: Task | None
    error: BaseException | None = None


class Ahead:
    """The tasks of a run, meta-step by meta-step, of which a thread makes the next ones ready up to the step `end`.

    Asked for another step than the next it begins again there, if the source can.
    """

    def __init__(self, source: HostTasks, first: int, end: int) -> None:
        """Takes the meta-step with which the run began, for which an iterable had its first tasks."""
        self.source, self.first, self.end = source, first, end
        self.following: tuple[Seed, int, int] | None = None
        self.begun = False
        self.ready: queue.Queue[Batch] = queue.Queue()
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None
        self.like: Task | None = None

    def __call__(self, seed: Seed, step: int, num_tasks: int) -> Task:
        """The tasks of a meta-step."""
        if (seed, step, num_tasks) == self.following and self.thread:
            batch = self.ready.get()
        else:
            batch = self.begin(seed, step, num_tasks)
        if batch.error is not None:
            self.close()
            raise batch.error
        self.following = (seed, step + 1, num_tasks)
        assert batch.tasks is not None
        return batch.tasks

    def begin(self, seed: Seed, step: int, num_tasks: int) -> Batch:
        """Draws the tasks of a step, and starts the thread on the next ones."""
        self.close()
        if self.source.seek is not None and self.begun:
            raise ValueError(f"the tasks of meta-step {step} came from the iterable {self.source.name}, once.")
        batch = self.draw(seed, step, num_tasks)
        if batch.tasks is not None and step + 1 < self.end:
            depth = 2 * SAMPLE_AHEAD_BYTES // max(1, bytes_of(batch.tasks))
            self.ready, self.stop = queue.Queue(min(max(2, depth), MOST_AHEAD)), threading.Event()
            arguments = (self.ready, self.stop, seed, step + 1, num_tasks)
            self.thread = threading.Thread(target=self.fill, args=arguments, name="jax_meta tasks", daemon=True)
            self.thread.start()
        return batch

    def fill(self, ready: queue.Queue[Batch], stop: threading.Event, seed: Seed, first: int, num_tasks: int) -> None:
        """The work of the thread: draws the tasks of the steps from `first` on, until it is told to stop."""
        for step in range(first, self.end):
            batch = self.draw(seed, step, num_tasks)
            while not stop.is_set():
                try:
                    ready.put(batch, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or batch.error is not None:
                return

    def draw(self, seed: Seed, step: int, num_tasks: int) -> Batch:
        """The tasks of a step, whole and of the shapes of the first, or the error."""
        try:
            if self.source.seek is not None and not self.begun:
                self.source.seek(step - self.first)
            self.begun = True
            tasks = checked(self.source.draw(seed, step, num_tasks), num_tasks, self.like)
            self.like = self.like or shapes_of(tasks)
            return Batch(tasks)
        except StopIteration as end:
            error = OutOfTasksError(
                f"the source of tasks, {self.source.name}, has none for meta-step {step} of {self.end}. The state "
                "there is `state` of this error, and `history` its metrics. Let the source go round, as in `while "
                "True: yield from loader`, or ask for fewer meta-steps."
            )
            error.__cause__ = end.__cause__
            return Batch(None, error)
        except BaseException as raised:  # by the source, for the caller's thread to raise again
            raised.add_note(f"in the tasks of meta-step {step}, from {self.source.name}")
            return Batch(None, raised)

    def close(self) -> None:
        """Ends the thread, or leaves it to end by itself where the source does not return."""
        self.stop.set()
        if self.thread:
            self.thread.join(timeout=1.0)
        self.thread = self.following = None


@contextmanager
def running(tasks: HostTasks, state: TrainState, *, end: int) -> Iterator[HostTasks]:
    """The tasks, with those of the next meta-steps made ready in a thread, up to the step `end`.

    `state` is the one with which the run began. What runs already is left alone.
    """
    if tasks.is_running:
        yield tasks
        return
    ahead = Ahead(tasks, int(state.step), end)
    try:
        yield replace(tasks, draw=ahead, is_running=True)
    finally:
        ahead.close()
