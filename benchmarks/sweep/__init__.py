"""Parts of the sweep over seeds and learning rates: the networks, their throughput, their results."""
