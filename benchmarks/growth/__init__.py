"""Parts of the benchmark of growth: the scans, the split of a meta-step, the profile, the results."""
