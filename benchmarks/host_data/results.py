"""What the benchmark of tasks of the host writes: a table, and its answer in one line."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.index import Row
from benchmarks.harness.results import records_table

COLUMNS = {
    "network": "{network}",
    "tasks from": "{tasks_from}",
    "µs a meta-step": "{microseconds:,.1f}",
    "quartiles": "{quartiles[0]:,.1f} - {quartiles[1]:,.1f}",
    "of the device's time": "{ratio:.2f}",
}


def make_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row for each network and source of tasks."""
    return records_table(rows, COLUMNS)


def row(told: Mapping[str, Any]) -> Row:
    """Its row of benchmarks/README.md."""
    others = (row for row in told["rows"] if row["tasks_from"] != "device")
    answer = ", ".join(f"{row['network']} from a {row['tasks_from']} {row['ratio']:.2f}" for row in others)
    question = "What does a meta-step cost when its tasks are made on the host?"
    return Row(question, 4, f"of the time with tasks drawn on the device: {answer}")
