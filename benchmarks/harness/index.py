"""benchmarks/README.md: question, command, minutes and answer of every benchmark, from the committed results."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.results import markdown_table, write_text

BENCHMARKS = Path(__file__).parent.parent
HEADER = ("Question", "Command", "Minutes on two cores", "Answer")
INTRODUCTION = """# Benchmarks

One folder a question, run as `python -m benchmarks.<question>` from the top folder of the repository; `--help` says
what is asked, how long it takes and what is written. Each has the same plan: `__main__.py` has the arguments and the
order of events, `results.py` what is written, and the other files what is measured. [harness](harness) has what they
share.

`python -m benchmarks` writes this file from the [results](results), each of which one run of its command made.

"""


class Row(NamedTuple):
    """What a benchmark says of its results.

    Attributes:
        question: what it asks.
        minutes: that the command takes, on two CPU cores.
        answer: in one line, with the numbers of this results.json.
    """

    question: str
    minutes: float
    answer: str


def main() -> None:
    """The command `python -m benchmarks`."""
    write_text(BENCHMARKS / "README.md", make_index(BENCHMARKS / "results"))
    print(f"{BENCHMARKS / 'README.md'} is written.")


def make_index(results: Path) -> str:
    """The text of README.md, from the folders of results."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*/results.json"))]
    rows = [cells(told["command"], row_of(told)) for told in found]
    return INTRODUCTION + markdown_table(HEADER, rows, numbers="---")


def row_of(told: Mapping[str, Any]) -> Row:
    """The row that the benchmark of the command gives: its own `row`, or, of a folder, that of its `results`."""
    module = importlib.import_module(told["command"].split()[2])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{module.__name__}.results")
    return module.row(told)


def cells(command: str, row: Row) -> list[str]:
    """A line of the table."""
    minutes = "under 1" if row.minutes < 1 else f"{row.minutes:.0f}"
    return [row.question, f"`{command}`", minutes, row.answer]
