"""Compilation apart from running, so that neither is counted as the other."""

import time
from collections.abc import Callable
from typing import Any

import jax


def compile_ahead(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The function compiled for arguments like these, and the seconds that it took."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - start
