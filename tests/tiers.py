"""Which cells of a large matrix are tried each time."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def each(cells: Iterable[Any], fast: Collection[Any]) -> list[Any]:
    """All cells for `pytest.mark.parametrize`, of which those that are not `fast`, alike them, are slow by number."""

    def marked(cell: Any) -> Any:
        values = cell if isinstance(cell, tuple) else (cell,)
        return pytest.param(*values, marks=() if cell in fast else pytest.mark.slow)

    return [marked(cell) for cell in cells]
