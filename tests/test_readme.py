"""The Python blocks of the README and of CONTRIBUTING run, in order; what they and the pages promise is kept."""

import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.harness.command import parse

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PAGES = ["README.md", *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/**/*.md")))]


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


SHELL = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
COMMANDS = re.findall(r"-m (benchmarks\.\S+)(.*)", "\n".join(SHELL))


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


def test_each_benchmark_has_a_command_in_the_readme_or_a_page():
    rooms = {path.parent.name for path in ROOT.glob("benchmarks/*/__main__.py")}
    assert rooms == {name.split(".")[1] for name, _ in COMMANDS}


def test_links_and_pictures_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", read("README.md")):
        assert (ROOT / (target[0] or target[1])).exists(), target


def quoted_rows() -> set[str]:
    """Published figures against ours, as the README shows them: made from results.json by the module of the site."""
    spec = importlib.util.spec_from_file_location("docs_quoted", ROOT / "docs" / "quoted.py")
    assert spec is not None
    assert spec.loader is not None
    quoted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quoted)
    return set(quoted.readme_rows())


def test_every_row_of_results_is_a_row_of_a_committed_table():
    text = read("README.md")
    results = text[text.index("\n## What it reproduces\n") : text.index("\n## Where next\n")]
    headings = {"| what | published | here |", "| --- | ---: | ---: |"}
    rows = {line for line in results.splitlines() if line.startswith("| ")} - headings
    made = {line for table in ROOT.glob("benchmarks/results/*/table.md") for line in table.read_text().splitlines()}
    assert rows
    assert rows <= made | quoted_rows(), rows - made - quoted_rows()
    assert quoted_rows() <= rows


def test_a_table_and_its_results_come_from_one_run_of_a_command_in_the_readme_or_a_page():
    for table in ROOT.glob("benchmarks/results/*/table.md"):
        command = json.loads((table.parent / "results.json").read_text())["command"]
        assert command in SHELL
