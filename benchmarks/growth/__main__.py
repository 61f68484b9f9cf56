"""How a meta-step's time grows with tasks, inner steps, shots and width, and what a meta-step is made of.

    python -m benchmarks.growth                    about four minutes on two CPU cores

Second-order MAML of the sine network through `jax_meta.fit`. One quantity is varied at a time, around 4 tasks, 1 inner
step, 10 shots and width 40; each scan gets an exponent, fitted by least squares in the logarithms. Then a meta-step is
split in two ways: by programs that each do one part more, and by a trace of the whole one. All programs take turns,
compile time is apart. Run it with nothing else running.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.growth.results import draw, make_tables
from benchmarks.growth.scaling import BASE, Program, compile_setting, describe_scans, measure, prepare
from benchmarks.growth.split import CASES, describe_case, describe_split, prepare_split
from benchmarks.growth.trace import profile
from benchmarks.harness.report import (
    environment,
    make_output_folder,
    positive,
    positive_number,
    progress_bars,
    rounded,
    write_json,
    write_text,
)

TRACED_STEPS = 256
"""Meta-steps of a traced call: a trace holds a million events and drops the rest without a word."""


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    scans = {name: sorted(set(getattr(options, name))) for name in BASE._fields}
    told = measure_all(scans, options.seconds, options.repeats)
    settings = {"base": BASE._asdict(), "repeats": options.repeats, "seconds_in_a_turn": options.seconds}
    write_json(output / "results.json", {**environment(), **settings, **told})
    write_text(output / "table.md", make_tables(told["scans"], told["split"], told["profiles"]))
    draw(told["scans"]).savefig(output / "growth.png")
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json, table.md and growth.png.")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Times a meta-step of MAML on sines as its sizes grow, and splits it into its parts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    tasks = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    add = parser.add_argument
    add("--tasks", type=positive, nargs="+", default=tasks, help="tasks a meta-step")
    add("--inner-steps", type=positive, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 100], help="inner steps")
    add("--shots", type=positive, nargs="+", default=[10, 20, 50, 100, 200, 500, 1000], help="support points")
    add("--width", type=positive, nargs="+", default=[10, 20, 40, 80, 160, 320, 640, 1280], help="of hidden layers")
    add("--seconds", type=positive_number, default=0.25, help="the length of a turn, at most about")
    add("--repeats", type=positive, default=5, help="rounds in which all take turns; medians are reported")
    add("--output", type=Path, default=Path("results/growth"), help="folder to write to; it is created")
    options = parser.parse_args(arguments)
    for name in BASE._fields:
        if len(set(getattr(options, name))) < 2:
            parser.error(f"an exponent needs at least two different values of --{name.replace('_', '-')}")
    return options


def measure_all(scans: dict[str, list[int]], seconds: float, repeats: int) -> dict[str, Any]:
    """The scans, the split and the profiles, with a bar."""
    compiled = len({BASE._replace(**{name: value}) for name, values in scans.items() for value in values})
    with progress_bars() as bars:

        def stage(name: str, total: int):
            bar = bars.add_task(name, total=total, status="")
            return lambda status: bars.update(bar, advance=1, status=status)

        programs = prepare(scans, seconds, stage("compiles the sizes", compiled))
        nested = prepare_split(CASES, seconds, stage("compiles the parts", len(CASES)))
        both: dict[Any, Program] = {**programs, **nested}
        microseconds = measure(both, repeats, stage("measures in turn", (repeats + 1) * len(both)))
        report = stage("traces", len(CASES))
        profiles = {}
        for case in CASES:
            profiles[describe_case(case)] = profile(compile_setting(case, TRACED_STEPS))
            report(describe_case(case))
    return {
        "scans": rounded_records(describe_scans(scans, programs, microseconds)),
        "split": rounded_records(describe_split(CASES, microseconds)),
        "profiles": rounded_records({case: told for case, told in profiles.items() if told}),
    }


def rounded_records(records: dict[str, Any]) -> dict[str, Any]:
    """Records of numbers, to five significant digits, whole ones left whole."""
    return {
        name: rounded_records(value) if isinstance(value, dict) else value if whole(value) else rounded(value)
        for name, value in records.items()
    }


def whole(value: Any) -> bool:
    """Whether it is a list of whole numbers."""
    return isinstance(value, list) and all(isinstance(item, int) for item in value)


if __name__ == "__main__":
    main()
