"""What every benchmark writes and shows: the output folder, the environment, JSON, tables and progress bars."""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PACKAGES = ("jax-metalearn", "jax", "jaxlib", "optax", "flax", "numpy")


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a finite number above 0")
    return value


def make_output_folder(path: Path) -> Path:
    """Creates the folder and proves that it can be written; otherwise exits with the remedy, before any work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        sys.exit(f"cannot write to {path}: {error.strerror}. Choose another folder with --output.")
    return path


def environment() -> dict[str, Any]:
    """The versions, the device and the command that made a result."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes indented JSON, each list of numbers on one line, never leaving a half-written file."""
    text = json.dumps(content, indent=2, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda match: re.sub(r"\s+", " ", match[0]), text)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one move, so that a reader or an interrupt never meets half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def rounded(values: Any, digits: int = 5) -> Any:
    """Numbers, and lists and dicts of numbers, to so many significant digits: files stay small and readable."""
    if isinstance(values, int | float):
        return float(f"{values:.{digits}g}")
    if isinstance(values, dict):
        return {name: rounded(value, digits) for name, value in values.items()}
    return [rounded(value, digits) for value in values]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column left-aligned, the others right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def progress_bars() -> Progress:
    """Bars with what is going on, the time taken and the time left; they fit 80 columns."""
    return Progress(
        TextColumn("{task.description:<25}"),
        BarColumn(bar_width=14),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]:<15}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
