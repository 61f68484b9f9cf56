"""What every benchmark writes: results.json with its environment, table.md, figures; each whole or not at all."""

import json
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness.machine import environment
from jax_meta.whole_files import whole_file, write_whole

Column = str | Callable[[Any], str]
"""A cell of a record: a format of its fields, as `{seconds:.1f}`, or a function of it."""


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings to read: `steps 60,000, ...`."""
    return ", ".join(
        f"{name} {value:,}" if type(value) is int else f"{name} {value}" for name, value in settings.items()
    )


def write_results(options: Namespace, content: Mapping[str, Any], tables: str) -> None:
    """Writes results.json, with the environment first, and table.md, to the folder that the options name."""
    write_json(options.output / "results.json", {**environment(options.command), **content})
    write_text(options.output / "table.md", tables)


def save_figure(path: Path, figure: Figure) -> None:
    """Writes a figure in the format of the file's suffix."""
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes indented JSON, each list of numbers on one line; ValueError for a number that is not finite."""
    text = json.dumps(content, indent=2, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, in UTF-8."""
    write_whole(path, text.encode())


def rounded(values: Any, digits: int = 5) -> Any:
    """Fractions, in lists and dicts, too, to so many significant digits: files stay small. Whole numbers stay whole."""
    if isinstance(values, float):
        return float(f"{values:.{digits}g}")
    if isinstance(values, dict):
        return {name: rounded(value, digits) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [rounded(value, digits) for value in values]
    return values


def records_table(records: Iterable[Mapping[str, Any]], columns: Mapping[str, Column]) -> str:
    """A Markdown table of records: one row for each, one column for each name."""

    def cell(column: Column, record: Mapping[str, Any]) -> str:
        return column(record) if callable(column) else column.format(**record)

    return markdown_table(list(columns), [[cell(column, record) for column in columns.values()] for record in records])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: str = "---:") -> str:
    """A Markdown table: the first column left-aligned, the others as `numbers` says, by default right-aligned."""
    lines = [header, ["---", *[numbers] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
