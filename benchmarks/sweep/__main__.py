"""What do many networks at once, over seeds and step sizes, cost, and which step size is best?

    python -m benchmarks.sweep                     about two minutes on two CPU cores
    python -m benchmarks.sweep --seeds 128         1,024 networks, for a GPU

`jax_meta.fit`, of sine networks by MAML, is mapped over seeds, outer learning rates and inner step sizes, and compiled
into one call. Both rates are traced, so the same program trains any of them. Every network is then judged on the same
1,000 new sines after 0 to 10 inner steps of its own size. Before that, with fewer meta-steps and in turns: all networks
in one call against one after the other. It writes results.json, table.md and sweep.png.
"""

from benchmarks.harness.command import COUNT, NUMBERS, make_parser, parse, running
from benchmarks.harness.results import write_results
from benchmarks.sweep.networks import compare_throughput, make_grid, run
from benchmarks.sweep.results import META_STEPS, describe_grid, draw, table
from jax_meta.runs.progress import duration

NUM_TASKS = 4
TEST_TASKS = 1_000
STEP_SIZES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("sweep", __doc__, repeats=5)
    add = parser.add_argument
    add("--seeds", default=8, help="networks of each setting, 2 or more; the band is over them", **COUNT)
    add("--step-sizes", default=STEP_SIZES, help="of the inner SGD", **NUMBERS)
    add("--outer-learning-rates", default=[1e-3], help="of the outer Adam", **NUMBERS)
    add("--steps", default=META_STEPS, help=f"meta-steps, of {NUM_TASKS} tasks each", **COUNT)
    add("--timed-steps", default=500, help="meta-steps in a turn of the timing", **COUNT)
    options = parse(parser, arguments)
    if options.seeds < 2:
        parser.error("the band over seeds needs at least two: --seeds 2")
    networks = options.seeds * len(options.outer_learning_rates) * len(options.step_sizes)
    with running(options) as begin:
        grid = make_grid(options.seeds, options.outer_learning_rates, options.step_sizes)
        with begin(f"{networks:,} networks at once, and in turn", 2 * (options.repeats + 1) + 3) as tell:
            sizes = {"steps": options.timed_steps, "num_tasks": NUM_TASKS, "repeats": options.repeats}
            speed = compare_throughput(grid, **sizes, tell=tell)
        expected = duration(speed["seconds_at_once"] * options.steps / options.timed_steps)
        with begin(f"{networks:,} networks, {options.steps:,} meta-steps", 3) as tell:
            losses, errors, seconds = run(grid, options.steps, NUM_TASKS, TEST_TASKS, tell, expected)
        content = {
            "seeds": options.seeds,
            "meta_steps": options.steps,
            "tasks_per_meta_step": NUM_TASKS,
            "test_tasks": TEST_TASKS,
            "seconds": seconds,
            "throughput": speed,
            "settings": describe_grid(grid, losses, errors),
        }
        write_results(options, content, table(content), sweep=draw(content["settings"], options.seeds))


if __name__ == "__main__":
    main()
