"""Which processor this is: its model, and the widest vector instructions that it has, on which digits depend."""

import platform
import re
from pathlib import Path

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


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Which processor this is, since speeds and last digits differ from one to another.

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
        "name": fields.get("model name", platform.processor() or platform.machine()).strip(),
        "family": fields.get("cpu family", fields.get("CPU architecture")),
        "model": fields.get("model", fields.get("CPU part")),
        "vector_instructions": next((name for flag, name in VECTORS.items() if flag in flags), None),
    }
    return {name: value for name, value in told.items() if value}
