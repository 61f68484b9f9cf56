"""Networks: models, layers, and the primitives that make them fast where each task has its own weights."""
