"""What is installed: the files of the wheel and of the sdist, the name, and no other project's files beside it."""

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import jax_meta
from jax_meta.installation import FOREIGN, check_alone

ROOT = Path(__file__).parents[1]


def test_the_distribution_has_a_name_of_its_own():
    assert importlib.metadata.version("jax-metalearn") == jax_meta.__version__
    assert f"version: {jax_meta.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_the_other_project_are_refused_with_the_remedy(tmp_path, name):
    (tmp_path / "base.py").touch()
    check_alone(tmp_path)
    foreign = tmp_path / name if name.endswith(".py") else tmp_path / name / "__init__.py"
    foreign.parent.mkdir(exist_ok=True)
    foreign.touch()
    with pytest.raises(ImportError, match=f"({name}).*pip uninstall --yes jax-meta jax-metalearn"):
        check_alone(tmp_path)


def test_what_pip_leaves_behind_is_not_taken_for_the_other_project(tmp_path):
    for name in FOREIGN:
        if not name.endswith(".py"):
            (tmp_path / name / "__pycache__").mkdir(parents=True)
    check_alone(tmp_path)


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_library_alone(tmp_path):
    pytest.importorskip("build")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)], check=True, timeout=300)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    package = {name for name in files if ".dist-info/" not in name}
    assert all(name.startswith("jax_meta/") for name in package)
    assert {
        "jax_meta/py.typed",
        "jax_meta/saved/page/template.html",
        *(f"jax_meta/datasets/splits/{name}.json" for name in ("cifar_fs", "fc100")),
    } <= package
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "jax_meta").rglob("*.py")}
    assert {name for name in package if name.endswith(".py")} == source
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert source <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
