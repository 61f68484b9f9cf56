"""Which learner of the family is best for what: all of them on the same network and the same budget?

    python -m benchmarks.family                                          all cells: 107 minutes on two CPU cores
    python -m benchmarks.family --problems sines-10 --learners maml cavia          some of them
    python -m benchmarks.family --seconds 900                            a quarter of an hour of a core to train each

A cell is a learner on a problem. On images it has `--seconds` of one core's own time to train, and a tenth of that for
each of three pairs of step sizes before, of which the best on validation classes is taken; it is tested on 1,000 tasks
of test classes, which are the same for all learners. On sines it is ten networks of 5,000 meta-steps.

--data is a folder with the folders omniglot and cifar100, as for `benchmarks.few_shot`. It writes a file a cell to
cells/, and from all that are there results.json, table.md and family.png. Cells that are there are not done again, but
for those that failed; one that was stopped begins anew. All cells of images in a folder have the same --seconds.
"""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from benchmarks.family import optimizers
from benchmarks.family.entries import PROBLEMS
from benchmarks.family.learners import classifiers, for_values
from benchmarks.family.results import read, write
from benchmarks.family.sines import POINTS
from benchmarks.harness.command import COUNT, Begin, add_data, make_parser, parse, positive_number, running
from benchmarks.harness.processes import Machine, Worker, WorkerError, ask, receive, start
from benchmarks.harness.results import read_json, write_json

CELLS = (
    {name: list(for_values()) for name in POINTS}
    | {name: list(classifiers(problem)) for name, problem in PROBLEMS.items()}
    | {"inner-steps": ["maml", "anil", "imaml"]}
    | {name: ["lstm_optimizer"] for name in optimizers.PROBLEMS}
)
LEARNERS = list(dict.fromkeys(learner for learners in CELLS.values() for learner in learners))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    finished: list[str] = []
    with running(options, finished) as begin:
        cells = [
            (problem, learner)
            for problem in options.problems
            for learner in CELLS[problem]
            if learner in options.learners and not is_done(options.output, problem, learner)
        ]
        work(cells, options, begin, finished)
        write(options)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("family", __doc__)
    add, cores = parser.add_argument, os.cpu_count() or 1
    add("--problems", nargs="+", choices=CELLS, default=list(CELLS), metavar="PROBLEM", help="in this order")
    add("--learners", nargs="+", choices=LEARNERS, default=LEARNERS, metavar="LEARNER", help="any of the default ones")
    add("--seconds", type=positive_number, default=75.0, metavar="S", help="of a core, to train a learner on images")
    add("--jobs", default=cores, help="cells side by side, each on a core of its own", **COUNT)
    add_data(parser)
    options = parse(parser, arguments)
    if options.jobs > cores:
        parser.error(f"--jobs {options.jobs}: this machine has {cores} cores.")
    if others := budgets(options.output) - {options.seconds}:
        parser.error(
            f"--seconds: {options.seconds:g} s are asked for, and cells of images that are there were trained for "
            f"{min(others):g} s: give --seconds {min(others):g}, or another --output than {options.output}"
        )
    options.data = options.data.absolute()
    return options


def path_of(output: Path, problem: str, learner: str) -> Path:
    return output / "cells" / problem / f"{learner}.json"


def is_done(output: Path, problem: str, learner: str) -> bool:
    path = path_of(output, problem, learner)
    return path.exists() and "failed" not in read_json(path)


def budgets(output: Path) -> set[float]:
    """Seconds of training of the cells that are there and have some."""
    records = [record for learners in read(output / "cells").values() for record in learners.values()]
    return {record["budget_seconds"] for record in records if "budget_seconds" in record}


def work(cells: list[tuple[str, str]], options: argparse.Namespace, begin: Begin, finished: list[str]) -> None:
    """Measures the cells in as many processes as there are jobs, and keeps each as it is finished."""
    left, machine, writing = iter(cells), Machine("cpu", 1, 24 * 3600.0), Lock()
    (options.output / "logs").mkdir(exist_ok=True)

    def has_measured(worker: Worker, problem: str, learner: str) -> bool:
        with begin(f"{learner}, {problem}", 1):
            record = measure(worker, problem, learner)
        path = path_of(options.output, problem, learner)
        write_json(path, {"learner": learner, **record})
        finished.append(f"{learner} on {problem}")
        with writing:
            write(options)
        return "failed" not in record

    def one_core(core: int) -> None:
        """After a failure there is a new process: the old one may have ended, or be at work yet."""
        arguments = {"core": core, "data": str(options.data), "seconds": options.seconds}
        cell = next(left, None)
        while cell:
            log, sound = options.output / "logs" / f"from-{'-'.join(cell)}.log", True
            with start("benchmarks.family.measure:serve", arguments, machine, log, install=".") as worker:
                receive(worker)
                while cell and sound:
                    sound = has_measured(worker, *cell)
                    cell = next(left, None)

    with ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(one_core, core) for core in range(min(options.jobs, len(cells)))]:
            future.result()


def measure(worker: Worker, problem: str, learner: str) -> dict:
    """The record of a cell; where it failed, that, so that the others go on."""
    try:
        return ask(worker, "cell", problem=problem, learner=learner)
    except WorkerError as error:
        return {"failed": str(error)}


if __name__ == "__main__":
    main()
