"""What every benchmark writes: results.json with its environment, table.md, figures; each whole or not at all."""

import importlib.metadata
import json
import os
import platform
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jax_meta import estimate
from jax_meta.runs.processor import processor
from jax_meta.whole_files import whole_file, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("jax-metalearn", "jax", "jaxlib", "optax", "flax", "numpy")
Column = str | Callable[[Any], str]
"""A cell of a record: a format of its fields, as `{seconds:.1f}`, or a function of it."""
Row = tuple[float, str]
"""What a benchmark says of a results.json: the minutes on two CPU cores, and the answer in one line."""


def write_results(options: Namespace, content: dict, tables: str, **figures: "Figure") -> None:
    """Writes results.json, with the environment first, table.md and the figures to the folder that the options name."""
    write_json(options.output / "results.json", {**environment(options.command), **content})
    write_text(options.output / "table.md", tables)
    for name, figure in figures.items():
        save_figure(options.output / f"{name}.png", figure)


def save_figure(path: Path, figure: "Figure") -> None:
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:])


def write_json(path: Path, content: dict) -> None:
    """Writes indented JSON, each list of numbers on one line; ValueError for a number that is not finite."""
    text = json.dumps(content, indent=2, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def environment(command: str) -> dict:
    """The command, the device, the processor and the versions; no date, so that the same run gives the same file."""
    return {
        "command": command,
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def rounded(values: Any, digits: int = 5) -> Any:
    """Fractions, in lists and dicts, too, to so many significant digits: files stay small. Whole numbers stay whole."""
    if isinstance(values, float):
        return float(f"{values:.{digits}g}")
    if isinstance(values, dict):
        return {name: rounded(value, digits) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [rounded(value, digits) for value in values]
    return values


def estimated(values: Any) -> dict:
    """Mean and 95% interval over tasks, the first axis, rounded; of a curve, lists."""
    mean, half_width = estimate(values)
    return {"mean": rounded(mean.tolist()), "half_width": rounded(half_width.tolist())}


def percent(told: dict, sign: str = "") -> str:
    """What `estimated` tells of a fraction, as text."""
    return f"{100 * told['mean']:{sign}.1f} ± {100 * told['half_width']:.1f}"


def in_words(settings: dict) -> str:
    """Settings to read: `steps 60,000, ...`."""
    told = (f"{value:,}" if type(value) is int else value for value in settings.values())
    return ", ".join(f"{name} {value}" for name, value in zip(settings, told, strict=True))


def counted(count: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def records_table(records: Iterable[dict], columns: Mapping[str, Column]) -> str:
    """A Markdown table of records: one row for each, one column for each name."""

    def cell(column: Column, record: dict) -> str:
        return column(record) if callable(column) else column.format(**record)

    return markdown_table(list(columns), [[cell(column, record) for column in columns.values()] for record in records])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: str = "---:") -> str:
    """A Markdown table: the first column left-aligned, the others as `numbers` says, by default right-aligned."""
    lines = [header, ["---", *[numbers] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
