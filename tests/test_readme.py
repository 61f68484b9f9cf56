"""The Python blocks of the README and of CONTRIBUTING run, in order, and the README keeps its promises."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.harness.command import parse

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", [pytest.param("README.md", marks=pytest.mark.slow), "CONTRIBUTING.md"])
def test_python_blocks_run(name, tmp_path, monkeypatch):
    """Each block may use the names of those before it; its assertions are the test."""
    monkeypatch.chdir(tmp_path)
    found = blocks(name, "python")
    assert found
    namespace = {}
    for block in found:
        exec(compile(block, name, "exec"), namespace)


COMMANDS = re.findall(r"-m (benchmarks\.\S+)(.*)", "\n".join(blocks("README.md", "bash")))


@pytest.mark.parametrize(("name", "words"), COMMANDS)
def test_commands_of_benchmarks_are_read_by_their_parsers(name, words, monkeypatch):
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")

    def parse_and_stop(parser, arguments):
        raise StopIteration(parse(parser, arguments).command)

    monkeypatch.setattr(module, "parse", parse_and_stop)
    with pytest.raises(StopIteration, match=f"^python -m {name}"):
        module.main(shlex.split(words, comments=True))


def test_each_benchmark_has_a_command_in_the_readme():
    rooms = {path.parent.name for path in ROOT.glob("benchmarks/*/__main__.py")}
    assert rooms == {name.split(".")[1] for name, _ in COMMANDS}


def test_links_and_pictures_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", read("README.md")):
        assert (ROOT / (target[0] or target[1])).exists(), target


def test_every_row_of_results_is_a_row_of_a_committed_table():
    _, results = read("README.md").split("\n## Results\n")
    rows = {line for line in results.splitlines() if line.startswith("| ")}
    made = {line for table in ROOT.glob("benchmarks/results/*/table.md") for line in table.read_text().splitlines()}
    assert rows
    assert rows <= made, rows - made


def test_a_table_and_its_results_come_from_one_run_of_the_command_in_the_readme():
    for table in ROOT.glob("benchmarks/results/*/table.md"):
        command = json.loads((table.parent / "results.json").read_text())["command"]
        assert command in {line for block in blocks("README.md", "bash") for line in block.splitlines()}
