"""What determines a run's numbers: the program of its meta-step, its constants, its data and its first state."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jax_meta.base import MetaLearner, Metrics, Sampler, TrainState
from jax_meta.host.sources import HostTasks
from jax_meta.meta_step import next_tasks, train_step
from jax_meta.runs.described import described
from jax_meta.runs.processor import processor
from jax_meta.runs.program import Seen, array_digest, constants_of, program_digest, shorten

PACKAGES = ("jax-metalearn", "jax", "jaxlib", "optax", "flax", "numpy")
PARTITIONABLE = "jax_threefry_partitionable"
"""The option of JAX by which the same keys draw other numbers, which is in no program."""
PRECISION = "jax_default_matmul_precision"
"""The option of JAX that is in the program of every matrix product, under a name of its own."""
PARTS = {
    "meta_step": "the program of its meta-step",
    "constants": "an array that its functions hold",
    "sampler": "an array of its sampler",
    "start": "the state that it begins with",
    "partitionable": PARTITIONABLE,
}
"""Of a digest, in words."""


class Identity(NamedTuple):
    """What a run is told apart by.

    Attributes:
        digests: equal, with one version of the libraries and on one kind of device, for runs of the same numbers alone.
        described: the numbers and names in its functions, from which a refusal takes its words.
        validation: those of `validate`, which changes no number of the training; none without one.
    """

    digests: dict[str, Any]
    described: dict[str, Any]
    validation: dict[str, Any]


Identify = Callable[[Mapping[str, np.ndarray]], Identity]
"""From the arrays of the first state, by name."""


@partial(jax.jit, static_argnums=(0, 1, 2))
def first_task_step(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    num_tasks: int,
    sample_tasks: Sampler,
    state: TrainState,
) -> tuple[TrainState, Metrics]:
    """A meta-step on the first task of its batch: it has all that a run's numbers depend on, and is soon traced."""
    tasks = next_tasks(sample_tasks, state, num_tasks=num_tasks)
    return train_step(learner, optimizer, state, jax.tree.map(lambda leaf: leaf[:1], tasks))


def trace_step(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler,
    state: TrainState,
    num_tasks: int,
) -> Any:
    """The traced meta-step, as `jax.jit(...).trace` returns it; of many networks, that of each."""
    sample_tasks, state = jax.eval_shape(lambda tree: tree, (sample_tasks, state))
    if state.step.ndim:
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
    with jax.disable_jit(False):
        return first_task_step.trace(learner, optimizer, num_tasks, sample_tasks, state)


def identify(
    traced: Any | None,
    functions: Mapping[str, Any],
    validate: Callable[..., Any] | None,
    sample_tasks: Sampler | HostTasks,
    arrays: Mapping[str, np.ndarray],
) -> Identity:
    """The identity of a run.

    Args:
        traced: of `trace_step`; None for a `fit` of the user's own, which is not called to look at it: then what is
            described takes its place.
        functions: the learner's, the optimizer's and the sampler, by name.
        validate: the function of the parameters by which the run is judged, if there is one.
        sample_tasks: the sampler, whose arrays are leaves of it if it is a `jax.tree_util.Partial`.
        arrays: of the first state, by name.
    """
    seen: Seen = {}
    program = None if traced is None else program_digest(traced.jaxpr, seen)
    constants = constants_of(seen)
    words = described(functions, seen)
    if (precision := getattr(jax.config, PRECISION, None)) is not None:
        words[PRECISION] = precision
    leaves = jax.tree.leaves_with_path(sample_tasks) if isinstance(sample_tasks, jax.tree_util.Partial) else []
    digests = {
        "meta_step": program or shorten(json.dumps(words)),
        "constants": constants,
        "sampler": {jax.tree_util.keystr(path): array_digest(leaf, seen) for path, leaf in leaves},
        "start": {name: array_digest(array, seen) for name, array in arrays.items()},
        "partitionable": bool(getattr(jax.config, PARTITIONABLE, True)),
    }
    validation = {} if validate is None else described({"validate": validate}, {})
    return Identity(*(json.loads(json.dumps(part)) for part in (digests, words, validation)))


def environment() -> dict[str, str]:
    """Of what digits may depend on: the versions and the device."""
    return {**{package: version(package) for package in PACKAGES}, "device": device()}


def device() -> str:
    """The kind of the devices; of processors the model and its widest vector instructions, which make digits differ."""
    kind = jax.devices()[0].device_kind
    if jax.default_backend() != "cpu":
        return kind
    told = processor()
    return " ".join([kind, *[told[part] for part in ("name", "vector_instructions") if part in told]])


def told_apart(stored: Mapping[str, Any], given: Identity, here: Mapping[str, str], same_start: bool) -> list[str]:
    """How a run differs from the stored one, in words; empty where it is the same, or as far as can be told.

    Digests are compared with those of the same versions and device. Where there are none, the described numbers and
    names that both have decide.

    Args:
        stored: what run.json holds.
        given: the run that is about to begin.
        here: the environment.
        same_start: whether the run begins with its first state, and not with one that it reached.
    """
    before = stored.get("described", {})
    digests = recorded(stored, here)
    if digests is None:
        shared = [name for name in given.described if name in before]
        found = differences({name: before[name] for name in shared}, {name: given.described[name] for name in shared})
        return [in_words(*found) for found in found if not found[0].endswith(".digest")]
    differing = [part for part in PARTS if digests.get(part) != given.digests[part] and (same_start or part != "start")]
    if not differing:
        return []
    words = [in_words(*found) for found in differences(before, given.described)]
    others = [part for part in differing if part != "meta_step"]
    return words[:5] + [f"{PARTS[part]} differs" for part in (others if words or others else differing)]


def in_words(name: str, values: tuple[Any, Any]) -> str:
    """A difference, as it is told."""
    return f"{name} is {values[0]} there and {values[1]} here"


def recorded(stored: Mapping[str, Any], here: Mapping[str, str]) -> dict[str, Any] | None:
    """The digests that were recorded in this environment, if there are any."""
    return next((program["digests"] for program in stored.get("programs", []) if program["environment"] == here), None)


def differences(stored: Any, given: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The entries that two trees of dicts disagree about, by their path."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in dict.fromkeys([*stored, *given]):
            path = f"{name}.{key}" if name else key
            yield from differences(stored.get(key), given.get(key), path)
    elif stored != given:
        yield name, (stored, given)
