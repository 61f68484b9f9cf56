"""The command `python -m jax_meta adapt`: a saved model, adapted to the examples in a file."""

import argparse
import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_meta.datasets.archives import read_arrays
from jax_meta.label_checks import check_every_class, out_of_range
from jax_meta.saved.files import LoadedModel, load_model
from jax_meta.saved.names import MAX_STEPS
from jax_meta.saved.settings import Settings, checked_input_shape
from jax_meta.whole_files import write_whole

DESCRIPTION = """\
Takes a model that was meta-learned on many tasks, adapts it to the few examples of a new one, and reports its loss
before and after, on those examples (support) and, where their targets are known, on others (query).

MODEL is a file written by jax_meta.save_model. DATA.npz holds arrays by name, as numpy.savez writes them:

  support_inputs   [examples, ...]  the examples to adapt to, prepared as in meta-training
  support_targets  [examples, ...]  their values; for a classifier integer labels [examples], from 0
  query_inputs     [queries, ...]   what to predict
  query_targets    [queries, ...]   optional: what the predictions are compared with
"""
EPILOG = """\
example:
  python -c "import numpy as np; x = np.linspace(-5, 5, 10)[:, None]; np.savez('task.npz', support_inputs=x, \\
      support_targets=np.sin(x), query_inputs=x + 0.5)"
  python -m jax_meta adapt sines.safetensors task.npz --steps 10 --output predictions.npz
"""
REQUIRED = ("support_inputs", "support_targets", "query_inputs")
OPTIONAL = ("query_targets",)


def register_adapt(subparsers: Any) -> None:
    """Adds the subcommand `adapt`."""
    parser = subparsers.add_parser(
        "adapt",
        help="adapt a saved model to a few examples, and predict",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model, a safetensors file")
    parser.add_argument("data", type=Path, metavar="DATA.npz", help="the examples and the queries")
    parser.add_argument("--steps", type=step_count, metavar="N", help="inner steps; default: those of meta-training")
    parser.add_argument(
        "--output",
        type=npz_path,
        metavar="FILE.npz",
        help="where to write predictions, the model's outputs for the queries [queries, ...], and for a classifier "
        "labels [queries]; default: they are not written",
    )
    parser.set_defaults(run=adapt)


def step_count(text: str) -> int:
    """The number of inner steps on the command line."""
    if not text.isdecimal() or int(text[:9]) > MAX_STEPS or len(text) > 9:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to {MAX_STEPS}, got {text!r}")
    return int(text)


def npz_path(text: str) -> Path:
    """The file for predictions on the command line."""
    if Path(text).suffix != ".npz":
        raise argparse.ArgumentTypeError(f"must end in .npz, which is what is written, got {text!r}")
    return Path(text)


def adapt(options: argparse.Namespace) -> None:
    """The subcommand `adapt`: loads, adapts, reports, and writes the predictions."""
    loaded = load_model(options.model)
    task = read_task(options.data)
    steps = loaded.settings["learner"].get("num_steps", 0) if options.steps is None else options.steps
    try:
        task = {name: as_computed(name, array) for name, array in task.items()}
        check_task(task, loaded)
        predictions, before, after = adapt_and_predict(loaded, task, steps)
        check_finite(steps, predictions, before, after)
    except ValueError as error:
        raise ValueError(f"{options.data}: {error}") from None
    print(describe(loaded))
    print(f"{'':18}{'before':>12}{f'after {steps} step' + 's' * (steps != 1):>18}")
    for name in sorted(before, key=lambda name: name.startswith("query")):  # support first; jit sorts by name
        print(f"{name:18}{before[name]:12.4g}{after[name]:18.4g}")
    if options.output is not None:
        write_predictions(options.output, predictions, loaded.settings["loss"])
        print(f"{options.output} holds the predictions, [{', '.join(map(str, predictions.shape))}].")


def adapt_and_predict(
    loaded: LoadedModel, task: dict[str, np.ndarray], steps: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Predictions for the queries, and the metrics of support and query before and after adaptation, by name."""
    key = jax.random.key(0)

    def metrics(params, task):
        batches = {name: (task[f"{name}_inputs"], task[f"{name}_targets"]) for name in sets_with_targets(task)}
        of_sets = {name: loaded.loss_fn(params, batch, key)[1] for name, batch in batches.items()}
        return {f"{name} {metric}": value for name, of_set in of_sets.items() for metric, value in of_set.items()}

    @jax.jit
    def run(meta_params, task):
        support = (task["support_inputs"], task["support_targets"])
        before, after = (loaded.learner.adapt(meta_params, support, key, num_steps=count) for count in (0, steps))
        return loaded.apply(after, task["query_inputs"]), metrics(before, task), metrics(after, task)

    return jax.tree.map(np.asarray, run(loaded.meta_params, task))


def sets_with_targets(task: Iterable[str]) -> list[str]:
    """The sets that a loss can be computed of: support, and query if its targets are given."""
    return [name for name in ("support", "query") if f"{name}_targets" in task]


def read_task(path: Path, *, required: tuple[str, ...] = REQUIRED) -> dict[str, np.ndarray]:
    """The arrays of a task; raises ValueError unless the file holds arrays of numbers under the names needed."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: write it with numpy.savez, see adapt --help.")
    try:
        with zipfile.ZipFile(path) as file:
            present = {name.removesuffix(".npy") for name in file.namelist()}
        names = [name for name in (*REQUIRED, *OPTIONAL) if name in present]
        task = dict(zip(names, read_arrays(path, names), strict=True))
    except Exception as error:
        raise ValueError(f"{path} is no npz file of plain arrays: write it with numpy.savez.") from error
    for name in required:
        if name not in task:
            raise ValueError(f"{path} has no array {name!r}: it needs {', '.join(required)}.")
    return task


def as_computed(name: str, array: np.ndarray) -> np.ndarray:
    """The array as JAX takes it, in 32 bits; raises ValueError where that, or the array, is not of finite numbers."""
    try:
        dtype = jnp.asarray(np.empty(0, array.dtype)).dtype
    except TypeError:
        dtype = None
    if dtype is None or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers: remove text, NaN and infinities.")
    with np.errstate(over="ignore"):
        computed = array.astype(dtype)
    if not (np.isfinite(computed).all() if dtype.kind == "f" else np.array_equal(computed, array)):
        raise ValueError(f"{name} has numbers that {dtype} cannot hold: scale them as in meta-training.")
    return computed


def check_finite(steps: int, *found: Any) -> None:
    """Raises ValueError where something that was computed is NaN or infinite."""
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(found)):
        raise ValueError(
            f"what the model makes of it, with {steps} inner steps, is not finite: scale inputs and targets as in "
            "meta-training, or take fewer --steps."
        )


