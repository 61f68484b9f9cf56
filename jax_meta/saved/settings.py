"""The settings of a model file: plain data, from which a model, a loss and a learner are made again."""

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from jax_meta.base import Batch, LossFn, MetaLearner, Metrics, Params
from jax_meta.networks.models import split_head
from jax_meta.saved.names import (
    ACTIVATIONS,
    INITIALIZATIONS,
    LEARNERS,
    LOSSES,
    MAX_CHAIN,
    MAX_CHAINS,
    MAX_WIDTH,
    MODELS,
    OPTIMIZERS,
    ORDERS,
    TRANSFORMS,
    Entry,
    one_of,
    optional,
    shown,
    widths,
)

Settings = dict[str, Any]
"""What JSON can hold, by name."""

FORMAT = 1
MAX_TEXT = 2**16
FIELDS = ("format", "jax_meta", "model", "input_shape", "loss", "learner", "optimizer")


def parse(text: str | None) -> Settings:
    """The settings from the text in a file, with all their names there; raises ValueError for anything else."""
    if text is None:
        raise ValueError("it holds tensors without settings of jax_meta: write it with jax_meta.save_model.")
    try:
        settings = json.loads(text) if len(text) <= MAX_TEXT else None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or "format" not in settings:
        raise ValueError("its settings are damaged: get it anew, or save it again with jax_meta.save_model.")
    if type(settings["format"]) is not int or settings["format"] != FORMAT:
        raise ValueError(
            f"its settings are of format {shown(settings['format'])}, and this version reads format {FORMAT}: "
            "upgrade jax-metalearn, or get the file anew."
        )
    wrong = sorted(set(settings) ^ set(FIELDS))
    if wrong:
        raise ValueError(f"its settings should be {', '.join(FIELDS)}; look at {shown(wrong[0])}, or get it anew.")
    if not isinstance(settings["jax_meta"], str):
        raise ValueError(f"jax_meta must be the version that wrote the file, got {shown(settings['jax_meta'])}.")
    return settings


def build(kind: str, given: Any, entries: Mapping[str, Entry]) -> Any:
    """A `partial` of the function that `given["name"]` stands for, with the other settings, checked."""
    if not isinstance(given, dict):
        raise ValueError(f"{kind} must be a name and its settings, got {shown(given)}.")
    entry = one_of(entries)(kind, given.get("name"))
    keywords = {key: value for key, value in given.items() if key != "name"}
    for key in keywords:
        one_of(entry.checks)(f"a setting of {given['name']}", key)
    for key in entry.required:
        if key not in keywords:
            raise ValueError(f"{given['name']} needs the setting {key!r}.")
    return partial(entry.make, **{key: entry.checks[key](key, value) for key, value in keywords.items()})


def build_model(settings: Settings) -> nn.Module | None:
    """The recorded model, or None if there is none."""
    return None if settings["model"] is None else build("model", settings["model"], MODELS)()


def build_loss(settings: Settings) -> Callable[..., LossFn] | None:
    """The recorded loss, a function of `apply`, or None if there is none."""
    return optional(one_of(LOSSES))("loss", settings["loss"])


def build_optimizer(given: Any, entries: Mapping[str, Entry] = OPTIMIZERS, depth: int = 0) -> Any:
    """The recorded optimizer, or chain of transformations."""
    if not isinstance(given, dict) or given.get("name") != "chain":
        return build("optimizer", given, entries)()
    parts = given.get("transforms")
    if set(given) != {"name", "transforms"} or not isinstance(parts, list) or not 1 <= len(parts) <= MAX_CHAIN:
        raise ValueError(f"a chain must have 1 to {MAX_CHAIN} transforms and no other setting, got {shown(given)}.")
    if depth == MAX_CHAINS:
        raise ValueError(f"a chain may hold chains {MAX_CHAINS} deep: write them as one.")
    return optax.chain(*(build_optimizer(part, OPTIMIZERS | TRANSFORMS, depth + 1) for part in parts))


