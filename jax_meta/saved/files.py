"""Model files: meta-learned parameters and what they were learned with, in one safetensors file.

Each array is a tensor under its path in the parameters, such as `params.Dense_0.kernel`; the settings are one text in
JSON, under `jax_meta` in the metadata. Any reader of safetensors reads both, and no part of a file is a program.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.losses import Apply
from jax_meta.saved.names import LOSSES, shown
from jax_meta.saved.settings import (
    FORMAT,
    Settings,
    build_learner,
    build_loss,
    build_model,
    check_instance,
    describe_model,
    describe_optimizer,
    named,
    parse,
    plain,
)
from jax_meta.saved.tensors import names, read_shapes, structure, to_arrays
from jax_meta.whole_files import write_whole


class LoadedModel(NamedTuple):
    """What a model file holds, ready for use.

    Attributes:
        meta_params: the meta-parameters, of the structure and dtypes that were saved.
        apply: `(params, inputs) -> outputs`.
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        learner: the `MetaLearner`; `learner.adapt(meta_params, support, key)` gives the parameters for `apply`.
        settings: all that the file says about these, as plain data.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, tempfile
        >>> model, path = jax_meta.models.MLP(hidden=(4,)), f"{tempfile.mkdtemp()}/sines.safetensors"
        >>> params = model.init(jax.random.key(0), jnp.zeros((1, 1)))
        >>> settings = {"loss": "regression", "optimizer": ("sgd", {"learning_rate": 0.01})}
        >>> jax_meta.save_model(path, params, model=model, input_shape=(1,), learner="maml", num_steps=3, **settings)
        >>> loaded = jax_meta.load_model(path)
        >>> assert loaded.settings["learner"] == {"name": "maml", "num_steps": 3}
    """

    meta_params: Params
    apply: Apply
    loss_fn: LossFn
    learner: MetaLearner
    settings: Settings


def save_model(
    path: str | os.PathLike,
    meta_params: Params,
    *,
    model: nn.Module | None,
    input_shape: tuple[int, ...] | None,
    loss: str | None,
    learner: str,
    num_steps: int | None = None,
    optimizer: tuple[str, Mapping[str, Any] | Sequence[Any]] | None = None,
    **options: Any,
) -> None:
    """Writes meta-parameters and settings as one safetensors file, whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        meta_params: what was learned, such as `state.params`: arrays of floats or integers. For a model of your own,
            they are in dicts.
        model: an `MLP`, `Conv4`, `ResNet` or `ResNet12` of `jax_meta.models`, or None for any other, which whoever
            loads the file must then have.
        input_shape: the shape of one example's inputs, such as (1,) or (28, 28, 1), against which a reader checks the
            tensors. None only with `model=None`.
        loss: "regression" or "classification", or None for any other, which whoever loads the file must then have.
        learner: the name of a learner in `jax_meta`, such as "maml"; of all but "meta_optimizer", whose functions a
            file cannot hold.
        num_steps: the learner's inner steps; none for "protonet" and "r2d2".
        optimizer: the inner optimizer's name in optax, and its keywords: "sgd", "adam", "adamw", "rmsprop", "adagrad",
            "lion", "adabelief" or "yogi". Or "chain" and a list of such pairs, among which "clip",
            "clip_by_global_norm", "clip_by_block_rms", "centralize", "add_decayed_weights", "trace", "scale",
            "scale_by_adam", "scale_by_rms" and "scale_by_learning_rate" may be, too. Default: none, for learners
            that take none, such as "meta_sgd".
        options: the learner's other keywords, such as `batch_size` or `strength`; a part, such as the `is_head` of
            "anil", as a pattern of paths, `"*/Dense_2/*"`; and no `features` or `head`, which the model tells.

    Raises:
        ValueError: for settings or parameters that a file cannot hold, or that do not fit together.
        OSError: if the file cannot be written.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, tempfile
        >>> model, path = jax_meta.models.MLP(hidden=(4,)), f"{tempfile.mkdtemp()}/sines.safetensors"
        >>> params = model.init(jax.random.key(0), jnp.zeros((1, 1)))
        >>> settings = {"loss": "regression", "optimizer": ("sgd", {"learning_rate": 0.01})}
        >>> jax_meta.save_model(path, params, model=model, input_shape=(1,), learner="maml", num_steps=1, **settings)
        >>> from safetensors.numpy import load_file
        >>> assert load_file(path)["params.Dense_0.kernel"].shape == (1, 4)
    """
    settings = {
        "format": FORMAT,
        "jax_meta": version("jax-metalearn"),
        "model": None if model is None else describe_model(model),
        "input_shape": plain(input_shape),
        "loss": loss,
        "learner": named(learner, ({} if num_steps is None else {"num_steps": num_steps}) | options),
        "optimizer": None if optimizer is None else describe_optimizer(optimizer),
    }
    arrays = to_arrays(meta_params)
    make_loss = build_loss(settings)
    made_model = build_model(settings)
    made_again = build_learner(settings, make_loss(lambda params, inputs: inputs) if make_loss else None, made_model)
    made = structure(settings, made_again, made_model, arrays)
    given, loaded = str(jax.tree.structure(meta_params)), str(jax.tree.structure(made))
    if given != loaded:
        raise ValueError(
            f"meta_params {shown(given)} would be loaded as {shown(loaded)}: give plain dicts within dicts, with "
            "strings without dots as keys."
        )
    write_whole(Path(path), save(arrays, {"jax_meta": json.dumps(settings)}))


def load_model(
    path: str | os.PathLike, *, model: nn.Module | Apply | None = None, loss: LossFn | None = None
) -> LoadedModel:
    """Reads a model file, and makes its model, loss and learner again.

    Args:
        path: the file that `save_model` wrote, from whatever source: nothing in it is run.
        model: a Flax module, or a function `(params, inputs) -> outputs`, where the file names no model. Default: the
            one that it names.
        loss: `(params, batch, key) -> (loss, metrics)`, where the file names no loss. Default: the one that it names.

    Returns:
        A `LoadedModel`. Tensors of 64 bits are rounded to 32, with a warning, unless `jax_enable_x64` is on.

    Raises:
        ValueError: if the file is damaged, of another kind or version, names what is not known here, or holds tensors
            that do not fit its model; if it has no model or no loss and none is given, or something that is none.
        OSError: if it cannot be read.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, tempfile
        >>> model, path = jax_meta.models.MLP(hidden=(4,)), f"{tempfile.mkdtemp()}/sines.safetensors"
        >>> params = model.init(jax.random.key(0), jnp.zeros((1, 1)))
        >>> settings = {"loss": "regression", "optimizer": ("sgd", {"learning_rate": 0.01})}
        >>> jax_meta.save_model(path, params, model=model, input_shape=(1,), learner="maml", num_steps=1, **settings)
        >>> loaded, points = jax_meta.load_model(path), (jnp.ones((5, 1)), 3 * jnp.ones((5, 1)))
        >>> adapted = loaded.learner.adapt(loaded.meta_params, points, jax.random.key(0))
        >>> assert loaded.loss_fn(adapted, points, None)[0] < loaded.loss_fn(params, points, None)[0]
    """
    path = Path(path)
    check_given(model, loss)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path; jax_meta.save_model writes model files.")
    try:
        with safe_open(path, framework="numpy") as file:
            settings = parse((file.metadata() or {}).get("jax_meta"))
            model = build_model(settings) if model is None else model
            if model is None:
                raise ValueError("it has no model of its own: give load_model(path, model=...) what it was saved from.")
            apply = model.apply if isinstance(model, nn.Module) else model
            make_loss = build_loss(settings)
            loss_fn = loss or (make_loss and make_loss(apply))
            if loss_fn is None:
                raise ValueError("it has no loss of its own: give load_model(path, loss=...) what it was trained with.")
            learner = build_learner(settings, loss_fn, model)
            made = structure(settings, learner, model, read_shapes(file))
            arrays = {name: file.get_tensor(name) for name in names(made)}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no safetensors file ({shown(str(error))}): get it anew.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    leaves = [jnp.array(array) for array in arrays.values()]
    if any(leaf.dtype != array.dtype for leaf, array in zip(leaves, arrays.values(), strict=True)):
        advice = 'call jax.config.update("jax_enable_x64", True) first to keep them'
        warnings.warn(f"{path} has tensors of 64 bits, which JAX rounds to 32: {advice}.", stacklevel=2)
    return LoadedModel(jax.tree.unflatten(jax.tree.structure(made), leaves), apply, loss_fn, learner, settings)


def check_given(model: Any, loss: Any) -> None:
    """Raises ValueError for what is no model, or no loss."""
    check_instance(model)
    if model is not None and not callable(model) and not isinstance(model, nn.Module):
        raise ValueError(f"model must be a Flax module or a function (params, inputs) -> outputs, got {shown(model)}.")
    if loss is not None and (not callable(loss) or loss in LOSSES.values()):
        raise ValueError(
            f"loss must be a function (params, batch, key) -> (loss, metrics), got {shown(loss)}: "
            "make it of a model, as in jax_meta.regression(model.apply)."
        )
