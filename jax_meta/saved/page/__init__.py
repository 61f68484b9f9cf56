"""The command `python -m jax_meta page`: saved models of one input as one HTML file, in which they are taught by hand."""
