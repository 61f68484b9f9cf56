"""What the benchmark of convolution writes."""

from collections.abc import Mapping
from typing import Any

from benchmarks.harness.index import Row


def row(told: Mapping[str, Any]) -> Row:
    """The line of benchmarks/README.md."""
    first = told["variants"][0]["variant"]
    shares = [
        f"{100 * record['fraction_of_best_matrix_product']:.0f}% with {record['inner_steps']:.0f} inner steps"
        for record in told["variants"]
        if record["variant"] == first
    ]
    return Row(
        "How fast is second-order MAML through a convolutional network?",
        6,
        f"{first}: of the best matrix product's speed {', '.join(shares)}",
    )