def check_task(task: dict[str, np.ndarray], loaded: LoadedModel) -> None:
    """Raises ValueError for arrays that the model cannot take; the loss itself checks the shape of the targets."""
    shape = checked_input_shape(loaded.settings) or ()
    for name, array in task.items():
        if array.size == 0 or array.ndim == 0:
            raise ValueError(f"{name} is {list(array.shape)}, without examples: its first axis counts them.")
        if name.endswith("_inputs") and array.shape[1:] != shape:
            wanted = f"[{', '.join(map(str, ('examples', *shape)))}]"
            raise ValueError(
                f"{name} is {list(array.shape)} and the model takes {wanted}: {remedy(array.shape, shape)}."
            )
    for name in sets_with_targets(task):
        inputs, targets = task[f"{name}_inputs"], task[f"{name}_targets"]
        if len(targets) != len(inputs):
            raise ValueError(f"{name} has {len(inputs)} inputs and {len(targets)} targets: give one for each input.")
        if loaded.settings["loss"] == "classification":
            check_targets(f"{name}_targets", targets, loaded.settings["model"])
    if loaded.settings["learner"]["name"] in ("protonet", "proto_maml"):
        check_every_class(task["support_targets"], loaded.settings["learner"]["ways"])


def remedy(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What makes inputs of one shape those of another: channels are moved, since a reshape would scramble images."""
    if len(shape) == 3 and given[1:] == (shape[2], *shape[:2]):
        return "move the channels last with numpy.moveaxis(array, 1, -1)"
    if math.prod(given[1:]) == math.prod(shape):
        return "bring its axes into that order with numpy.moveaxis, or reshape it where they are only joined or split"
    return "give it inputs of that shape"


def check_targets(name: str, labels: np.ndarray, model: Settings) -> None:
    """Raises ValueError for labels that the model has no output for, of which the loss would make NaN."""
    ways = model.get("ways") or model.get("outputs") or 1
    if found := out_of_range(labels, ways):
        raise ValueError(f"{name} must be labels from 0 to {ways - 1}, got {found[0]} to {found[1]}.")


def describe(loaded: LoadedModel) -> str:
    """What the file holds, in one line."""
    parts = {name: loaded.settings[name] for name in ("model", "learner", "optimizer") if loaded.settings[name]}
    return f"{loaded.settings['loss']}: {', '.join(map(in_words, parts.values()))}"


def in_words(part: Settings) -> str:
    """A name with its settings, as it would be called."""
    if part["name"] == "chain":
        return f"chain({', '.join(map(in_words, part['transforms']))})"
    keywords = ", ".join(f"{key}={value}" for key, value in part.items() if key != "name")
    return f"{part['name']}({keywords})"


def write_predictions(path: Path, predictions: np.ndarray, loss: str) -> None:
    """Writes the predictions as an npz file, for a classifier with the labels."""
    labels = {"labels": predictions.argmax(axis=-1)} if loss == "classification" else {}
    content = io.BytesIO()
    np.savez(content, predictions=predictions, **labels)
    write_whole(path, content.getvalue())
