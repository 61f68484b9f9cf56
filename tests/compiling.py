"""What jax tells of its tracing and compiling."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import pytest


@contextmanager
def compiling(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """A list that has, once the block is left, every message that jax logged of its compiling in the block."""
    messages: list[str] = []
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        yield messages
    messages += [record.getMessage() for record in caplog.records]
