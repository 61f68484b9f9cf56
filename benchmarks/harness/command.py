"""The command of every benchmark: its arguments, checked before any work, and the order of events around the work."""

import argparse
import os
import shlex
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.progress import Begin, progress


def positive(text: str) -> int:
    """A whole number of 1 or more; `60,000` is 60000."""
    value = int(text.replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def positive_number(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a finite number above 0")
    return value


COUNT: dict = {"type": positive, "metavar": "N"}
COUNTS: dict = {**COUNT, "nargs": "+"}
NUMBER: dict = {"type": positive_number, "metavar": "X"}
NUMBERS: dict = {**NUMBER, "nargs": "+"}  # what `add_argument` needs for a number of each kind, or for several


class Help(argparse.HelpFormatter):
    """The description by paragraphs, indented ones as they are, and each option with its default, where it has one."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(part if part.startswith(" ") else textwrap.fill(part, width) for part in paragraphs)

    def _get_help_string(self, action: argparse.Action) -> str:
        default = action.default
        if default is None or isinstance(default, bool) or default is argparse.SUPPRESS:
            return action.help or ""
        values = default if isinstance(default, list | tuple) else [default]
        told = " ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in values)
        return f"{action.help}; default: {told.replace('%', '%%')}"


def make_parser(
    name: str,
    description: str | None,
    *,
    output: str | None = None,
    repeats: int | None = None,
    seconds: float | None = None,
) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.NAME`, with the options that many benchmarks have.

    The description is the docstring of the command's module: the question, how long, what it writes. Where `--output`
    depends on other options, `output` says so in words. Without a default there is no `--repeats` or `--seconds`.
    """
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description, formatter_class=Help)
    add, place = parser.add_argument, None if output else Path("results") / name.replace(".", "_")
    told = f"; default: {output}" if output else ""
    add("--output", type=Path, default=place, metavar="FOLDER", help=f"where to write; it is created{told}")
    if repeats:
        add("--repeats", default=repeats, help="rounds in which all take turns; medians count", **COUNT)
    if seconds:
        add("--seconds", type=positive_number, default=seconds, metavar="S", help="about how long a turn lasts")
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option of benchmarks whose images are in a folder."""
    folder = Path(os.environ.get("JAX_META_DATA", "data"))
    help_text = "with the data, if not in $JAX_META_DATA"
    parser.add_argument("--data", type=Path, default=folder, metavar="FOLDER", help=help_text)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the `command` that gives them, as it is written to results.json."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(words)
    options.command = shlex.join([*parser.prog.split(), *words])
    return options


@contextmanager
def running(options: argparse.Namespace, finished: Collection[str] = (), *, kept: str = "") -> Iterator[Begin]:
    """Everything around the measurements of a benchmark; yields `begin`, as in `benchmarks.harness.progress`.

    Before them it proves that `--output` can be written, and opens the progress. After them it prints table.md and says
    what the folder holds. Ctrl-C, NaN and a full disk end the command with a sentence and what is kept: by default the
    parts `finished` so far, whose names the benchmark adds as it goes on.
    """
    output = make_output_folder(options.output)

    def what_is_kept() -> str:
        return kept or f"finished, and kept in {output}: {', '.join(finished) or 'nothing yet'}"

    try:
        with progress(output / "benchmark.log", options.command) as begin:
            yield begin
    except KeyboardInterrupt:
        print(f"stopped; {what_is_kept()}")
        sys.exit(130)
    except (FloatingPointError, OSError) as error:
        sys.exit(f"{error}\n{what_is_kept()}")
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds {contents(output)}.")


def make_output_folder(path: Path) -> Path:
    """Creates the folder and proves that it can be written; otherwise exits with the remedy, before any work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        sys.exit(f"cannot write to {path}: {error.strerror}. Choose another folder with --output.")
    return path


def contents(folder: Path) -> str:
    """The names in a folder, in words; many figures as their number."""
    suffixes = Counter(path.suffix for path in folder.iterdir())
    many = {suffix for suffix, count in suffixes.items() if count > 3 and suffix in (".png", ".svg", ".pdf")}
    names = sorted(path.name for path in folder.iterdir() if path.suffix not in many)
    return ", ".join([*names, *(f"{suffixes[suffix]} {suffix[1:]} files" for suffix in sorted(many))])
