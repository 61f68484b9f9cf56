"""The algorithms, one file for each idea: its equation, its paper, its code. Import them from `jax_meta`."""
