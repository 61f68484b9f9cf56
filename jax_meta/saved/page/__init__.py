"""The command `python -m jax_meta page`: one HTML file on which saved models are taught by hand."""
