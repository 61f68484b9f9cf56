"""How long is a meta-step of MAML, first-order MAML and Reptile on sines? The ratios that the post claims, measured.

    python -m benchmarks.sinusoid.speed                under a minute on two CPU cores

The post: first-order MAML is about 33% faster than MAML, and Reptile slightly faster. In its own notebook, measured,
first-order takes 0.75 to 0.85 of MAML's time and Reptile with k = 3 is the slowest. Here, on 2 CPU cores, first-order
MAML takes about 0.5 of MAML's time and Reptile 0.7 to 0.9. All take turns in one run, compile time is apart. Run it
with nothing else running. It writes results.json and table.md.
"""

from functools import partial
from typing import Any

import jax

from benchmarks.harness.command import COUNT, COUNTS, make_parser, parse, running
from benchmarks.harness.results import Row, records_table, rounded, write_results
from benchmarks.harness.rounds import Record, Tell, median_ratio, microseconds_a_step, time_turns
from benchmarks.sinusoid.methods import Method, compile_training, initial_states, methods
from benchmarks.sinusoid.protocol import PROTOCOLS, make_training_set, task_stream

COMPARED = ("maml", "fomaml", "reptile")
COLUMNS = {
    "method": "{label}",
    "seeds": "{seeds}",
    "compile, s": "{compile_seconds:.2f}",
    "µs a meta-step": "{microseconds:.1f}",
    "quartiles": "{quartiles[0]:.1f} - {quartiles[1]:.1f}",
    "of MAML's time": "{ratio_to_maml:.2f}",
}


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("sinusoid.speed", __doc__, repeats=15)
    parser.add_argument("--seeds", default=[1, 5], help="networks at once, a row for each number", **COUNTS)
    parser.add_argument("--steps", default=2_000, help="meta-steps of each method in a round", **COUNT)
    options = parse(parser, arguments)
    with running(options) as begin:
        rows = []
        for seeds in options.seeds:
            with begin(f"seeds: {seeds}", len(COMPARED) * (options.repeats + 2)) as tell:
                rows += measure(seeds, options.repeats, options.steps, tell)
        write_results(options, {"repeats": options.repeats, "methods": rows}, records_table(rows, COLUMNS))


def measure(seeds: int, repeats: int, steps: int, tell: Tell) -> list[Record]:
    """Rows for the table, one a method; the ratio is the median of the rounds' own ratios."""
    chosen = {name: method for name, method in methods(PROTOCOLS["post"]).items() if name in COMPARED}
    compiled = {}
    for name, method in chosen.items():
        tell(f"compiles {name}")
        compiled[name] = prepare(method, seeds, steps)
    taken = time_turns({name: run for name, (run, _) in compiled.items()}, repeats, tell)
    return [
        {
            "label": method.label,
            "seeds": seeds,
            "compile_seconds": round(compiled[name][1], 2),
            **microseconds_a_step(taken[name], steps),
            "ratio_to_maml": rounded(median_ratio(taken[name], taken["maml"]), 3),
        }
        for name, method in chosen.items()
    ]


def prepare(method: Method, seeds: int, steps: int) -> tuple[Any, float]:
    """A method's compiled call, and the seconds that compiling took."""
    protocol, states = PROTOCOLS["post"], initial_states(method, jax.random.key(0), seeds)
    tasks = task_stream(protocol, make_training_set(protocol, jax.random.key(0)), states.key)(0, steps)
    compiled, seconds = compile_training(method, tasks, states)
    return partial(compiled, tasks, states), seconds


def row(told: dict) -> Row:
    maml, *others = [row for row in told["methods"] if row["seeds"] == told["methods"][0]["seeds"]]
    shares = " and ".join(f"{row['label']} {row['ratio_to_maml']:.2f}" for row in others)
    return 0.5, f"{maml['label']} {maml['microseconds']:.1f} µs; of that time, {shares}"


if __name__ == "__main__":
    main()
