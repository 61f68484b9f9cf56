"""The Python blocks of the README and of CONTRIBUTING run, in order, and the README keeps its promises."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks(name: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_python_blocks_run(name):
    """Each block may use the names of those before it; its assertions are the test."""
    found = blocks(name, "python")
    assert found
    namespace = {}
    for block in found:
        exec(compile(block, name, "exec"), namespace)


def test_commands_name_files_and_options_that_exist():
    commands = [line for block in blocks("README.md", "bash") for line in block.splitlines() if "benchmarks/" in line]
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)
        script = next(word for word in words if word.startswith("benchmarks/"))
        text = (ROOT / script).read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in words if word.startswith("--"))


def test_links_and_pictures_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / (target[0] or target[1])).exists(), target
