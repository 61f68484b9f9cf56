"""Which learner of the family is best for what: all of them on the same network and the same budget?

    python -m benchmarks.family                                          all cells: two hours on two CPU cores
    python -m benchmarks.family --problems sines-10 --learners maml cavia          some of them
    python -m benchmarks.family --seconds 900                            a quarter of an hour of a core to train each

A cell is a learner on a problem. On images it has `--seconds` of one core's own time to train, and a tenth of that for
each of three pairs of step sizes before, of which the best on validation classes is taken; it is tested on 1,000 tasks
of test classes, which are the same for all learners. On sines it is ten networks of 5,000 meta-steps.

--data is a folder with the folders omniglot and cifar100, as for `benchmarks.few_shot`. It writes a file a cell to
cells/, and from all that are there results.json, table.md and family.png. Cells that are there are not done again; one
that was stopped begins anew.
"""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock

from benchmarks.family import optimizers
from benchmarks.family.learners import PROBLEMS, classifiers, for_values
from benchmarks.family.results import write
from benchmarks.family.sines import POINTS
from benchmarks.harness.command import COUNT, Begin, make_parser, parse, positive_number, running
from benchmarks.harness.processes import Machine, Worker, WorkerError, ask, receive, start
from benchmarks.harness.results import write_json

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
            if learner in options.learners and not path_of(options.output, problem, learner).exists()
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
    data = Path(os.environ.get("JAX_META_DATA", "data"))
    add("--data", type=Path, default=data, metavar="FOLDER", help="with the data, if not in $JAX_META_DATA")
    options = parse(parser, arguments)
    if options.jobs > cores:
        parser.error(f"--jobs {options.jobs}: this machine has {cores} cores.")
    options.data = options.data.absolute()
    return options


def path_of(output: Path, problem: str, learner: str) -> Path:
    return output / "cells" / problem / f"{learner}.json"


def work(cells: list[tuple[str, str]], options: argparse.Namespace, begin: Begin, finished: list[str]) -> None:
    """Measures the cells in as many processes as there are jobs, and keeps each as it is finished."""
    queue: SimpleQueue[tuple[str, str]] = SimpleQueue()
    for cell in cells:
        queue.put(cell)
    machine, writing = Machine("cpu", 1, 24 * 3600.0), Lock()

    def one_core(core: int) -> None:
        arguments = {"core": core, "data": str(options.data), "seconds": options.seconds}
        log = options.output / f"worker-{core}.log"
        with start("benchmarks.family.measure:serve", arguments, machine, log, install=".") as worker:
            receive(worker)
            while True:
                try:
                    problem, learner = queue.get_nowait()
                except Empty:
                    return
                with begin(f"{learner}, {problem}", 1):
                    record = measure(worker, problem, learner)
                path = path_of(options.output, problem, learner)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {"learner": learner, **record})
                finished.append(f"{learner} on {problem}")
                with writing:
                    write(options)

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
