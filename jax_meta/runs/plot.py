"""The command `python -m jax_meta plot`: what runs recorded, against meta-steps."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jax_meta.runs.events import event_files, read_events
from jax_meta.runs.records import METRICS, Record, columns, read_records

PARTS = 50
"""Lines of at least twice as many points are drawn thin, with the means of so many equal parts over them."""


def register_plot(subparsers: Any) -> None:
    """Adds the subcommand `plot`."""
    parser = subparsers.add_parser(
        "plot",
        help="draw what runs recorded",
        description="Draws each metric of one or more runs of jax_meta.train against meta-steps, in training and in "
        f"validation. Of {2 * PARTS} records or more, all are a thin line, and the thick one, which the legend names, "
        f"has the means of {PARTS} equal parts; --parts changes it.",
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run's folder, a metrics.jsonl, or TensorBoard's event files",
    )
    add(
        "--output", type=Path, default=Path("metrics.png"), metavar="FILE", help="png, svg or pdf; default: metrics.png"
    )
    add(
        "--parts",
        type=parts_count,
        default=PARTS,
        metavar="N",
        help=f"means of N equal parts over records that are at least 2 N; 0: the records alone; default: {PARTS}",
    )
    parser.set_defaults(run=plot)


def parts_count(text: str) -> int:
    """The number of parts on the command line."""
    if not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"must be an integer of 0 or more, got {text!r}")
    return int(text)


def plot(options: argparse.Namespace) -> None:
    """The subcommand `plot`."""
    figure = draw({name: read(path) for name, path in named(options.runs).items()}, parts=options.parts)
    try:
        figure.savefig(options.output, dpi=110)
    except OSError as error:
        raise OSError(f"cannot write {options.output}: {error.strerror}. Give another --output.") from error
    print(f"{options.output} shows the metrics of {', '.join(map(str, options.runs))}.")


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """The runs by the last part of their path, or by all of it where that is not enough."""
    names = [path.resolve().name for path in paths]
    return {str(path) if names.count(name) > 1 else name: path for name, path in zip(names, paths, strict=True)}


def read(path: Path) -> list[Record]:
    """The records of a run: of its metrics.jsonl, else of its event files."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: give the folder of a run, or its {METRICS}.")
    as_lines = path.suffix == ".jsonl" or (path / METRICS).exists()
    if not as_lines and path.is_dir() and not event_files(path):
        raise ValueError(f"{path} has no records yet: neither {METRICS} nor event files. Give the folder of a run.")
    records = read_records(path) if as_lines else read_events(path)
    if not records:
        raise ValueError(f"{path} has no records yet: wait for the first, or give the folder of another run.")
    return records


def draw(runs: Mapping[str, Sequence[Record]], *, parts: int = PARTS) -> Figure:
    """A panel for each metric, a colour for each run; see `plot_line`."""
    found = {name: columns(records) for name, records in runs.items()}
    names = list(dict.fromkeys(name.removeprefix("val_") for metrics in found.values() for name in metrics))
    figure = Figure(figsize=(5.5 * len(names), 4), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for index, (run, metrics) in enumerate(found.items()):
            prefix = f"{run}, " if len(runs) > 1 else ""
            if name in metrics:
                plot_line(axes, *metrics[name], color=f"C{2 * index}", label=f"{prefix}training", parts=parts)
            if f"val_{name}" in metrics:
                color, label = f"C{2 * index + 1}", f"{prefix}validation"
                plot_line(axes, *metrics[f"val_{name}"], color=color, label=label, parts=parts)
        axes.set(xlabel="meta-steps", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def plot_line(axes: Axes, steps: np.ndarray, values: np.ndarray, *, color: str, label: str, parts: int = PARTS) -> None:
    """Draws a metric, and over many points the means of equal parts, so that the course shows through the noise.

    The label then says so: `training, means of 50 parts`.
    """
    if not parts or len(steps) < 2 * parts:
        axes.plot(steps, values, color=color, label=label)
        return
    axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.35)
    split = [np.array_split(array, parts) for array in (steps, values)]
    axes.plot(
        *([part.mean() for part in array] for array in split), color=color, label=f"{label}, means of {parts} parts"
    )
