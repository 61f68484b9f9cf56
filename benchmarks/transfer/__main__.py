"""Does a start from Reptile fine-tune better than one from pre-training, for the same number of gradients?

    python -m benchmarks.transfer                                       the plan: about thirty hours of a CPU core
    python -m benchmarks.transfer --budgets 150000 --seeds 1 --shots 100 5         a pilot at a tenth of the budget
    python -m benchmarks.transfer --starts random pretrain reptile                 some of the starts

A residual network of 0.3 million parameters on CIFAR-100, split by superclass as FC100. A start is trained on 60
classes for a budget of gradients of single images, whatever its method; its own rate is the best of three after a tenth
of the budget, each fine-tuned on validation tasks, or of more where that is the least or the largest. Then it is fitted
to tasks of five unseen classes, with 1 to 500 images of each, by SGD with momentum whose rate falls to 0 as a cosine;
that rate is chosen for every start, number of images and number of steps on validation tasks, from one grid. A probe
trains the head alone, and is tuned likewise. All starts get the same tasks, minibatches and augmentation. The endpoint,
fixed before the test: accuracy from Reptile less that from pre-training after 200 steps, with 100 and 500 images of a
class.

--data is a folder with cifar-100-python.tar.gz, or with a folder cifar100 in it. It writes a file a cell to cells/ and
the starts to starts/, and from all that are there results.json, table.md and the figures. What is there is not done
again; a cell that was stopped begins anew.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax_meta
from benchmarks.harness.command import COUNT, COUNTS, add_data, make_parser, parse, running
from benchmarks.harness.results import rounded, write_json
from benchmarks.transfer.fine_tuning import SPARE, measure, tasks_of
from benchmarks.transfer.kept import Work, start_of
from benchmarks.transfer.results import write
from benchmarks.transfer.starts import STARTS


class Cell(NamedTuple):
    start: str
    budget: int  # gradients of single images; 0 where nothing is trained
    shots: int
    seed: int

    def path(self, output: Path) -> Path:
        return output / "cells" / str(self.budget) / f"{self.start}-{self.shots}-{self.seed}.json"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    finished: list[str] = []
    with running(options, finished) as begin:
        place = options.data / "cifar100" if (options.data / "cifar100").is_dir() else options.data
        work = Work(options, jax_meta.datasets.load_cifar100(place, split="fc100"), {}, begin)
        for cell in cells(options):
            if not cell.path(options.output).exists():
                write_json(cell.path(options.output), {**cell._asdict(), **measured(work, cell)})
                finished.append(f"{cell.start} with {cell.shots} images a class")
            write(options)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("transfer", __doc__)
    add = parser.add_argument
    add("--budgets", default=[1_500_000], help="gradients of single images that each start is trained for", **COUNTS)
    add("--seeds", default=3, help="networks of each start", **COUNT)
    add("--starts", nargs="+", choices=STARTS, default=list(STARTS), metavar="START", help="in this order")
    add("--shots", default=[100, 500, 20, 5, 1], help="images of a class, in this order", **COUNTS)
    add("--steps", default=[200, 50, 10], help="of fine-tuning", **COUNTS)
    add("--validation-tasks", default=4, help="that rates are chosen on", **COUNT)
    add("--test-tasks", default=16, help="four superclasses, and others of random classes", **COUNT)
    add("--draws", default=1, help="of the images of each test task", **COUNT)
    add_data(parser)
    return parse(parser, arguments)


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """All of one seed, one budget and one number of images before the next."""
    for seed in range(options.seeds):
        for budget in options.budgets:
            for shots in options.shots:
                for name in options.starts:
                    yield Cell(name, budget if STARTS[name].methods else 0, shots, seed)


def measured(work: Work, cell: Cell) -> dict:
    """One start, fitted to all tasks with so many images of a class."""
    options = work.options
    body, spent = start_of(work, cell.start, cell.budget, cell.seed)
    shown = {"count": options.validation_tasks, "draws": options.draws, "spare": SPARE["val"]}
    validation = tasks_of(work.splits.val, "val", cell.shots, **shown)
    tested = {"count": options.test_tasks, "draws": options.draws, "spare": SPARE["test"]}
    test = tasks_of(work.splits.test, "test", cell.shots, **tested)
    clock, head_alone = time.process_time(), STARTS[cell.start].head_alone
    with work.begin(f"{cell.start}, {cell.shots} images a class", 1) as tell:
        record = measure(body, validation, test, tuple(options.steps), tell, head_alone=head_alone)
    return record | {"spent": spent, "seconds": rounded(time.process_time() - clock, 4)}


if __name__ == "__main__":
    main()
