"""How long is a meta-step of each method? The ratios that the post claims, measured in one interleaved run.

    python -m benchmarks.sinusoid.speed

The post: first-order MAML is about 33% faster than MAML, and Reptile slightly faster. In its own notebook, measured,
first-order takes 0.75 to 0.85 of MAML's time and Reptile with k = 3 is the slowest. Here, on 2 CPU cores, first-order
MAML takes about 0.5 of MAML's time and Reptile 0.7 to 0.9. Compile time is apart. Run it with nothing else running.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

import jax_meta
from benchmarks.harness.index import Row
from benchmarks.harness.report import (
    environment,
    make_output_folder,
    markdown_table,
    positive,
    rounded,
    write_json,
    write_text,
)
from benchmarks.sinusoid.methods import Method, initial_states, methods
from benchmarks.sinusoid.protocol import PROTOCOLS, make_training_set, task_stream

COMPARED = ("maml", "fomaml", "reptile")


def main(arguments: list[str] | None = None) -> None:
    """Times the methods in turn, again and again, and writes the medians."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    rows = [row for seeds in options.seeds for row in measure(seeds, options.repeats, options.steps)]
    write_json(output / "results.json", {**environment(), "repeats": options.repeats, "methods": rows})
    header = ["method", "seeds", "compile, s", "µs a meta-step", "quartiles", "of MAML's time"]
    cells = [
        [
            row["label"],
            str(row["seeds"]),
            f"{row['compile_seconds']:.2f}",
            f"{row['microseconds']:.1f}",
            "{:.1f} - {:.1f}".format(*row["quartiles"]),
            f"{row['ratio_to_maml']:.2f}",
        ]
        for row in rows
    ]
    write_text(output / "table.md", markdown_table(header, cells))
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json and table.md.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Times a meta-step of MAML, first-order MAML and Reptile on sines, in one interleaved run.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=positive, nargs="+", default=[1, 5], help="networks trained at once, one row for each")
    add("--repeats", type=positive, default=15, help="rounds; the median over them is reported")
    add("--steps", type=positive, default=2_000, help="meta-steps of each method in a round")
    add("--output", type=Path, default=Path("results/sinusoid_speed"), help="folder to write to; it is created")
    return parser.parse_args(arguments)


def measure(seeds: int, repeats: int, steps: int) -> list[dict[str, Any]]:
    """Rows for the table, one a method; the ratio is the median of the rounds' own ratios."""
    chosen = {name: method for name, method in methods(PROTOCOLS["post"]).items() if name in COMPARED}
    timers = {name: prepare(method, seeds, steps) for name, method in chosen.items()}
    rounds = [{name: run() for name, (run, _) in timers.items()} for _ in range(repeats + 1)][1:]
    return [
        {
            "label": method.label,
            "seeds": seeds,
            "compile_seconds": round(timers[name][1], 2),
            "microseconds": rounded(statistics.median(times[name] for times in rounds), 4),
            "quartiles": rounded(statistics.quantiles([times[name] for times in rounds], n=4)[::2], 4),
            "ratio_to_maml": rounded(statistics.median(times[name] / times["maml"] for times in rounds), 3),
        }
        for name, method in chosen.items()
    ]


def prepare(method: Method, seeds: int, steps: int) -> tuple[Any, float]:
    """Compiles a method; returns a function that takes `steps` meta-steps and tells µs a step, and compile seconds."""
    protocol, key = PROTOCOLS["post"], jax.random.key(0)
    states = initial_states(method, key, seeds)
    tasks = task_stream(protocol, make_training_set(protocol, key), states.key)(0, steps)
    fit_tasks = jax.jit(jax.vmap(partial(jax_meta.fit_tasks, method.learner, method.optimizer)))
    start = time.perf_counter()
    compiled = fit_tasks.lower(tasks, states).compile()
    compile_seconds = time.perf_counter() - start

    def run() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(tasks, states))
        return (time.perf_counter() - start) / steps * 1e6

    return run, compile_seconds


def row(told: Mapping[str, Any]) -> Row:
    """The line of benchmarks/README.md."""
    one = {row["label"]: row for row in told["methods"] if row["seeds"] == told["methods"][0]["seeds"]}
    shares = [f"{label} takes {row['ratio_to_maml']:.2f} of that" for label, row in one.items() if label != "MAML"]
    return Row(
        "How long is a meta-step of each method on sines?",
        0.5,
        f"MAML {one['MAML']['microseconds']:.1f} µs; {', '.join(shares)}",
    )


if __name__ == "__main__":
    main()
