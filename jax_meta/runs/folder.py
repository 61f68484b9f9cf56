"""The folder of a run: it belongs to one run and, while that works, to one process."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_meta.base import TrainState
from jax_meta.runs.checkpoints import FOLDER, to_arrays
from jax_meta.whole_files import write_whole

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

RUN = "run.json"
PACKAGES = ("jax-metalearn", "jax", "jaxlib", "optax", "numpy")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the lock goes with the process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise OSError(f"{folder} cannot be written: {error.strerror}. Choose another folder.") from error
    with file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise OSError(
                    f"{folder} is in use by process {file.read().strip() or 'of another machine'}: "
                    "wait for it, stop it, or choose another folder."
                ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def fingerprint(name: str, state: TrainState, settings: dict[str, Any]) -> dict[str, Any]:
    """What makes a run this run, as JSON holds it: the learner, its arrays, the key of its tasks, and the settings."""
    arrays = {name: f"{array.dtype}{list(array.shape)}" for name, array in to_arrays(state).items()}
    key = np.asarray(jax.random.key_data(state.key)).tolist()
    try:
        return json.loads(json.dumps({"learner": name, "key": key, "settings": settings, "arrays": arrays}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings must be what JSON holds (dicts, lists, text, numbers): {error}.") from error


def versions() -> dict[str, str]:
    """Of what the numbers may depend on."""
    return {package: version(package) for package in PACKAGES}


def check_run(folder: Path, run: dict[str, Any]) -> list[str]:
    """Writes run.json into a new folder; refuses one of another run. Returns what is worth telling the user."""
    path = folder / RUN
    if not path.exists():
        if (folder / FOLDER).exists() and any((folder / FOLDER).iterdir()):
            raise ValueError(f"{folder} has checkpoints and no {RUN} to tell of which run: choose another folder.")
        write_whole(path, (json.dumps({"run": run, "versions": versions()}, indent=2) + "\n").encode())
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        found = dict(differences(stored["run"], run))
        changed = dict(differences(stored["versions"], versions()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): choose another folder, or delete this one.") from error
    if found:
        shown = "; ".join(
            f"{name} is {theirs} there and {ours} here" for name, (theirs, ours) in list(found.items())[:5]
        )
        raise ValueError(f"{folder} holds another run: {shown}. Choose another folder, or delete that one.")
    return [f"begun with {name} {old}, goes on with {new}: digits may differ" for name, (old, new) in changed.items()]


def differences(stored: Any, given: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The entries that two trees of dicts disagree about, by their path."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in dict.fromkeys([*stored, *given]):
            path = f"{name}.{key}" if name else key
            yield from differences(stored.get(key), given.get(key), path)
    elif stored != given:
        yield name, (stored, given)
