"""How does the time of a meta-step grow with tasks, inner steps, shots and width, and what is it made of?

    python -m benchmarks.growth                    about four minutes on two CPU cores

Second-order MAML of the sine network through `jax_meta.fit`. One quantity is varied at a time, around 4 tasks, 1 inner
step, 10 shots and width 40; each scan gets an exponent, fitted by least squares in the logarithms. Then a meta-step is
split in two ways: by programs that each do one part more, and by a trace of the whole one. All programs take turns,
compile time is apart. Run it with nothing else running. It writes results.json, table.md and growth.png.
"""

from typing import Any

from benchmarks.growth import programs
from benchmarks.growth.programs import BASE, CASES, Program
from benchmarks.growth.results import draw, make_tables
from benchmarks.growth.trace import profile
from benchmarks.harness.command import COUNTS, Begin, make_parser, parse, running
from benchmarks.harness.results import rounded, write_results

TRACED_STEPS = 256  # meta-steps of a traced call: a trace holds a million events and drops the rest without a word
SCANS = {  # by default the values of each quantity, and what it is
    "tasks": ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024], "tasks a meta-step"),
    "inner_steps": ([1, 2, 4, 8, 16, 32, 64, 100], "inner steps"),
    "shots": ([10, 20, 50, 100, 200, 500, 1000], "support points"),
    "width": ([10, 20, 40, 80, 160, 320, 640, 1280], "of hidden layers"),
}


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("growth", __doc__, repeats=5, seconds=0.25)
    flags = {name: f"--{name.replace('_', '-')}" for name in SCANS}
    for name, (values, meaning) in SCANS.items():
        parser.add_argument(flags[name], default=values, help=meaning, **COUNTS)
    options = parse(parser, arguments)
    scans = {name: sorted(set(getattr(options, name))) for name in SCANS}
    for name, values in scans.items():
        if len(values) < 2:
            parser.error(f"an exponent needs at least two different values of {flags[name]}")
    with running(options) as begin:
        told = rounded(measure_all(scans, options.seconds, options.repeats, begin))
        settings = {"base": BASE._asdict(), "repeats": options.repeats, "seconds_in_a_turn": options.seconds}
        write_results(options, {**settings, **told}, make_tables(told), growth=draw(told["scans"]))


def measure_all(scans: dict[str, list[int]], seconds: float, repeats: int, begin: Begin) -> dict:
    settings = {BASE._replace(**{name: value}) for name, values in scans.items() for value in values}
    with begin("compiles the sizes", len(settings)) as tell:
        sizes = programs.prepare(scans, seconds, tell)
    with begin("compiles the parts", len(CASES)) as tell:
        parts = programs.prepare_split(CASES, seconds, tell)
    both: dict[Any, Program] = {**sizes, **parts}
    with begin("measures in turn", (repeats + 1) * len(both)) as tell:
        microseconds = programs.measure(both, repeats, tell)
    profiles = {}
    with begin("traces", len(CASES)) as tell:
        for case in CASES:
            tell(str(case))
            profiles[str(case)] = profile(programs.compile_setting(case, TRACED_STEPS))
    return {
        "scans": programs.describe_scans(scans, sizes, microseconds),
        "split": programs.describe_split(CASES, microseconds),
        "profiles": {case: told for case, told in profiles.items() if told},
    }


if __name__ == "__main__":
    main()
