"""Strict numerics for every test: double precision, and no silent broadcasting between ranks."""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
