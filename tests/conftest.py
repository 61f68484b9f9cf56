"""Strict numerics for every test: double precision, and no silent broadcasting between ranks.

The tests compile thousands of small functions and run each once, so the compiler is told not to optimise them.
A shell may start them in the background with Ctrl-C ignored, which the processes under test would inherit.
"""

import signal

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)

signal.signal(signal.SIGINT, signal.default_int_handler)
