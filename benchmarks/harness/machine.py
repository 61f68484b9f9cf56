"""What made a result: the command, the machine and the versions."""

import importlib.metadata
import os
import platform
from typing import Any

import jax

from jax_meta.runs.processor import processor

PACKAGES = ("jax-metalearn", "jax", "jaxlib", "optax", "flax", "numpy")


def environment(command: str) -> dict[str, Any]:
    """The command, the device, the processor and the versions; no date, so that the same run gives the same file."""
    return {
        "command": command,
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
