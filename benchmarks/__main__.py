"""Writes benchmarks/README.md from the committed results: `python -m benchmarks`."""

import importlib
from pathlib import Path

from benchmarks.harness.results import markdown_table, read_json, write_text

BENCHMARKS = Path(__file__).parent
HEADER = ("Question", "Command", "Minutes on two cores", "Answer")
INTRODUCTION = """# Benchmarks

One folder a question, run as `python -m benchmarks.<question>` from the top folder of the repository; `--help` says
what is asked, how long it takes and what is written. Each has the same plan: `__main__.py` has the arguments and the
order of events, `results.py` what is written, and the other files what is measured. [harness](harness) has what they
share.

`python -m benchmarks` writes this file from the [results](results), each of which one run of its command made.

"""


def main() -> None:
    write_text(BENCHMARKS / "README.md", make_index(BENCHMARKS / "results"))
    print(f"{BENCHMARKS / 'README.md'} is written.")


def make_index(results: Path) -> str:
    """The text of README.md: of each folder of results the question, which is a docstring, and what `row` says."""
    rows = []
    for path in sorted(results.glob("*/results.json")):
        told = read_json(path)
        module = importlib.import_module(told["command"].split()[2])
        question = (module.__doc__ or "").splitlines()[0]
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{module.__name__}.results")
        minutes, answer = module.row(told)
        rows.append([question, f"`{told['command']}`", "under 1" if minutes < 1 else f"{minutes:.0f}", answer])
    return INTRODUCTION + markdown_table(HEADER, rows, numbers="---")


if __name__ == "__main__":
    main()
