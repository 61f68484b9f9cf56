"""Families of tasks, each with a sampler that is a pure function of a key."""

from jax_meta.tasks import sinusoid
from jax_meta.tasks.at_hand import among, grouped
from jax_meta.tasks.episodes import episodes, sample_episodes
from jax_meta.tasks.fields import coordinates, fields, pixels_of
from jax_meta.tasks.preparations import affine, flip, in_turn, inverted, shift, standardised, unit_interval

__all__ = [
    "affine",
    "among",
    "coordinates",
    "episodes",
    "fields",
    "flip",
    "grouped",
    "in_turn",
    "inverted",
    "pixels_of",
    "sample_episodes",
    "shift",
    "sinusoid",
    "standardised",
    "unit_interval",
]


def __dir__() -> list[str]:
    return __all__
