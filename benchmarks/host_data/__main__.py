"""What does a meta-step cost when its tasks are made on the host, and not on the device? Sines, and Conv4 on images.

    python -m benchmarks.host_data                 about four minutes on two CPU cores

The samplers take turns, in `jax_meta.fit`; compile time is apart. Run it with nothing else running. It writes
results.json and table.md.
"""

from typing import Any

import jax
import optax

import jax_meta
from benchmarks.harness.arguments import COUNT, make_parser, parse
from benchmarks.harness.jax_networks import initial_weights, our_learner, tasks_at_once, to_params
from benchmarks.harness.progress import Tell
from benchmarks.harness.results import records_table, rounded, write_results
from benchmarks.harness.rounds import Record, median_ratio, microseconds_a_step, time_turns
from benchmarks.harness.running import running
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Workload, conv4, sine
from benchmarks.host_data.results import COLUMNS
from benchmarks.host_data.sources import make_samplers

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


def measure(
    network: str, workload: Workload, samplers: dict[str, Any], repeats: int, steps: int, tell: Tell
) -> list[Record]:
    """Rows for the table, one a sampler; the ratio is the median of the rounds' own ratios."""
    learner, outer = our_learner(workload), optax.adam(OUTER_LEARNING_RATE)
    state = jax_meta.init(learner, outer, to_params(initial_weights(workload)), jax.random.key(1))
    at_once = tasks_at_once(workload, jax.default_backend())
    options: dict[str, Any] = {"num_tasks": workload.num_tasks, "task_batch_size": at_once}

    def run(sampler: Any) -> Any:
        return jax_meta.fit(learner, outer, sampler, state, num_meta_steps=steps, **options)

    runs = {name: lambda sampler=sampler: run(sampler) for name, sampler in samplers.items()}
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


if __name__ == "__main__":
    main()
