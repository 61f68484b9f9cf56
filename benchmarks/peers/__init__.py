"""The same meta-training in other libraries, each in its own process: what `benchmarks.peers` runs."""
