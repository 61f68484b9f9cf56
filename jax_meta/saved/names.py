"""All that a model file may name: models, losses, learners, optimizers, and what each of their settings may be.

A name from a file is looked up in these tables, and nothing else is called or imported.
"""

import inspect
import reprlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import flax.linen as nn
import optax

from jax_meta.algorithms.anil import anil
from jax_meta.algorithms.boil import boil
from jax_meta.algorithms.cavia import cavia
from jax_meta.algorithms.es_maml import es_maml
from jax_meta.algorithms.imaml import imaml
from jax_meta.algorithms.kfo import kfo
from jax_meta.algorithms.leap import leap
from jax_meta.algorithms.lstm_optimizer import lstm_optimizer
from jax_meta.algorithms.maml import fomaml, maml
from jax_meta.algorithms.maml_plus_plus import maml_plus_plus
from jax_meta.algorithms.meta_curvature import meta_curvature
from jax_meta.algorithms.meta_sgd import meta_sgd
from jax_meta.algorithms.proto_maml import proto_maml
from jax_meta.algorithms.protonet import protonet
from jax_meta.algorithms.r2d2 import r2d2
from jax_meta.algorithms.reptile import carried_reptile, reptile
from jax_meta.algorithms.transfer import transfer
from jax_meta.algorithms.warpgrad import warpgrad
from jax_meta.inner import balanced, shuffled
from jax_meta.losses import classification, regression
from jax_meta.memory import Remat
from jax_meta.networks import models

Check = Callable[[str, Any], Any]
"""`(name, value) -> value` as a function takes it; raises ValueError for a value that it should not get."""

MAX_STEPS = 10**6
MAX_WIDTH = 2**24
MAX_LAYERS = 100
MAX_PATTERN = 200
MAX_NUMBERS = 1000


def shown(value: Any) -> str:
    """A value for a message: in one line, and short, however long it is."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 80
    return " ".join(shortener.repr(value).split())


class Entry(NamedTuple):
    """What a name in a file stands for: a function, and the keywords that a file may give it."""

    make: Callable[..., Any]
    checks: Mapping[str, Check]
    required: tuple[str, ...] = ()


def number(name: str, value: Any) -> Any:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number, got {shown(value)}.")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {shown(value)}.")
    return value


def integer(smallest: int, largest: int) -> Check:
    """The check of an integer between two others."""

    def check(name, value):
        if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
            raise ValueError(f"{name} must be an integer from {smallest} to {largest}, got {shown(value)}.")
        return value

    return check


def widths(name: str, value: Any) -> tuple[int, ...]:
    """A list of widths, as a tuple."""
    if not isinstance(value, list) or len(value) > MAX_LAYERS:
        raise ValueError(f"{name} must be a list of at most {MAX_LAYERS} integers, got {shown(value)}.")
    return tuple(width(name, item) for item in value)


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """A list of numbers, as a tuple."""
    if not isinstance(value, list) or len(value) > MAX_NUMBERS:
        raise ValueError(f"{name} must be a list of at most {MAX_NUMBERS} numbers, got {shown(value)}.")
    return tuple(number(name, item) for item in value)


def pattern(name: str, value: Any) -> str:
    """A pattern of parameters' paths, as a shell has of files."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN:
        raise ValueError(
            f"{name} must be a pattern of parameters' paths, such as '*/Dense_2/*', got {shown(value)}: a file cannot "
            "hold a function."
        )
    return value


def one_of(choices: Mapping[str, Any]) -> Check:
    """The check of a name, to what it stands for."""

    def check(name, value):
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}.")
        return choices[value]

    return check


def optional(check: Check) -> Check:
    """The check of a value that may be None."""
    return lambda name, value: None if value is None else check(name, value)


width = integer(1, MAX_WIDTH)
ACTIVATIONS = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
}
ORDERS = {"shuffled": shuffled, "balanced": balanced}
LOSSES = {"regression": regression, "classification": classification}

INITIALIZATIONS = {"leap": leap, "maml": maml, "fomaml": fomaml, "reptile": reptile}
"""Learners of the initialization, for WarpGrad."""

context = integer(0, MAX_WIDTH)
mlp = {
    "hidden": widths,
    "outputs": optional(width),
    "activation": one_of(ACTIVATIONS),
    "normalise": flag,
    "context": context,
}
conv4 = {
    "ways": optional(width),
    "filters": width,
    "downsample": one_of({"pool": "pool", "stride": "stride"}),
    "head": one_of({"flatten": "flatten", "mean": "mean"}),
    "use_scale": flag,
    "context": context,
}
siren = {"hidden": widths, "outputs": optional(width), "frequency": number}
resnet = {"ways": optional(width), "widths": widths, "groups": width, "zero_head": flag}
MODELS = {
    "MLP": Entry(models.MLP, mlp),
    "SIREN": Entry(models.SIREN, siren),
    "Conv4": Entry(models.Conv4, conv4, ("ways",)),
    "ResNet": Entry(models.ResNet, resnet, ("ways",)),
    "ResNet12": Entry(models.ResNet12, {"ways": optional(width), "widths": widths}, ("ways",)),
}

