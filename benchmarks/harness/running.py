"""The order of events that all benchmarks share: the output folder first, then the work, then what was written."""

import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.progress import Begin, progress


@contextmanager
def running(options: Namespace, finished: Collection[str] = (), *, kept: str | None = None) -> Iterator[Begin]:
    """Everything around the measurements of a benchmark.

    Before them it proves that `--output` can be written, and opens the progress. After them it prints table.md and says
    what the folder holds. Ctrl-C, NaN and a full disk end the command with a sentence and what is kept.

    Args:
        options: with `output`, a folder, and the `command` that gives them.
        finished: names of the finished parts whose results are in the folder; the benchmark adds to it as it goes on.
        kept: what is kept where the command ends early, in words. Default: the finished parts.

    Yields:
        `begin`, as in `benchmarks.harness.progress`.
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
