"""Writes benchmarks/README.md from the committed results: `python -m benchmarks`."""

from benchmarks.harness.index import main

if __name__ == "__main__":
    main()
