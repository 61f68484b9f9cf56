"""Checkpoints by Orbax: a state as named arrays, with a digest by which damage shows."""

import math
import os
import shutil
import time
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
ATTEMPTS = 20
"""To read a checkpoint, while a run deletes old ones and saves new ones."""
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


@contextmanager
def read_checkpoints(folder: Path) -> Iterator[Checkpoints]:
    """The checkpoints of a folder for one who only reads them, also while a run saves there."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(create=False)
    with ocp.CheckpointManager((folder / FOLDER).absolute(), options=options, item_names=ITEMS) as manager:
        yield described_checkpoints(folder, manager, {})


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


def load_state(folder: str | Path, like: TrainState, *, step: int | None = None, best: bool = False) -> TrainState:
    """A state that `jax_meta.train` saved, also while it is at work.

    Args:
        folder: of the run.
        like: a state of the same names, shapes and dtypes, as `jax_meta.init` makes it.
        step: which checkpoint, by its meta-step. Default: the newest.
        best: take the one with the best validation instead. Default: False.

    Returns:
        The state, on the devices of `like`.

    Raises:
        FileNotFoundError: if there is no such checkpoint, naming those that there are.
        ValueError: if it is damaged, or of another model or optimizer, naming what differs.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax, tempfile
        >>> from jax_meta.tasks import sinusoid
        >>> learner = jax_meta.fomaml(jax_meta.regression(lambda a, x: a * jnp.sin(x)), optax.sgd(0.1), num_steps=1)
        >>> start = jax_meta.init(learner, optax.sgd(0.1), jnp.zeros(()), jax.random.key(0))
        >>> options = {"folder": tempfile.mkdtemp(), "report": lambda progress: None}
        >>> state, _ = jax_meta.train(
        ...     learner, optax.sgd(0.1), sinusoid.sample_tasks, start, num_meta_steps=2, **options
        ... )
        >>> assert jax_meta.load_state(options["folder"], start).params == state.params
    """
    folder = Path(folder)
    if not (folder / FOLDER).is_dir():
        raise FileNotFoundError(f"{folder} has no checkpoints: give the folder of a run of jax_meta.train.")
    for attempt in range(ATTEMPTS):
        before = listed(folder)
        try:
            with read_checkpoints(folder) as checkpoints:
                found = choose(checkpoints, step, best)
                arrays = read(checkpoints.manager, found)
            break
        except (ValueError, OSError):  # a run that saves may have deleted it meanwhile: then look again
            time.sleep(0.1)
            if attempt == ATTEMPTS - 1 or listed(folder) == before:
                raise
    check_like(arrays, like, found)
    return from_arrays(like, arrays)


def choose(checkpoints: Checkpoints, step: int | None, best: bool) -> int:
    """The meta-step asked for, else the best, else the newest; raises FileNotFoundError where there is none."""
    folder, steps = checkpoints.folder, sorted(checkpoints.digests)
    if best and not checkpoints.scores:
        raise FileNotFoundError(f"no checkpoint in {folder} has a validation: give jax_meta.train a `validate`.")
    if step is None and steps:
        step = best_step(checkpoints.scores) if best else steps[-1]
    if step is None or step not in steps:
        raise FileNotFoundError(f"{folder} has no checkpoint of meta-step {step}, but of {steps}.")
    return step


def listed(folder: Path) -> list[str]:
    """The files and folders of a folder's checkpoints, as they are now; those that are being written left out."""
    found = []
    for place, folders, files in os.walk(folder / FOLDER):
        folders[:] = [name for name in folders if "orbax-checkpoint-tmp" not in name]
        found += [os.path.join(place, name) for name in (*folders, *files)]
    return sorted(found)
