"""This process's resident memory, now and at its peak, in MiB."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident() -> float:
    """What is resident now; where only Linux could tell, the peak so far."""
    return from_status("VmRSS") if STATUS.exists() else peak()


def peak() -> float:
    """The most that was resident since the start, or since `forget_peak`.

    Linux hands the peak that `getrusage` tells from the parent on to its child, and the parent has JAX in memory: where
    there is `/proc`, its figure counts, which begins with the program.
    """
    if STATUS.exists():
        return from_status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Lets the peak begin anew with what is resident now, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def from_status(name: str) -> float:
    """A line of `/proc/self/status`, which are in kB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[name].split()[0]) / 2**10
