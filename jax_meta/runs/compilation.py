"""JAX's persistent compilation cache, in one call."""

import os
from pathlib import Path

import jax


def cache_compilation(folder: str | Path | None = None) -> Path:
    """Keeps compiled programs on disk, for this process and later ones: the next start compiles nothing anew.

    It sets JAX's own options, so it is for the start of a program. Programs are told apart by JAX, with its version and
    the machine; the folder may be deleted at any time.

    Args:
        folder: made if missing. Default: `jax_meta/compiled` in `$XDG_CACHE_HOME`, or in `~/.cache`.

    Returns:
        The folder.

    Raises:
        OSError: if it cannot be made.

    Example:
        >>> import jax, jax_meta, tempfile
        >>> before = jax.config.jax_compilation_cache_dir
        >>> folder = jax_meta.cache_compilation(tempfile.mkdtemp())
        >>> assert folder.is_dir() and jax.config.jax_compilation_cache_dir == str(folder)
        >>> jax.config.update("jax_compilation_cache_dir", before)  # and no more
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (home / "jax_meta" / "compiled" if folder is None else Path(folder)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder
