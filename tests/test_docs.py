"""The pages of docs: their blocks run, their tables are whole, and what docs/check.py looks for is found."""

import importlib.util
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check, quoted = load("check"), load("quoted")
PAGES = {str(page.relative_to(DOCS)): page.read_text("utf-8") for page in sorted(DOCS.rglob("*.md"))}
BLOCKS = {name: re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for name, text in PAGES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, blocks in BLOCKS.items() if blocks])
def test_python_blocks_of_pages_run(name, tmp_path, monkeypatch):
    """Each block may use the names of those before it; executed pages run when the site is built."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in BLOCKS[name]:
        exec(compile(block, name, "exec"), namespace)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= check.LONGEST_README


def test_every_table_of_results_is_on_a_page():
    included = set(re.findall(r"benchmarks/results/(\w+)/table\.md", "\n".join(PAGES.values())))
    assert included == {path.parent.name for path in ROOT.glob("benchmarks/results/*/table.md")}


def test_no_page_of_results_has_a_number_that_no_file_gave():
    assert {name: check.typed_numbers(text) for name, text in PAGES.items() if name.startswith("results/")} == {
        name: [] for name in PAGES if name.startswith("results/")
    }


def test_a_page_to_try_has_an_address_of_its_own():
    shown = re.findall(r'<iframe src="(\w+)\.html"', "\n".join(PAGES.values()))
    assert len(shown) == 2
    assert not {f"{name}.md" for name in shown} & set(PAGES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MAML has 1.50 after one step", ["1.50"]),
        ("it is 0.3 ± 0.07, and 98.5%", ["0.3", "0.07", "98.5"]),
        ("| MAML | 1,200 |", ["1,200"]),
        (
            "{{ post.maml[1] }} through Conv4-64, 5-way 1-shot, `x = 3`, [1703.03400](https://arxiv.org/abs/1703.03400)",
            [],
        ),
        ("```bash\nrun --steps 50\n```\n\nand [there](page-2.md)", []),
    ],
)
def test_typed_numbers_are_found(text, found):
    assert check.typed_numbers(text) == found


def test_every_executed_page_asserts_something():
    assert not [name for name, text in PAGES.items() if check.is_unasserted(text)]
    assert check.is_unasserted("```{code-cell} python\nassertion = 1\n```")
    assert not check.is_unasserted("```{code-cell} python\nassert 1\n```")


def test_a_site_that_breaks_its_promises_is_told(tmp_path):
    entries = zlib.compress(b"jax_meta.maml py:function 1 api.html#$ -\n")
    (tmp_path / "objects.inv").write_bytes(b"1\n2\n3\n4\n" + entries)
    (tmp_path / "style.css").write_text("@font-face { src: url(https://fonts.example/f.woff2) }")
    (tmp_path / "index.html").write_text(
        '<a id="here" href="#here"></a><a href="#there"></a><a href="gone.html"></a><a href="https://elsewhere"></a>'
        '<script src="https://cdn.example/x.js"></script><link rel="stylesheet" href="//cdn.example/y.css">'
    )
    assert "jax_meta.maml" in check.documented(tmp_path)
    assert {*check.public_names()} - check.documented(tmp_path) >= {"jax_meta.fit", "jax_meta.layers.Dense"}
    assert len([*check.outside(tmp_path)]) == 3
    assert [line.split(" links to ")[1] for line in check.broken_links(tmp_path)] == [
        "#there, which has no such anchor",
        "gone.html, which is not there",
    ]
    told = [*check.readme("[a](docs/gone.md)\n" * (check.LONGEST_README + 1), tmp_path)]
    assert len(told) == check.LONGEST_README + 2


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_keeps_its_promises(tmp_path):
    """Without executing its pages, which the build does that CONTRIBUTING names."""
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    pytest.importorskip("myst_nb", reason="the site needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    options = ["-D", "nb_execution_mode=off", "-d", str(tmp_path / "doctrees"), "docs", str(tmp_path / "site")]
    subprocess.run([*command, *options], cwd=ROOT, check=True)
    assert not [*check.problems(tmp_path / "site")]


def test_a_name_that_no_file_has_is_an_error_and_not_an_empty_cell():
    told = quoted.substitutions()
    assert re.fullmatch(r"\d\.\d\d ± \d\.\d\d", told["post"]["maml"][1])
    with pytest.raises(KeyError):
        quoted.here({"sinusoid": {"methods": {}}}, {"result": "sinusoid", "method": "gone", "shots": "10", "step": 1})
