"""Many runs at once: sine networks over seeds and step sizes, meta-trained by MAML in one compiled call.

    python -m benchmarks.sweep                     about two minutes on two CPU cores
    python -m benchmarks.sweep --seeds 128         1,024 networks, for a GPU

`jax_meta.fit` is mapped over seeds, outer learning rates and inner step sizes. Both rates are traced, so the same
program trains any of them. Every network is then judged on the same 1,000 new sines after 0 to 10 inner steps of its
own size. Before that, with fewer meta-steps and in turns: all networks in one call against one after the other.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness.report import environment, make_output_folder, positive, positive_number, write_json, write_text
from benchmarks.sweep.networks import Grid, evaluate_network, make_grid, over_grid, train_network
from benchmarks.sweep.results import describe_grid, draw, table
from benchmarks.sweep.throughput import compare_throughput

NUM_TASKS = 4
TEST_TASKS = 1_000


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    grid = make_grid(options.seeds, options.outer_learning_rates, options.step_sizes)
    networks = options.seeds * len(options.outer_learning_rates) * len(options.step_sizes)
    print(f"Times {networks} networks at once, and one after the other, {options.repeats + 1} rounds.", flush=True)
    speed = compare_throughput(grid, steps=options.timed_steps, num_tasks=NUM_TASKS, repeats=options.repeats)
    expected = speed["seconds_at_once"] * options.steps / options.timed_steps
    print(f"Trains {networks} networks for {options.steps:,} meta-steps, about {expected:.0f} s.", flush=True)
    losses, errors, seconds = run(grid, options.steps)
    rows = describe_grid(grid, losses, errors)
    write_json(
        output / "results.json",
        {
            **environment(),
            "seeds": options.seeds,
            "meta_steps": options.steps,
            "tasks_per_meta_step": NUM_TASKS,
            "test_tasks": TEST_TASKS,
            "seconds": seconds,
            "throughput": speed,
            "settings": rows,
        },
    )
    write_text(output / "table.md", table(rows, speed))
    draw(rows, options.seeds).savefig(output / "sweep.png")
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json, table.md and sweep.png.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Meta-trains sine networks over seeds and step sizes in one compiled call.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    step_sizes = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    add = parser.add_argument
    add("--seeds", type=positive, default=8, help="networks for each setting, 2 or more: the band is over them")
    add("--step-sizes", type=positive_number, nargs="+", default=step_sizes, help="of the inner SGD")
    add("--outer-learning-rates", type=positive_number, nargs="+", default=[1e-3], help="of the outer Adam")
    add("--steps", type=positive, default=20_000, help="meta-steps, of 4 tasks each")
    add("--timed-steps", type=positive, default=500, help="meta-steps in a round of the timing")
    add("--repeats", type=positive, default=5, help="rounds of the timing; the median over them is reported")
    add("--output", type=Path, default=Path("results/sweep"), help="folder to write to; it is created")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("the band over seeds needs at least two: --seeds 2")
    return options


def run(grid: Grid, steps: int) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Trains and evaluates every network; returns losses, errors and seconds.

    Args:
        grid: the settings.
        steps: meta-steps.

    Returns:
        Training losses `[seeds, outer learning rates, step sizes, steps]`, mean test errors
        `[seeds, outer learning rates, step sizes, inner steps + 1]`, and seconds of compile, train and evaluate.
    """
    start = time.perf_counter()
    train = jax.jit(over_grid(partial(train_network, steps=steps, num_tasks=NUM_TASKS))).lower(*grid).compile()
    compiled = time.perf_counter()
    params, losses = jax.block_until_ready(train(*grid))
    trained = time.perf_counter()
    errors = np.asarray(evaluate_grid(params, grid))
    seconds = {"compile": compiled - start, "train": trained - compiled, "evaluate": time.perf_counter() - trained}
    return np.asarray(losses), errors, {name: round(value, 3) for name, value in seconds.items()}


def evaluate_grid(params: Any, grid: Grid) -> jax.Array:
    """The mean test error of every network, `[seeds, outer learning rates, step sizes, inner steps + 1]`."""
    evaluate = partial(evaluate_network, test_tasks=TEST_TASKS)
    over_settings = jax.vmap(jax.vmap(evaluate), in_axes=(0, None))
    return jax.jit(jax.vmap(over_settings, in_axes=(0, None)))(params, grid.step_sizes)


if __name__ == "__main__":
    main()
