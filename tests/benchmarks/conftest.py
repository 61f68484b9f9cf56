"""What tests of several benchmarks need."""

import jax
import pytest


@pytest.fixture
def single_precision():
    """As a user runs it: convolutions of 64 bits have no fast form on CPU."""
    with jax.enable_x64(False):
        yield
