"""Compilation apart from running, so that neither is counted as the other."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import optax

import jax_meta


class Program(NamedTuple):
    """A compiled call of `jax_meta.fit`."""

    run: Callable[[], Any]
    num_steps: int  # its meta-steps
    compile_seconds: float
    compiled: Any  # what `jax.jit` made


def compile_ahead(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The function compiled for arguments like these, and the seconds that it took."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def compile_fit(
    learner: jax_meta.MetaLearner,
    outer: optax.GradientTransformation,
    sample_tasks: jax_meta.Sampler,
    state: jax_meta.TrainState,
    *,
    num_steps: int,
    **options: Any,
) -> Program:
    """Compiles so many meta-steps of `jax_meta.fit`, with its options, from this state; the sampler is a pytree."""

    def fit(sample_tasks, state):
        return jax_meta.fit(learner, outer, sample_tasks, state, num_meta_steps=num_steps, **options)

    compiled, seconds = compile_ahead(fit, sample_tasks, state)
    return Program(partial(compiled, sample_tasks, state), num_steps, seconds, compiled)
