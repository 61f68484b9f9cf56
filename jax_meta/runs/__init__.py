"""A meta-training run: the loop on the host around `jax_meta.fit`, and all that it leaves in the run's folder."""
