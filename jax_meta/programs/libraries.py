"""Which code is a library's: the globals that it reads do not change."""

import functools
import site
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


def is_library_file(file: str | None) -> bool:
    """Whether a module of this file is a library's; one that is built in has none."""
    return file is None or file.startswith(FOLDERS)
