"""A model on paper of a meta-step whose tasks are spread over devices: computing, then one all-reduce; its networks.

    seconds(n) = ceil(tasks / n) * flop_per_task / flop_per_second + reduction(n)

A ring sends 2 (n - 1) / n of the bytes over each link in 2 (n - 1) messages; a tree sends all bytes up and down again,
in 2 ceil(log2 n) messages. Nothing overlaps. Left out is what every device does alike, such as the outer update and the
start of kernels, so that small networks come out worse than they are where these take longer than the tasks.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

import jax_meta
from jax_meta import LossFn, Task
from jax_meta.networks.models import MLP, Conv4, ResNet12


class Machine(NamedTuple):
    flop_per_second: float  # what a device achieves on the products of a meta-step, not its peak
    bandwidth: float  # bytes a second, of each link and in each direction
    latency: float  # seconds until a message of no bytes has arrived
    reduction: str = "ring"  # or "tree"


class Work(NamedTuple):
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


class Network(NamedTuple):
    title: str  # for tables and figures
    model: nn.Module
    measure: Callable[..., LossFn]  # `jax_meta.regression` or `jax_meta.classification`
    example: tuple[int, ...]  # the shape of an input
    ways: int  # classes of a task; 1 on sines
    shots: int  # support examples, of a class
    queries: int  # query examples, of a class
    kernels_a_block: int = 1  # of convolutions, in the order of their numbers; each block halves height and width


NETWORKS = {
    "sine": Network("sine MLP, 1-40-40-1", MLP(), jax_meta.regression, (1,), 1, 10, 10),
    "conv4": Network("Conv4-64, 28 x 28", Conv4(5), jax_meta.classification, (28, 28, 1), 5, 1, 15),
    "resnet12": Network("ResNet-12, 84 x 84", ResNet12(5), jax_meta.classification, (84, 84, 3), 5, 1, 15, 4),
}


def work_of(network: Network, inner_steps: int) -> Work:
    return Work(flop_per_task(network, inner_steps), reduced_bytes(network))


def shapes(network: Network) -> tuple[Any, Task]:
    def batch(examples):
        inputs = jax.ShapeDtypeStruct((examples, *network.example), jnp.float32)
        if network.ways == 1:
            return inputs, jax.ShapeDtypeStruct((examples, 1), jnp.float32)
        return inputs, jax.ShapeDtypeStruct((examples,), jnp.int32)

    task = Task(batch(network.ways * network.shots), batch(network.ways * network.queries))
    params = jax.eval_shape(network.model.init, jax.random.key(0), task.support[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), params), task


def reduced_bytes(network: Network) -> int:
    """Bytes of a meta-gradient, the metrics of a loss and the loss itself, in float32, which one all-reduce sums."""
    params, task = shapes(network)
    loss_fn = network.measure(lambda params, inputs: jnp.zeros((len(inputs), network.ways)))
    _, metrics = jax.eval_shape(loss_fn, params, task.query, jax.eval_shape(lambda: jax.random.key(0)))
    return 4 * (1 + sum(leaf.size for leaf in jax.tree.leaves((params, metrics))))


def flop_per_task(network: Network, inner_steps: int) -> float:
    """Multiplications and additions in the products of a task's second-order meta-gradient.

    A layer needs its outputs and the gradients of its inputs and kernel, 3 products, for each query; a layer on the
    data needs no gradient of its inputs. A second-order inner step has those 3, and for each of them the 2 of its
    transposes: 9. For layers on the data these are 2, and 4.
    """
    on_data, others = forward_flop(network)
    queries, supports = network.ways * network.queries, network.ways * network.shots
    return queries * (2 * on_data + 3 * others) + inner_steps * supports * (4 * on_data + 9 * others)


def forward_flop(network: Network) -> tuple[float, float]:
    """FLOP of one example's forward pass, in the layers on the data and in all others."""
    params, _ = shapes(network)
    flop = {True: 0.0, False: 0.0}
    for path, kernel in flatten_dict(params["params"]).items():
        if path[-1] == "kernel":
            block = int(path[0].split("_")[1]) // network.kernels_a_block if kernel.ndim == 4 else 0
            positions = prod(size // 2**block for size in network.example[:2]) if kernel.ndim == 4 else 1
            flop[block == 0 and kernel.shape[-2] == network.example[-1]] += 2 * kernel.size * positions
    return flop[True], flop[False]
