"""Checkpoints by Orbax: a state as named arrays, with a digest by which damage shows."""

import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jax_meta.base import TrainState
from jax_meta.runs.arrays import check_like, digest, from_arrays, to_arrays
from jax_meta.runs.processes import agreed
from jax_meta.runs.writing import explained, reason

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

FOLDER = "checkpoints"
ITEMS = ("state", "about")
Score = Callable[[Mapping[str, float]], float]


def accuracy_or_loss(metrics: Mapping[str, float]) -> float:
    """The accuracy of a validation, or, where there is none, minus its loss: the larger the better; else NaN."""
    return metrics["accuracy"] if "accuracy" in metrics else -metrics.get("loss", math.nan)


class Checkpoints(NamedTuple):
    """The checkpoints of a run.

    Attributes:
        manager: Orbax's.
        scores: of the validations, by meta-step: the best checkpoint is kept.
        digests: of the states that were there when they were opened, by meta-step; None of a damaged one.
        folder: of the run.
    """

    manager: "CheckpointManager"
    scores: dict[int, float]
    digests: dict[int, str | None]
    folder: Path


class KeepBest(NamedTuple):
    """Orbax's policy: keeps the step with the highest score."""

    scores: dict[int, float]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer for each checkpoint."""
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = best_step({step: self.scores[step] for step in steps if step in self.scores})
        return [step == best for step in steps]


def best_step(scores: Mapping[int, float]) -> int | None:
    """The step with the highest score, of equal ones the newest; None where there is none."""
    return max(scores, key=lambda step: (scores[step], step), default=None)


@contextmanager
def open_checkpoints(folder: Path, *, keep: int) -> Iterator[Checkpoints]:
    """The checkpoints of a run's folder, of which the newest `keep` and the best stay; waits for those under way."""
    import orbax.checkpoint as ocp  # takes two seconds, which `import jax_meta` should not

    scores: dict[int, float] = {}
    policies = ocp.checkpoint_managers
    policy = policies.AnyPreservationPolicy([policies.LatestN(keep), KeepBest(scores)])
    options = ocp.CheckpointManagerOptions(preservation_policy=policy)
    with explained(folder):
        manager = ocp.CheckpointManager((folder / FOLDER).absolute(), options=options, item_names=ITEMS)
    try:
        yield described_checkpoints(folder, manager, scores)
    except BaseException as error:
        try:
            manager.close()
        except Exception as later:  # of a save in the background: what came first is what to tell
            error.add_note(f"and the newest checkpoint is not saved: {reason(later)}")
        raise
    with explained(folder):
        manager.wait_until_finished()
        manager.close()


def described_checkpoints(folder: Path, manager: "CheckpointManager", scores: dict[int, float]) -> Checkpoints:
    """The checkpoints, with what was saved about each."""
    about = {step: read_about(manager, step) for step in manager.all_steps()}
    scores.update({step: told["score"] for step, told in about.items() if isinstance(told.get("score"), float)})
    return Checkpoints(manager, scores, {step: told.get("digest") for step, told in about.items()}, folder)


def read_about(manager: "CheckpointManager", step: int) -> dict[str, Any]:
    """What was saved about a checkpoint; empty if it is damaged."""
    import orbax.checkpoint as ocp

    try:
        about = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
    except Exception:  # Orbax and TensorStore raise whatever the damage leads to
        return {}
    return about if isinstance(about, dict) else {}


def remove_unfinished(folder: Path) -> None:
    """Removes what saves that were cut off have left, and would take up space for good."""
    for unfinished in (folder / FOLDER).glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def save(checkpoints: Checkpoints, state: TrainState, step: int, score: float | None = None) -> None:
    """Starts to save in the background, with the score of a validation; an error of the save before is raised here."""
    import orbax.checkpoint as ocp

    arrays = to_arrays(state)
    about: dict[str, Any] = {"step": step, "digest": digest(arrays)}
    if score is not None and math.isfinite(score):
        checkpoints.scores[step] = about["score"] = float(score)
    items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about))
    with explained(checkpoints.folder):
        checkpoints.manager.save(step, args=items)


def restore(manager: "CheckpointManager", like: TrainState, step: int) -> TrainState:
    """The state of a checkpoint, placed as `like` is; raises ValueError if it is damaged, or of another model."""
    arrays = read(manager, step)
    check_like(arrays, like, step)
    return from_arrays(like, arrays)


def read(manager: "CheckpointManager", step: int) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name; raises ValueError if it is damaged."""
    import orbax.checkpoint as ocp

    items = ocp.args.Composite(state=ocp.args.StandardRestore(), about=ocp.args.JsonRestore())
    try:
        found = manager.restore(step, args=items)
        arrays, told = found["state"], found["about"]
        is_whole = (step, digest(arrays)) == (told["step"], told["digest"])
    except Exception as error:  # as above
        raise ValueError(f"the checkpoint of meta-step {step} cannot be read ({reason(error)}).") from error
    if not is_whole:
        raise ValueError(f"the checkpoint of meta-step {step} is not what was saved: its digest differs.")
    return arrays


def restore_newest(checkpoints: Checkpoints, like: TrainState, folder: Path) -> tuple[TrainState, int] | None:
    """The newest checkpoint that is whole, with its meta-step; None where there never was one.

    Damaged ones are moved out of the way.
    """
    manager = checkpoints.manager
    steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        try:
            found = restore(manager, like, step)
        except ValueError as error:
            warnings.warn(f"{error} Going back to the one before.", stacklevel=2)
            continue
        for damaged in (later for later in steps if later > step):
            checkpoints.scores.pop(damaged, None)
            set_aside(folder, damaged)
        agreed(0.0)  # no process looks again before all is in its place
        manager.reload()
        return found, step
    if steps:
        raise OSError(
            f"no checkpoint in {folder / FOLDER} can be read: get the folder back from a copy, or delete it to begin "
            "anew."
        )
    return None


def set_aside(folder: Path, step: int) -> None:
    """Moves a damaged checkpoint to the folder `damaged`."""
    if jax.process_index() == 0:
        (folder / "damaged").mkdir(exist_ok=True)
        target = folder / "damaged" / str(step)
        shutil.rmtree(target, ignore_errors=True)
        (folder / FOLDER / str(step)).rename(target)
