"""What made a result: the command, the machine and the versions."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax-metalearn", "jax", "jaxlib", "optax", "flax", "numpy")
VECTORS = {
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "avx": "AVX",
    "sse4_2": "SSE4.2",
    "sse2": "SSE2",
    "sve2": "SVE2",
    "sve": "SVE",
    "asimd": "NEON",
}
"""Vector instructions by the kernel's name for them, the widest first."""


def environment(command: str) -> dict[str, Any]:
    """The command, the device, the processor and the versions; no date, so that the same run gives the same file."""
    return {
        "command": command,
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Which processor this is, since speeds and their ratios differ from one to another.

    Args:
        cpuinfo: the kernel's description; where there is none, Python's is all that is told.

    Returns:
        Its `name`, `family`, `model` and `vector_instructions`, the widest that it has, so far as they are known.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields = dict(re.findall(r"^([^\t:\n]+)\t*: (.+)$", text, re.MULTILINE))
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    told = {
        "name": fields.get("model name", platform.processor() or platform.machine()),
        "family": fields.get("cpu family", fields.get("CPU architecture")),
        "model": fields.get("model", fields.get("CPU part")),
        "vector_instructions": next((name for flag, name in VECTORS.items() if flag in flags), None),
    }
    return {name: value for name, value in told.items() if value}
