"""The command line of every benchmark: one block of arguments, one help, numbers that are checked before any work."""

import argparse
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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


COUNT: dict[str, Any] = {"type": positive, "metavar": "N"}
COUNTS: dict[str, Any] = {**COUNT, "nargs": "+"}
NUMBER: dict[str, Any] = {"type": positive_number, "metavar": "X"}
NUMBERS: dict[str, Any] = {**NUMBER, "nargs": "+"}
"""What `add_argument` needs for a number of each kind, or for several."""


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

    Args:
        name: the module under `benchmarks`, such as `sinusoid.speed`.
        description: the docstring of the command's module, which is its help: the question, how long, what it writes.
        output: where `--output` is by default, in words, if that depends on other options. Default: `results/NAME`.
        repeats: the default of `--repeats`; without it there is no such option.
        seconds: the default of `--seconds`; without it there is no such option.
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


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the `command` that gives them, as it is written to results.json."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(words)
    options.command = shlex.join([*parser.prog.split(), *words])
    return options
