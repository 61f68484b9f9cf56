"""What does a meta-step cost when its tasks are made on the host, and not on the device? Sines, and Conv4 on images.

    python -m benchmarks.host_data                 about four minutes on two CPU cores

The samplers take turns, in `jax_meta.fit`; compile time is apart. Run it with nothing else running. It writes
results.json and table.md.
"""

import argparse
import statistics
import time
from typing import Any

import jax

import jax_meta
from benchmarks.harness.arguments import make_parser, parse, positive
from benchmarks.harness.progress import Tell
from benchmarks.harness.results import rounded, write_results
from benchmarks.harness.running import running
from benchmarks.host_data.results import make_table
from benchmarks.host_data.sources import OUTER, Workload, images, sines

WORKLOADS = {"sines": sines, "Conv4": images}


def main(arguments: list[str] | None = None) -> None:
    """Times the samplers in turn, again and again, and writes the medians."""
    options = parse_arguments(arguments)
    steps = {"sines": options.sine_steps, "Conv4": options.image_steps}
    rows: list[dict[str, Any]] = []
    with running(options) as begin:
        for name, make in WORKLOADS.items():
            with begin(name, options.repeats + 1) as tell:
                rows += measure(name, make(), options.repeats, steps[name], tell)
        write_results(options, {"repeats": options.repeats, "steps": steps, "rows": rows}, make_table(rows))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser("host_data", __doc__, repeats=15)
    add = parser.add_argument
    add("--sine-steps", type=positive, default=5_000, metavar="N", help="meta-steps on sines in a turn")
    add("--image-steps", type=positive, default=50, metavar="N", help="meta-steps on images in a turn")
    return parse(parser, arguments)


def measure(network: str, workload: Workload, repeats: int, steps: int, tell: Tell) -> list[dict[str, Any]]:
    """Rows for the table, one a sampler; the ratio is the median of the rounds' own ratios."""
    times = []
    for place in range(repeats + 1):
        tell(f"round {place}" if place else "compiles")
        times.append({name: run(workload, sampler, steps) for name, sampler in workload.samplers.items()})
    times = times[1:]  # the first compiles
    return [
        {
            "network": network,
            "tasks_from": name,
            "microseconds": rounded(statistics.median(each[name] for each in times), 4),
            "quartiles": rounded(quartiles([each[name] for each in times]), 4),
            "ratio": rounded(statistics.median(each[name] / each["device"] for each in times), 3),
        }
        for name in workload.samplers
    ]


def quartiles(values: list[float]) -> list[float]:
    """The first and the third; of one value, that twice."""
    return statistics.quantiles(values, n=4)[::2] if len(values) > 1 else values * 2


def run(workload: Workload, sampler: Any, steps: int) -> float:
    """Takes meta-steps, and tells µs a step."""
    start = time.perf_counter()
    trained = jax_meta.fit(
        workload.learner,
        OUTER,
        sampler,
        workload.state,
        num_meta_steps=steps,
        num_tasks=workload.num_tasks,
        task_batch_size=workload.task_batch_size,
    )
    jax.block_until_ready(trained)
    return (time.perf_counter() - start) / steps * 1e6


if __name__ == "__main__":
    main()
