"""The folder of a run: it belongs to one run, and one that is no run's is left alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_meta.base import TrainState
from jax_meta.runs.checkpoints import FOLDER
from jax_meta.runs.events import EVENTS
from jax_meta.runs.failure import FAILURE, LAST_FINITE
from jax_meta.runs.identity import Identity, differences, environment, in_words, recorded, told_apart
from jax_meta.runs.records import METRICS, TIMES
from jax_meta.runs.writing import explained
from jax_meta.whole_files import write_whole

RUN, LOG = "run.json", "progress.log"
WRITTEN = (METRICS, TIMES, LOG, FOLDER, LAST_FINITE, EVENTS, FAILURE, "damaged")
"""What a run leaves beside its run.json, which it writes first."""


def check_own(folder: Path) -> None:
    """Raises ValueError for a folder that has files under the names of a run's, but of no run."""
    if (folder / RUN).exists():
        return
    found = [name for name in WRITTEN if is_something(folder / name)]
    if found:
        raise ValueError(
            f"{folder} has {', '.join(found)} and no {RUN} to tell of which run: choose another folder, or move them."
        )


def is_something(path: Path) -> bool:
    """Whether there is anything but an empty folder."""
    return path.is_symlink() or (any(path.iterdir()) if path.is_dir() else path.exists())


def fingerprint(
    name: str, state: TrainState, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What a run is in any version: the learner, its arrays, the key of its tasks, and the settings, as JSON."""
    shapes = {path: f"{array.dtype}{list(array.shape)}" for path, array in arrays.items()}
    key = np.asarray(jax.random.key_data(state.key)).tolist()
    try:
        return json.loads(json.dumps({"learner": name, "key": key, "settings": settings, "arrays": shapes}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings must be what JSON holds (dicts, lists, text, numbers): {error}.") from error


def check_run(folder: Path, run: dict[str, Any], identity: Identity, begins_at: int) -> tuple[int, list[str]]:
    """Writes run.json into a new folder; refuses one of another run.

    Returns:
        The meta-step at which the run began, and what is worth telling the user.
    """
    path, here = folder / RUN, environment()
    program = {"environment": here, "digests": identity.digests}
    if not path.exists():
        about = {"run": run, "begins_at": begins_at, "versions": here, "described": identity.described}
        write_run(folder, about | {"validation": identity.validation, "programs": [program]})
        return begins_at, []
    stored = read_run(path)
    began_at = stored.get("begins_at", begins_at)
    found = [in_words(*found) for found in differences(stored["run"], run)]
    found = found[:5] or told_apart(stored, identity, here, same_start=began_at == begins_at)
    if found:
        raise ValueError(
            f"{folder} holds another run: {'; '.join(found)}. Choose another folder, or delete that one; to go on from "
            "where it is with what is new, begin in another folder with "
            f"state = jax_meta.load_state({str(folder)!r}, state)."
        )
    going_on = stored | ({"validation": identity.validation} if identity.validation else {})
    if recorded(stored, here) is None:
        begun = {} if "programs" in stored else {"begins_at": begins_at, "described": identity.described}
        going_on |= {**begun, "programs": [*stored.get("programs", []), program]}
    if going_on != stored:
        write_run(folder, going_on)
    return began_at, [*notes(stored, here), *notes_of_validation(stored.get("validation", {}), identity.validation)]


def notes_of_validation(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is worth telling of a run that is not validated as before."""
    found = [in_words(*found) for found in differences(before, now)] if before and now else []
    if not found:
        return []
    return [
        f"is validated in another way than before: {'; '.join(found[:5])}. The training is the same; `val_` records, "
        "and the best checkpoint, are not to be compared with those before"
    ]


def notes(stored: Mapping[str, Any], here: Mapping[str, str]) -> list[str]:
    """What is worth telling of a run that goes on."""
    changed = [
        f"begun with {name} {old}, goes on with {new}: digits may differ"
        for name, (old, new) in differences(stored["versions"], here)
        if old is not None
    ]
    if "programs" not in stored:
        return [*changed, "begun by an earlier version, which kept no program: only the settings were compared"]
    if recorded(stored, here) is None:
        return [*changed, "programs cannot be compared from one version or device to another: the settings were"]
    return changed


def read_run(path: Path) -> dict[str, Any]:
    """The content of run.json; raises ValueError if it is damaged."""
    kinds = {"run": dict, "versions": dict, "begins_at": int, "described": dict, "validation": dict, "programs": list}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        wrong = [name for name, kind in kinds.items() if not isinstance(stored.get(name, kind()), kind)]
        wrong += [name for name in ("run", "versions") if name not in stored]
        wrong += ["programs" for program in stored.get("programs", []) if not is_program(program)]
        if wrong:
            raise ValueError(f"look at {wrong[0]!r}")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): choose another folder, or delete this one.") from error
    return stored


def is_program(program: Any) -> bool:
    """Whether an entry of `programs` has digests and their environment."""
    fields = ("environment", "digests")
    return isinstance(program, dict) and all(isinstance(program.get(field), dict) for field in fields)


def write_run(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes run.json, whole."""
    with explained(folder):
        write_whole(folder / RUN, (json.dumps(content, indent=2) + "\n").encode())


def check_reach(
    folder: Path, given: tuple[int, str], began_at: int, saved: Mapping[int, str | None], num_meta_steps: int
) -> None:
    """Raises ValueError where a folder's run is beyond what is asked for, or the state given is none of it.

    Args:
        folder: of the run.
        given: the meta-step and the digest of the state that is given.
        began_at: the meta-step at which the run began.
        saved: the digests of the checkpoints, by meta-step; None of one that is damaged.
        num_meta_steps: the meta-step to reach.
    """
    newest = max((step for step, known in saved.items() if known), default=began_at)
    if newest > num_meta_steps:
        raise ValueError(
            f"{folder} is at meta-step {newest}, beyond the {num_meta_steps} asked for: ask for {newest} or more, read "
            f"what was saved with jax_meta.load_state, which has meta-steps {sorted(saved)}, or choose another folder."
        )
    step, digest = given
    if step != began_at and saved.get(step) != digest:
        raise ValueError(
            f"the state is at meta-step {step}, and is not one of the run in {folder}, which began at {began_at}: give "
            "the state that it began with, as jax_meta.init makes it, or choose another folder."
        )
