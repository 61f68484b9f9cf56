"""A model on paper of a meta-step whose tasks are spread over devices: computing, then one all-reduce.

    seconds(n) = ceil(tasks / n) * flop_per_task / flop_per_second + reduction(n)

A ring sends 2 (n - 1) / n of the bytes over each link in 2 (n - 1) messages; a tree sends all bytes up and down again,
in 2 ceil(log2 n) messages. Nothing overlaps. Left out is what every device does alike, such as the outer update and the
start of kernels, so that small networks come out worse than they are where these take longer than the tasks.
"""

from typing import Any, NamedTuple

import numpy as np


class Machine(NamedTuple):
    """The assumptions about devices and links."""

    flop_per_second: float  # what a device achieves on the products of a meta-step, not its peak
    bandwidth: float  # bytes a second, of each link and in each direction
    latency: float  # seconds until a message of no bytes has arrived
    reduction: str = "ring"  # or "tree"


class Work(NamedTuple):
    """What a meta-step has to do."""

    flop_per_task: float  # multiplications and additions of the meta-gradient of one task
    reduced_bytes: int  # bytes that are summed over the devices: the meta-gradient and the metrics


def reduction_seconds(machine: Machine, size: float, devices: Any) -> Any:
    """Seconds of an all-reduce of so many bytes over so many devices, a number or an array."""
    devices = np.asarray(devices)
    if machine.reduction == "ring":
        return 2 * (devices - 1) * (size / devices / machine.bandwidth + machine.latency)
    return 2 * np.ceil(np.log2(devices)) * (size / machine.bandwidth + machine.latency)


def step_seconds(machine: Machine, work: Work, tasks: int, devices: Any) -> Any:
    """Seconds of a meta-step: the device with most tasks computes, and then all reduce."""
    largest_share = np.ceil(tasks / np.asarray(devices))
    computing = largest_share * work.flop_per_task / machine.flop_per_second
    return computing + reduction_seconds(machine, work.reduced_bytes, devices)


def efficiency(machine: Machine, work: Work, tasks: int, devices: Any) -> Any:
    """The speed-up over one device as a fraction of the number of devices; the tasks of a step stay the same."""
    return step_seconds(machine, work, tasks, 1) / (devices * step_seconds(machine, work, tasks, devices))


def most_devices(machine: Machine, work: Work, tasks: int) -> int:
    """The largest number of devices with an efficiency of one half or more; 2 tasks bound it, as half are then idle."""
    devices = np.arange(1, 2 * tasks + 1)
    return int(devices[efficiency(machine, work, tasks, devices) >= 0.5 - 1e-12][-1])
