"""How fast is `jax_meta` beside plain JAX, PyTorch and its libraries?"""
