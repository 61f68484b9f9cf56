"""What do many networks at once, over seeds and step sizes, cost, and which step size is best?

    python -m benchmarks.sweep                     about two minutes on two CPU cores
    python -m benchmarks.sweep --seeds 128         1,024 networks, for a GPU

`jax_meta.fit`, of sine networks by MAML, is mapped over seeds, outer learning rates and inner step sizes, and compiled
into one call. Both rates are traced, so the same program trains any of them. Every network is then judged on the same
1,000 new sines after 0 to 10 inner steps of its own size. Before that, with fewer meta-steps and in turns: all networks
in one call against one after the other. It writes results.json, table.md and sweep.png.
"""

import argparse
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.harness.arguments import make_parser, parse, positive, positive_number
from benchmarks.harness.compilation import compile_ahead
from benchmarks.harness.progress import Tell
from benchmarks.harness.results import save_figure, write_results
from benchmarks.harness.running import running
from benchmarks.sweep.networks import Grid, evaluate_network, make_grid, over_grid, train_network
from benchmarks.sweep.results import describe_grid, draw, table
from benchmarks.sweep.throughput import compare_throughput
from jax_meta.runs.progress import duration

NUM_TASKS = 4
TEST_TASKS = 1_000
STEP_SIZES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    networks = options.seeds * len(options.outer_learning_rates) * len(options.step_sizes)
    with running(options) as begin:
        grid = make_grid(options.seeds, options.outer_learning_rates, options.step_sizes)
        with begin(f"{networks:,} networks at once, and in turn", 2 * (options.repeats + 1) + 3) as tell:
            sizes = {"steps": options.timed_steps, "num_tasks": NUM_TASKS, "repeats": options.repeats}
            speed = compare_throughput(grid, **sizes, tell=tell)
        expected = duration(speed["seconds_at_once"] * options.steps / options.timed_steps)
        with begin(f"{networks:,} networks, {options.steps:,} meta-steps", 3) as tell:
            losses, errors, seconds = run(grid, options.steps, tell, expected)
        rows = describe_grid(grid, losses, errors)
        content = {
            "seeds": options.seeds,
            "meta_steps": options.steps,
            "tasks_per_meta_step": NUM_TASKS,
            "test_tasks": TEST_TASKS,
            "seconds": seconds,
            "throughput": speed,
            "settings": rows,
        }
        write_results(options, content, table(rows, speed))
        save_figure(options.output / "sweep.png", draw(rows, options.seeds))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser("sweep", __doc__, repeats=5)
    add = parser.add_argument
    add_rates = partial(add, type=positive_number, nargs="+", metavar="RATE")
    add(
        "--seeds",
        type=positive,
        default=8,
        metavar="N",
        help="networks of each setting, 2 or more; the band is over them",
    )
    add_rates("--step-sizes", default=STEP_SIZES, help="of the inner SGD")
    add_rates("--outer-learning-rates", default=[1e-3], help="of the outer Adam")
    add("--steps", type=positive, default=20_000, metavar="N", help=f"meta-steps, of {NUM_TASKS} tasks each")
    add("--timed-steps", type=positive, default=500, metavar="N", help="meta-steps in a turn of the timing")
    options = parse(parser, arguments)
    if options.seeds < 2:
        parser.error("the band over seeds needs at least two: --seeds 2")
    return options


def run(grid: Grid, steps: int, tell: Tell, expected: str) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Trains and evaluates every network; returns losses, errors and seconds.

    Args:
        grid: the settings.
        steps: meta-steps.
        tell: is called with what is going on.
        expected: how long the training takes, in words: it is one call, which tells nothing of itself.

    Returns:
        Training losses `[seeds, outer learning rates, step sizes, steps]`, mean test errors
        `[seeds, outer learning rates, step sizes, inner steps + 1]`, and seconds of compile, train and evaluate.
    """
    tell("compiles")
    train, compiling = compile_ahead(over_grid(partial(train_network, steps=steps, num_tasks=NUM_TASKS)), *grid)
    tell(f"trains, which takes about {expected}")
    start = time.perf_counter()
    params, losses = jax.block_until_ready(train(*grid))
    trained = time.perf_counter()
    tell("evaluates")
    errors = np.asarray(evaluate_grid(params, grid))
    seconds = {"compile": compiling, "train": trained - start, "evaluate": time.perf_counter() - trained}
    return np.asarray(losses), errors, {name: round(value, 3) for name, value in seconds.items()}


def evaluate_grid(params: Any, grid: Grid) -> jax.Array:
    """The mean test error of every network, `[seeds, outer learning rates, step sizes, inner steps + 1]`."""
    evaluate = partial(evaluate_network, test_tasks=TEST_TASKS)
    over_settings = jax.vmap(jax.vmap(evaluate), in_axes=(0, None))
    return jax.jit(jax.vmap(over_settings, in_axes=(0, None)))(params, grid.step_sizes)


if __name__ == "__main__":
    main()
