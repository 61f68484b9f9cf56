"""What does a meta-step cost when its tasks are made on the host, and not on the device? Sines, and Conv4 on images.

    python -m benchmarks.host_data

The samplers take turns, in `jax_meta.fit`; compile time is apart. Run it with nothing else running.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax

import jax_meta
from benchmarks.harness.report import (
    environment,
    make_output_folder,
    markdown_table,
    positive,
    rounded,
    write_json,
    write_text,
)
from benchmarks.host_data.sources import OUTER, Workload, images, sines

WORKLOADS = {"sines": sines, "Conv4": images}


def main(arguments: list[str] | None = None) -> None:
    """Times the samplers in turn, again and again, and writes the medians."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    steps = {"sines": options.sine_steps, "Conv4": options.image_steps}
    rows = [row for name, make in WORKLOADS.items() for row in measure(name, make(), options.rounds, steps[name])]
    write_json(output / "results.json", {**environment(), "rounds": options.rounds, "steps": steps, "rows": rows})
    header = ["network", "tasks from", "µs a meta-step", "quartiles", "of the device's time"]
    cells = [
        [
            row["network"],
            row["tasks from"],
            f"{row['microseconds']:,.1f}",
            "{:,.1f} - {:,.1f}".format(*row["quartiles"]),
            f"{row['ratio']:.2f}",
        ]
        for row in rows
    ]
    write_text(output / "table.md", markdown_table(header, cells))
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json and table.md.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Times a meta-step with tasks of the device and of the host, in one interleaved run.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=positive, default=15, help="rounds; the median over them is reported")
    add("--sine-steps", type=positive, default=5_000, help="meta-steps on sines of each sampler in a round")
    add("--image-steps", type=positive, default=50, help="meta-steps on images of each sampler in a round")
    add("--output", type=Path, default=Path("results/host_data"), help="folder to write to; it is created")
    return parser.parse_args(arguments)


def measure(network: str, workload: Workload, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Rows for the table, one a sampler; the ratio is the median of the rounds' own ratios."""
    times = [
        {name: run(workload, sampler, steps) for name, sampler in workload.samplers.items()} for _ in range(rounds + 1)
    ]
    times = times[1:]  # the first compiles
    return [
        {
            "network": network,
            "tasks from": name,
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
