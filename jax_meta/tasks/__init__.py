"""Families of tasks, each with a sampler that is a pure function of a key."""

from jax_meta.tasks import sinusoid

__all__ = ["sinusoid"]
