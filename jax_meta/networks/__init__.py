"""Networks: models, layers, and the primitives that make them fast where each task has its own weights."""

from jax_meta.networks import layers, models

__all__ = ["layers", "models"]


def __dir__() -> list[str]:
    return __all__
