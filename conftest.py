"""Strict numerics for every test and every example of a docstring, and a compiler that does not waste their time.

Double precision, and no silent broadcasting between ranks. The tests compile thousands of small programs and run each
once: the compiler is told not to optimise them, and to emit them in the way that compiles twice as fast. What was
compiled is let go between modules once it takes much room, or a worker grows by gigabytes.
A shell may start the tests in the background with Ctrl-C ignored, which the processes under test would inherit.
"""

import ctypes
import gc
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

TESTS = Path(__file__).parent / "tests"
ROOM = 1_050 * 2**20
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '').removeprefix(FLAGS)}"  # before JAX looks at it
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # and before the processes under test do

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path):
    """Examples are looked for in the library; beside the tests are helpers, some of which are programs."""
    beside = collection_path.is_relative_to(TESTS) and not collection_path.name.startswith("test_")
    return True if beside and collection_path.suffix == ".py" else None


def pytest_collection_finish():
    """What was imported stays, so that Python's garbage collector need not walk through it with every trace."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def resident_bytes():
    """The memory that this process holds; where the system does not tell, too much."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return ROOM


@pytest.fixture(autouse=True, scope="module")
def _programs_in_bounds():
    yield
    if resident_bytes() >= ROOM:
        jax.clear_caches()
        gc.collect()
        with suppress(
            OSError, AttributeError
        ):  # glibc keeps what is freed, and the next module would begin without room
            ctypes.CDLL(None).malloc_trim(0)