def not_recorded(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
    """In the place of a loss that the file does not hold."""
    raise ValueError("the file does not hold the loss: give it to jax_meta.load_model(path, loss=loss_fn).")


def build_learner(settings: Settings, loss_fn: LossFn | None, model: Any) -> MetaLearner:
    """The recorded learner, for a loss and a model, of which those that write its head take the body and its path."""
    learner, loss_fn = build("learner", settings["learner"], LEARNERS), loss_fn or not_recorded
    name, takes = settings["learner"]["name"], inspect.signature(learner.func).parameters
    given: Settings = {}
    if "features" in takes:
        try:
            given["features"], given["head"] = split_head(model)
        except TypeError:
            raise ValueError(
                f"{name} writes the head of its model, which a file knows of MLP, SIREN, Conv4, ResNet and ResNet12 "
                "with a head: save it with such a model."
            ) from None
    if "optimizer" in takes:
        return learner(loss_fn, build_optimizer(settings["optimizer"]), **given)
    if settings["optimizer"] is not None:
        raise ValueError(f"{name} makes its own steps, if any, and takes no optimizer: leave it out.")
    return learner(loss_fn, **given)


def checked_input_shape(settings: Settings) -> tuple[int, ...] | None:
    """The recorded shape of one example's inputs; None is for models that are not recorded."""
    shape = optional(widths)("input_shape", settings["input_shape"])
    if shape is not None and (len(shape) > 8 or np.prod(shape, dtype=float) > MAX_WIDTH):
        raise ValueError(f"input_shape must be the shape of one example's inputs, got {shown(list(shape))}.")
    if shape is None and settings["model"] is not None:
        raise ValueError("input_shape is needed with a model: give the shape of one example's inputs, such as (1,).")
    return shape


def describe_model(model: nn.Module) -> Settings:
    """The settings of a model of `jax_meta.models`; raises ValueError for another."""
    check_instance(model)
    for name, entry in MODELS.items():
        if type(model) is entry.make:
            described = {key: plain(getattr(model, key)) for key in entry.checks}
            if not described.get("context"):  # so that versions without contexts read files without one
                described.pop("context", None)
            return {"name": name, **described}
    raise ValueError(
        f"model must be {', '.join(MODELS)} of jax_meta.models, got {type(model).__name__}, whose code a file cannot "
        "hold: save with model=None, and give the model to load_model(path, model=...)."
    )


def check_instance(model: Any) -> None:
    """Raises ValueError for a class in the place of a model."""
    if isinstance(model, type):
        raise ValueError(f"model is the class {model.__name__}: give an instance, such as {model.__name__}(...).")


def describe_optimizer(optimizer: Any) -> Settings:
    """The settings of a name and keywords, or of "chain" and a list of such pairs; raises ValueError for others."""
    if isinstance(optimizer, tuple | list) and len(optimizer) == 2:
        name, content = optimizer
        if name == "chain" and isinstance(content, tuple | list):
            return {"name": "chain", "transforms": [describe_optimizer(part) for part in content]}
        if isinstance(name, str) and isinstance(content, Mapping):
            return named(name, content)
    raise ValueError(
        f"optimizer must be a name and keywords, such as ('sgd', {{'learning_rate': 0.01}}), got {shown(optimizer)}; "
        "or 'chain' and a list of such pairs: a file cannot hold the functions that an optax optimizer is made of."
    )


def named(name: Any, keywords: Mapping[str, Any]) -> Settings:
    """A name with its settings."""
    if "name" in keywords:
        raise ValueError(f"{shown(name)} has no setting 'name': leave it out.")
    return {"name": name, **plain(dict(keywords))}


def plain(value: Any) -> Any:
    """A value as JSON holds it: lists for tuples, Python's numbers, and a listed function by its name."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if callable(value):
        named_functions = ACTIVATIONS | ORDERS | INITIALIZATIONS
        return next((name for name, function in named_functions.items() if function is value), value)
    return value.tolist() if getattr(value, "ndim", None) in (0, 1) else value
