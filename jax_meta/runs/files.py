"""All that a run reads and writes while it works, as a few functions, so that the loop need not know of files."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jax_meta.base import TrainState
from jax_meta.runs import records as lines
from jax_meta.runs.arrays import digest, step_of, to_arrays
from jax_meta.runs.checkpoints import Checkpoints, open_checkpoints, remove_unfinished, restore_newest, save
from jax_meta.runs.events import EVENTS, event_writer
from jax_meta.runs.folder import LOG, check_own, check_reach, check_run, fingerprint
from jax_meta.runs.identity import Identify
from jax_meta.runs.lock import locked
from jax_meta.runs.processes import is_main, refused_together
from jax_meta.runs.records import METRICS, TIMES, Record
from jax_meta.runs.writing import Say, aloud, into


class RunFiles(NamedTuple):
    """What a run does with its folder, or, without one, in memory.

    Attributes:
        resume: `(state) -> state`, of the newest checkpoint if there is one.
        record: `(record, seconds)`, keeps a record and the time that it took.
        save: `(state, score)`, starts a checkpoint in the background; the score is that of a validation, or None.
        log: `(line)`, keeps a line of progress.
        records: those kept so far.
    """

    resume: Callable[[TrainState], TrainState]
    record: Callable[[Record, float], None]
    save: Callable[[TrainState, float | None], None]
    log: Say
    records: list[Record]


class Run(NamedTuple):
    """What a folder is asked to hold.

    Attributes:
        name: the learner's.
        settings: the caller's, as JSON holds them.
        identify: `(arrays of the first state) -> Identity`.
        num_meta_steps: the meta-step to reach.
    """

    name: str
    settings: dict[str, Any]
    identify: Identify
    num_meta_steps: int


@contextmanager
def open_files(
    folder: str | Path | None, run: Run, state: TrainState, *, keep: int, tensorboard: bool
) -> Iterator[RunFiles]:
    """Checks and holds the folder for as long as the run works; waits for the last checkpoint before it lets go."""
    if folder is None:
        kept: list[Record] = []
        yield RunFiles(
            lambda state: state, lambda record, _: kept.append(record), lambda *_: None, lambda _: None, kept
        )
        return
    folder, arrays = Path(folder), to_arrays(state)
    log = into(folder / LOG) if is_main() else lambda line: None
    with ExitStack() as stack:
        began_at = step_of(state)
        with refused_together():
            about, identity = fingerprint(run.name, state, run.settings, arrays), run.identify(arrays)
            if is_main():
                check_own(folder)
                stack.enter_context(locked(folder))
                began_at, notes = check_run(folder, about, identity, began_at)
                remove_unfinished(folder)
                for note in notes:
                    aloud(log, f"{folder}: {note}")
        checkpoints = stack.enter_context(open_checkpoints(folder, keep=keep))
        with refused_together():
            if is_main():
                given = step_of(state), digest(arrays)
                check_reach(folder, given, began_at, checkpoints.digests, run.num_meta_steps)
        events = None
        if tensorboard and is_main():
            events = stack.enter_context(event_writer(folder / EVENTS))
        yield in_folder(folder, run.num_meta_steps, checkpoints, events, log)


def in_folder(
    folder: Path, num_meta_steps: int, checkpoints: Checkpoints, events: Callable[..., None] | None, log: Say
) -> RunFiles:
    """The functions, for the main process of a folder that is held; other processes only take part in saving."""
    kept: list[Record] = []
    seconds = [0.0]

    def resume(state: TrainState) -> TrainState:
        found = restore_newest(checkpoints, state, folder)
        state, step = found or (state, 0)
        if is_main():
            kept.extend(lines.cut_back(folder / METRICS, step))
            times = lines.cut_back(folder / TIMES, step)
            seconds[0] = times[-1]["seconds"] if times else 0.0
            if found and step == num_meta_steps:
                aloud(log, f"{folder} was finished before, at meta-step {step:,}: no step is taken")
            elif found:
                aloud(log, f"goes on at meta-step {step:,}, from {folder}")
        if events:
            events(kept)
        return state

    def record(line: Record, elapsed: float) -> None:
        kept.append(line)
        seconds[0] += elapsed
        if is_main():
            lines.append(folder / METRICS, line)
            lines.append(folder / TIMES, {"step": line["step"], "seconds": round(seconds[0], 3)})
        if events:
            events([line])

    def save_state(state: TrainState, score: float | None) -> None:
        if is_main():
            lines.sync(folder / METRICS)
            lines.sync(folder / TIMES)
        save(checkpoints, state, kept[-1]["step"], score)

    return RunFiles(resume, record, save_state, log, kept)
