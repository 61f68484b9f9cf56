"""All that a run reads and writes while it works, as three functions, so that the loop need not know of files."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jax_meta.base import TrainState
from jax_meta.runs import records as lines
from jax_meta.runs.checkpoints import Checkpoints, open_checkpoints, restore_newest, save
from jax_meta.runs.events import event_writer
from jax_meta.runs.folder import check_run, fingerprint, locked
from jax_meta.runs.processes import is_main, refused_together
from jax_meta.runs.records import METRICS, TIMES, Record


class RunFiles(NamedTuple):
    """What a run does with its folder, or, without one, in memory.

    Attributes:
        resume: `(state) -> state`, of the newest checkpoint if there is one.
        record: `(record, seconds)`, keeps a record and the time that it took.
        save: `(state, score)`, starts a checkpoint in the background; the score is that of a validation, or None.
        records: those kept so far.
    """

    resume: Callable[[TrainState], TrainState]
    record: Callable[[Record, float], None]
    save: Callable[[TrainState, float | None], None]
    records: list[Record]


@contextmanager
def open_files(
    folder: str | Path | None,
    name: str,
    state: TrainState,
    settings: dict[str, Any],
    keep: int,
    tensorboard: bool,
) -> Iterator[RunFiles]:
    """Checks and holds the folder for as long as the run works; waits for the last checkpoint before it lets go."""
    if folder is None:
        kept: list[Record] = []
        yield RunFiles(lambda state: state, lambda record, seconds: kept.append(record), lambda *_: None, kept)
        return
    folder = Path(folder)
    with ExitStack() as stack:
        with refused_together():
            run = fingerprint(name, state, settings)
            if is_main():
                stack.enter_context(locked(folder))
                for note in check_run(folder, run):
                    print(f"{folder}: {note}")
        with explained(folder):
            checkpoints = stack.enter_context(open_checkpoints(folder, keep=keep))
        events = None
        if tensorboard and is_main():
            events = stack.enter_context(event_writer(folder / "tensorboard"))
        yield in_folder(folder, checkpoints, events)
        with explained(folder):
            checkpoints.manager.wait_until_finished()


def in_folder(folder: Path, checkpoints: Checkpoints, events: Callable[..., None] | None) -> RunFiles:
    """The three functions, for the main process of a folder that is held; other processes only take part in saving."""
    kept: list[Record] = []
    seconds = [0.0]

    def resume(state: TrainState) -> TrainState:
        found = restore_newest(checkpoints, state, folder)
        state, step = found or (state, 0)
        if is_main():
            kept.extend(lines.cut_back(folder / METRICS, step))
            times = lines.cut_back(folder / TIMES, step)
            seconds[0] = times[-1]["seconds"] if times else 0.0
            if found:
                print(f"goes on at meta-step {step}, from {folder}", flush=True)
        if events:
            events(kept)
        return state

    def record(line: Record, elapsed: float) -> None:
        kept.append(line)
        seconds[0] += elapsed
        if is_main():
            with explained(folder):
                lines.append(folder / METRICS, line)
                lines.append(folder / TIMES, {"step": line["step"], "seconds": round(seconds[0], 3)})
        if events:
            events([line])

    def save_state(state: TrainState, score: float | None) -> None:
        with explained(folder):
            if is_main():
                lines.sync(folder / METRICS)
                lines.sync(folder / TIMES)
            save(checkpoints, state, kept[-1]["step"], score)

    return RunFiles(resume, record, save_state, kept)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Adds to an error of the file system what it means for the run."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written: {error.strerror or error}. What was saved before is whole: once there is "
            "space, or permission, the same call goes on from it."
        ) from error
