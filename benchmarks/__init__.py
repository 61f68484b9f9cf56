"""What the project measures: one folder a question, each run as `python -m benchmarks.<question>`."""
