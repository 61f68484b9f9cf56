"""The choice of a rate from a grid, by a score on validation tasks."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Scores = dict[float, list[float]]
"""Of each rate that was tried, the score on every validation task."""


def search(score: Callable[[float], list[float]], grid: Sequence[float], first: Sequence[float]) -> Scores:
    """The scores of the first rates, and of those beside the best until it has a worse one on either side."""
    found = {rate: score(rate) for rate in first}
    while True:
        best = grid.index(best_rate(found))
        beside = [grid[place] for place in (best - 1, best + 1) if 0 <= place < len(grid)]
        missing = [rate for rate in beside if rate not in found]
        if not missing:
            return dict(sorted(found.items()))
        found |= {rate: score(rate) for rate in missing}


def best_rate(found: Mapping[float, Sequence[float]]) -> float:
    """The one with the highest mean; of equal ones the smallest."""
    return max(sorted(found), key=lambda rate: np.mean(found[rate]))
