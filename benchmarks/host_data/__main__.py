"""What does a meta-step cost when its tasks are made on the host, and not on the device? Sines, and Conv4 on images.

    python -m benchmarks.host_data                 a minute and a half on two CPU cores

The samplers take turns, in `jax_meta.fit`; compile time is apart. Run it with nothing else running. It writes
results.json and table.md.
"""

import importlib.util
import itertools
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

import jax_meta
from benchmarks.harness.command import COUNT, make_parser, parse, running
from benchmarks.harness.jax_networks import first_state, our_learning, our_sampler, tasks_at_once
from benchmarks.harness.results import records_table, rounded, write_results
from benchmarks.harness.rounds import Record, Tell, median_ratio, microseconds_a_step, time_turns
from benchmarks.harness.workloads import Workload, conv4, sine, task_source
from benchmarks.host_data.results import COLUMNS
from jax_meta import Task

WORKLOADS = {"sines": sine(4, 1), "Conv4": conv4(4, 1, width=32, queries=5)}


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("host_data", __doc__, repeats=15)
    parser.add_argument("--sine-steps", default=5_000, help="meta-steps on sines in a turn", **COUNT)
    parser.add_argument("--image-steps", default=50, help="meta-steps on images in a turn", **COUNT)
    options = parse(parser, arguments)
    steps = {"sines": options.sine_steps, "Conv4": options.image_steps}
    rows: list[Record] = []
    with running(options) as begin:
        for name, workload in WORKLOADS.items():
            samplers = make_samplers(workload)
            with begin(name, len(samplers) * (options.repeats + 1)) as tell:
                rows += measure(name, workload, samplers, options.repeats, steps[name], tell)
        content = {"repeats": options.repeats, "steps": steps, "rows": rows}
        write_results(options, content, records_table(rows, COLUMNS))


def measure(network: str, workload: Workload, samplers: dict, repeats: int, steps: int, tell: Tell) -> list[Record]:
    """Rows for the table, one a sampler; the ratio is the median of the rounds' own ratios."""
    learning, at_once = our_learning(workload), tasks_at_once(workload, jax.default_backend())
    options: dict = {"num_meta_steps": steps, "num_tasks": workload.num_tasks, "task_batch_size": at_once}
    state = first_state(workload, learning)
    runs = {name: partial(jax_meta.fit, *learning, sampler, state, **options) for name, sampler in samplers.items()}
    taken = time_turns(runs, repeats, tell)  # the first round compiles
    return [
        {
            "network": network,
            "tasks_from": name,
            **microseconds_a_step(seconds, steps),
            "ratio": rounded(median_ratio(seconds, taken["device"]), 3),
        }
        for name, seconds in taken.items()
    ]


def make_samplers(workload: Workload) -> dict:
    """The same tasks drawn on the device, by NumPy, and by an iterable: a PyTorch DataLoader if there is one."""
    draw = task_source(workload)
    by_function = jax_meta.host_tasks(lambda rng, num_tasks: Task(*draw(rng)))
    samplers = {"device": our_sampler(workload), "function": by_function}
    if importlib.util.find_spec("torch"):
        return {**samplers, "DataLoader": jax_meta.host_tasks(data_loader(workload))}
    rng = np.random.default_rng(0)
    return {**samplers, "generator": jax_meta.host_tasks(Task(*draw(rng)) for _ in itertools.count())}


def data_loader(workload: Workload) -> Iterator[Task]:
    """Batches without end, which a DataLoader collates of single tasks, as people do."""
    from torch.utils.data import DataLoader, IterableDataset

    draw, rng = task_source(workload._replace(num_tasks=1)), np.random.default_rng(0)

    class Tasks(IterableDataset):
        def __iter__(self) -> Iterator[Task]:
            return (jax.tree.map(lambda leaf: leaf[0], Task(*draw(rng))) for _ in itertools.count())

    return iter(DataLoader(Tasks(), batch_size=workload.num_tasks))


if __name__ == "__main__":
    main()
