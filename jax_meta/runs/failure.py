"""Numbers that are not finite: which meta-step made them, the last state before it, and how to draw its tasks again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_meta.base import Metrics, Params, TrainState
from jax_meta.checks import IN_TASKS, check_choice
from jax_meta.runs.arrays import step_of
from jax_meta.runs.checkpoints import open_checkpoints, save
from jax_meta.runs.processes import is_main
from jax_meta.runs.writing import explained
from jax_meta.whole_files import write_whole

POLICIES = ("stop", "skip")
LAST_FINITE, FAILURE = "last_finite", "failure.json"
Advance = Callable[[TrainState, int], tuple[TrainState, Metrics]]


def check_policy(non_finite: str, state: TrainState) -> None:
    """Raises ValueError for an unknown policy, and for `skip` without an optimizer that can skip."""
    check_choice("non_finite", non_finite, POLICIES)
    if non_finite == "skip" and skipped(state) is None:
        raise ValueError(
            'non_finite="skip" needs an outer optimizer that leaves such updates out: '
            "optax.apply_if_finite(optimizer, max_consecutive_errors=10)."
        )


def skipped(state: TrainState) -> int | None:
    """The updates that `optax.apply_if_finite` has left out so far; None without it."""
    counts = [
        leaf.total_notfinite
        for leaf in jax.tree.leaves(state.opt_state, is_leaf=lambda node: isinstance(node, optax.ApplyIfFiniteState))
        if isinstance(leaf, optax.ApplyIfFiniteState)
    ]
    return int(np.sum([np.asarray(count) for count in counts])) if counts else None


@jax.jit
def all_finite(params: Params) -> jax.Array:
    """Whether all parameters are finite."""
    leaves = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all() if leaves else jnp.array(True)


def is_finite(state: TrainState, history: Metrics, non_finite: str) -> bool:
    """Whether a run may go on from this state; under `skip` the metrics of what was left out do not count."""
    metrics_finite = non_finite == "skip" or all(np.isfinite(np.asarray(values)).all() for values in history.values())
    return metrics_finite and bool(all_finite(state.params))


def find_failure(
    advance: Advance, state: TrainState, num_meta_steps: int, non_finite: str
) -> tuple[TrainState, Metrics]:
    """Takes the steps again one by one: the state before the first that fails, and what that step gave."""
    start = state
    history: Metrics = {}
    for _ in range(num_meta_steps):
        following, history = advance(state, 1)
        if not is_finite(following, history, non_finite):
            return state, history
        state = following
    return start, history


def first_failure(history: Metrics) -> int:
    """The place of the first metric that is not finite; of the last where all are, since the update is not."""
    bad = [~np.isfinite(np.asarray(values)) for values in history.values()]
    failed = [int(np.argmax(values.reshape(-1, values.shape[-1]).any(axis=0))) for values in bad if values.any()]
    return min(failed, default=bad[0].shape[-1] - 1 if bad else 0)


def stop(
    name: str, state: TrainState, history: Metrics, folder: Path | None, num_tasks: int, *, again: bool = True
) -> FloatingPointError:
    """Saves the last finite state, and returns the error that says what happened and how to see it again.

    `state` is that before the steps of `history`: before the one that failed if its tasks can be drawn `again`.
    """
    step = step_of(state)
    failed = step + first_failure(history)
    bad = [metric for metric, values in history.items() if not np.isfinite(np.asarray(values)).all()]
    what = f"{', '.join(bad)} of {name}" if bad else f"the update of {name}"
    message = f"{what} is not finite at meta-step {failed}."
    place = "the state before it"
    if folder is not None:
        key = np.asarray(jax.random.key_data(state.key)).tolist()
        told = {"step": failed, "learner": name, "not_finite": bad or ["update"], "key": key, "num_tasks": num_tasks}
        try:
            keep_last_finite(folder, state, step, told)
        except OSError as error:
            message += f" The last finite state is not saved: {error}"
        else:
            message += f" The last finite state is in {folder / LAST_FINITE}."
            place = f"state = jax_meta.load_state({str(folder / LAST_FINITE)!r}, state)"
    if np.ndim(state.step):
        place += f"; state = jax.tree.map(lambda leaf: leaf[{seed_of(history, bad)}], state)"
    look = (
        f"To see it again: {place}; tasks = jax_meta.next_tasks(sample_tasks, state, num_tasks={num_tasks}); "
        "jax_meta.train_step(learner, optimizer, state, tasks)."
    )
    if not again:
        look = f"That is the state of meta-step {step}: the tasks after it came from an iterable, once."
    return FloatingPointError(
        f"{message} {look} Remedies: look in the tasks for {IN_TASKS}; a lower inner or outer learning rate, "
        'optax.clip_by_global_norm, or non_finite="skip" with optax.apply_if_finite.'
    )


def keep_last_finite(folder: Path, state: TrainState, step: int, told: dict[str, Any]) -> None:
    """Saves the state, and what is told of the failure."""
    with open_checkpoints(folder / LAST_FINITE, keep=1) as checkpoints:
        if step not in checkpoints.manager.all_steps():
            save(checkpoints, state, step)
    if is_main():
        with explained(folder):
            write_whole(folder / FAILURE, (json.dumps(told, indent=2) + "\n").encode())


def seed_of(history: Metrics, bad: list[str]) -> int:
    """Of many networks, the first whose metrics are not finite; the first of all where only its update is not."""
    wrong = [~np.isfinite(np.asarray(history[metric])).reshape(len(history[metric]), -1) for metric in bad]
    return int(np.argmax(np.any([seeds.any(axis=1) for seeds in wrong], axis=0))) if wrong else 0
