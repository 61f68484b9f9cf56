"""What `jax_meta.tasks` and `jax_meta.datasets` offer: all of it explained, none of it internal."""

import ast
import inspect
from pathlib import Path

import pytest

import jax_meta
from jax_meta import datasets, host_tasks, tasks
from jax_meta.tasks import sinusoid

PACKAGES = (tasks, datasets, sinusoid)
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in PACKAGES
    for name in package.__all__
    if callable(getattr(package, name))
} | {"jax_meta.host_tasks": host_tasks}


@pytest.mark.parametrize("package", PACKAGES)
def test_completion_offers_what_is_public_and_nothing_else(package):
    assert dir(package) == sorted(package.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_has_arguments_results_and_an_example(name):
    value = PUBLIC[name]
    text = inspect.getdoc(value)
    sections = ["Example:"] if inspect.isclass(value) else ["Args:", "Returns:", "Example:"]
    assert [section for section in sections if f"\n{section}\n" not in text] == []
    assert "assert " in text.partition("Example:")[2]


def test_data_sets_know_nothing_of_tasks():
    for path in Path(datasets.__file__).parent.glob("*.py"):
        imports = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert not [node for node in imports if "jax_meta.tasks" in ast.unparse(node)]
    assert jax_meta.datasets is datasets