steps = {"num_steps": integer(0, MAX_STEPS), "batch_size": optional(integer(1, sys.maxsize))}
memory = {"remat": one_of({name: name for name in get_args(Remat)}), "mixed_mode": flag}
sizes = {**steps, **memory, "step_size": number}
first_order = {"first_order": flag}
count = integer(1, MAX_STEPS)
system = {"strength": number, "cg_steps": count, "damping": number, "neumann_terms": optional(count)}
ridge = {"penalty": number, "scale": number, "mean": flag, "use_bias": flag, "learn_penalty": flag}
lstm = {"units": width, "scale": number, "seed": integer(0, 2**32 - 1), "truncate": optional(count)}
way = {"energy": flag, "include_loss": flag, "stabilise": flag}
pairs = {"sigma": number, "inner_pairs": count, "outer_pairs": count}
LEARNERS = {
    "transfer": Entry(transfer, steps, ("num_steps",)),
    "maml": Entry(maml, {**steps, **memory}, ("num_steps",)),
    "anil": Entry(anil, {**steps, **memory, "is_head": pattern}, ("num_steps", "is_head")),
    "fomaml": Entry(fomaml, steps, ("num_steps",)),
    "reptile": Entry(reptile, {**steps, "order": one_of(ORDERS)}, ("num_steps",)),
    "carried_reptile": Entry(carried_reptile, {**steps, "order": one_of(ORDERS)}, ("num_steps",)),
    "boil": Entry(boil, {**steps, **memory, "is_head": pattern}, ("num_steps", "is_head")),
    "cavia": Entry(cavia, {**steps, **memory, **first_order, "is_context": pattern}, ("num_steps",)),
    "proto_maml": Entry(proto_maml, {**steps, **memory, **first_order, "ways": width}, ("num_steps", "ways")),
    "meta_sgd": Entry(meta_sgd, sizes, ("num_steps", "step_size")),
    "maml_plus_plus": Entry(
        maml_plus_plus, {**sizes, **first_order, "weights": optional(numbers)}, ("num_steps", "step_size")
    ),
    "meta_curvature": Entry(meta_curvature, {**sizes, **first_order}, ("num_steps", "step_size")),
    "kfo": Entry(kfo, sizes, ("num_steps", "step_size")),
    "lstm_optimizer": Entry(lstm_optimizer, {**steps, "remat": memory["remat"], **lstm}, ("num_steps",)),
    "protonet": Entry(protonet, {"ways": width}, ("ways",)),
    "r2d2": Entry(r2d2, {**ridge, "ways": optional(width)}, ("ways",)),
    "imaml": Entry(imaml, {**steps, **system, "neumann_step": number}, ("num_steps", "strength")),
    "leap": Entry(leap, {**steps, **way}, ("num_steps",)),
    "warpgrad": Entry(
        warpgrad, {**steps, "is_warp": pattern, "initialization": one_of(INITIALIZATIONS)}, ("num_steps", "is_warp")
    ),
    "es_maml": Entry(es_maml, {**steps, **pairs}, ("num_steps",)),
}

NUMBERS = (
    *("learning_rate", "momentum", "b1", "b2", "eps", "eps_root", "weight_decay", "decay", "initial_scale"),
    *("initial_accumulator_value", "max_delta", "max_norm", "threshold", "step_size"),
)
FLAGS = ("nesterov", "centered", "eps_in_sqrt", "bias_correction", "flip_sign")


def optax_entry(make: Callable[..., Any]) -> Entry:
    """An optax transformation, with those of its keywords that are numbers or flags."""
    known = {**dict.fromkeys(NUMBERS, number), **dict.fromkeys(FLAGS, flag)}
    taken = {name: default for name, default in inspect.signature(make).parameters.items() if name in known}
    required = tuple(name for name, parameter in taken.items() if parameter.default is parameter.empty)
    return Entry(make, {name: known[name] for name in taken}, required)


optimizers = (optax.sgd, optax.adam, optax.adamw, optax.rmsprop, optax.adagrad, optax.lion, optax.adabelief, optax.yogi)
OPTIMIZERS = {make.__name__: optax_entry(make) for make in optimizers}
clips = (optax.clip, optax.clip_by_global_norm, optax.clip_by_block_rms)
scales = (optax.scale, optax.scale_by_learning_rate, optax.scale_by_adam, optax.scale_by_rms, optax.trace)
TRANSFORMS = {
    make.__name__: optax_entry(make) for make in (*clips, *scales, optax.add_decayed_weights, optax.centralize)
}
"""What `optax.chain` may have beside optimizers."""
MAX_CHAIN, MAX_CHAINS = 20, 4
"""Transformations in a chain, and chains within chains."""
