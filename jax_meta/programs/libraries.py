"""Which code is a library's: the globals that it reads do not change."""

import functools
import site
import sys
import sysconfig
import types
from pathlib import Path

FOLDERS = tuple(
    {
        str(Path(__file__).parents[1]),
        *site.getsitepackages(),
        *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),
    }
)
"""Where Python, what is installed, and this package lie."""


@functools.lru_cache(maxsize=4096)
def is_library(code: types.CodeType) -> bool:
    """Whether code lies in an installed package."""
    return code.co_filename.startswith(FOLDERS)


def is_library_module(module: types.ModuleType | None) -> bool:
    """Whether a module is a library's. A notebook has no file, as what is built in has none."""
    file = getattr(module, "__file__", None)
    return file.startswith(FOLDERS) if file else module is not None and module.__name__ in sys.builtin_module_names
