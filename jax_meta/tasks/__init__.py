"""Families of tasks, each with a sampler that is a pure function of a key, and loaders of images to make tasks from."""

from jax_meta.tasks import sinusoid
from jax_meta.tasks.cifar100 import load_cifar100
from jax_meta.tasks.episodes import (
    episodes,
    flip,
    in_turn,
    inverted,
    sample_episodes,
    shift,
    standardised,
    unit_interval,
)
from jax_meta.tasks.image_folder import load_image_folder
from jax_meta.tasks.images import ClassImages, Splits, select, select_names
from jax_meta.tasks.mini_imagenet import load_mini_imagenet
from jax_meta.tasks.omniglot import load_omniglot

__all__ = [
    "ClassImages",
    "Splits",
    "episodes",
    "flip",
    "in_turn",
    "inverted",
    "load_cifar100",
    "load_image_folder",
    "load_mini_imagenet",
    "load_omniglot",
    "sample_episodes",
    "select",
    "select_names",
    "shift",
    "sinusoid",
    "standardised",
    "unit_interval",
]
