"""Tasks that are made on the host, by NumPy, PyTorch or whatever else, in the place of a sampler that JAX compiles."""
