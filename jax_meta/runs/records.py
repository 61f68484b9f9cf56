"""Metrics as lines of JSON: complete lines only, cut back to the checkpoint when a run goes on."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_meta.runs.writing import explained
from jax_meta.whole_files import write_whole

METRICS, TIMES = "metrics.jsonl", "times.jsonl"
Record = dict[str, Any]


def read_records(path: str | Path) -> list[Record]:
    r"""The records of a run, by meta-step.

    Args:
        path: the run's folder, or a file of JSON lines such as its metrics.jsonl or times.jsonl.

    Returns:
        A dict for each record, with its `step`. A last line that was cut off is left out.

    Raises:
        ValueError: if another line is no record.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import jax_meta, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "metrics.jsonl").write_text('{"step": 10, "loss": 0.5}\n{"step": 20, "lo')  # cut off
        >>> assert jax_meta.read_records(folder) == [{"step": 10, "loss": 0.5}]
    """
    path = Path(path)
    path = path / METRICS if path.is_dir() else path
    *lines, rest = path.read_text(encoding="utf-8", errors="replace").split("\n")
    try:
        records = [json.loads(line) for line in lines]
        if not all(isinstance(record, dict) and isinstance(record.get("step"), int) for record in records):
            raise ValueError("a line has no step")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete its bad lines.") from error
    del rest
    return records


def cut_back(path: Path, step: int) -> list[Record]:
    """Drops the records after `step` from the file, in one move, and returns those before; a missing file has none."""
    if not path.exists():
        return []
    kept = [record for record in read_records(path) if record["step"] <= step]
    with explained(path.parent):
        write_whole(path, "".join(map(line, kept)).encode())
    return kept


def append(path: Path, record: Record) -> None:
    """Adds one complete line."""
    with explained(path.parent), path.open("a", encoding="utf-8") as file:
        file.write(line(record))


def sync(path: Path) -> None:
    """Returns once the file is on the disk, where no loss of power takes it away."""
    with explained(path.parent), path.open("rb") as file:
        os.fsync(file.fileno())


def line(record: Record) -> str:
    """A record as a line of JSON."""
    return json.dumps(record, allow_nan=False) + "\n"


def summarise(step: int, history: Mapping[str, Any], validation: Mapping[str, float] | None) -> Record:
    """The means of a part's metrics over its finite meta-steps, and the validation's as `val_<name>`."""
    record: Record = {"step": step}
    for name, values in history.items():
        values = np.asarray(values, np.float64)
        finite = values[np.isfinite(values)]
        record[name] = float(finite.mean()) if finite.size else None
    record |= {f"val_{name}": value if math.isfinite(value) else None for name, value in (validation or {}).items()}
    return record


def check_names(metrics: Mapping[str, Any], validated: bool, skips: bool) -> None:
    """Raises ValueError for a metric under a name that a record has for something else."""
    taken = {"step": True, "skipped": skips}
    for name in metrics:
        if taken.get(name) or (validated and str(name).startswith("val_")):
            raise ValueError(
                f"a metric is called {name!r}, which a record has for something else: rename it in the loss."
            )


def columns(records: Sequence[Record]) -> dict[str, tuple[np.ndarray, ...]]:
    """By the name of a metric: the steps where it was recorded, and its values."""
    names = dict.fromkeys(name for record in records for name in record if name != "step")
    pairs = {
        name: [(record["step"], record[name]) for record in records if isinstance(record.get(name), int | float)]
        for name in names
    }
    return {
        name: (np.array([s for s, _ in found]), np.array([v for _, v in found]))
        for name, found in pairs.items()
        if found
    }
