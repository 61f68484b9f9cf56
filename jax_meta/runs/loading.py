"""A saved state, read back: also while a run is at work in its folder."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jax_meta.base import TrainState
from jax_meta.runs.arrays import check_like, from_arrays
from jax_meta.runs.checkpoints import FOLDER, ITEMS, Checkpoints, best_step, described_checkpoints, read

ATTEMPTS = 20
"""To read a checkpoint, while a run deletes old ones and saves new ones."""


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


@contextmanager
def read_checkpoints(folder: Path) -> Iterator[Checkpoints]:
    """The checkpoints of a folder for one who only reads them, also while a run saves there."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(create=False)
    with ocp.CheckpointManager((folder / FOLDER).absolute(), options=options, item_names=ITEMS) as manager:
        yield described_checkpoints(folder, manager, {})
