"""Another project's package, `jax-meta` on PyPI, imports as `jax_meta`, too: the two must not share a folder."""

from pathlib import Path

FOREIGN = ("metalearners", "modules", "version.py")
"""What `jax-meta` 1.0.3 has in its folder `jax_meta`, and this package never has."""


def check_alone(folder: Path) -> None:
    """Raises ImportError if files of `jax-meta` are in the folder of this package."""
    found = [name for name in FOREIGN if (folder / name / "__init__.py").exists() or (folder / name).is_file()]
    if found:
        raise ImportError(
            f"{folder} also holds files of another project, `jax-meta` on PyPI ({', '.join(found)}), which has "
            "the same import name, and each has overwritten files of the other. Keep one of them: "
            "pip uninstall --yes jax-meta jax-metalearn, then pip install jax-metalearn."
        )
