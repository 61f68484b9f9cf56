"""Which start learns whole alphabets best, 20 characters from 15 drawings each?

    python -m benchmarks.multi_shot              no pre-training, in five readings: half an hour of a core
    python -m benchmarks.multi_shot --starts fine-tuning reptile leap fomaml --readings batch-20 tuned --seeds 1
                                                                                 others: an hour of a core each

The multi-shot tasks of Omniglot, Flennerhag et al., arXiv:1812.01054 (Leap) and arXiv:1909.00025 (WarpGrad): an
alphabet is a task, 300 drawings are fitted in 100 steps of SGD, each under a new random rotation, shift and scale, and
100 held-out ones are classified by the running averages of the normalisation. A seed shuffles the alphabets, 25 to
train on, 11 to validate on and 10 to test on. A start that is trained takes `--share` of the published 40,000,000
gradients of single images, and is tested on its way, too, after 1, 2, 5, 10, 20 and 50% of them, at the papers' rate;
in the reading "tuned" it is tested at its end, at the best rate on the validation alphabets.

--data is a folder with images_background.zip and images_evaluation.zip of Omniglot, or with a folder omniglot. It
writes a file a cell to cells/, the training to starts/, and from all cells of the share results.json, table.md and a
figure. Cells that are there are not done again, a training that was stopped goes on, and so does one of a smaller
share.
"""

import argparse
from collections.abc import Iterator, Sequence

from benchmarks.harness.command import COUNT, add_data, make_parser, parse, positive_number, running
from benchmarks.harness.results import write_json
from benchmarks.multi_shot.measure import Cell, measure
from benchmarks.multi_shot.protocol import READINGS
from benchmarks.multi_shot.results import write
from benchmarks.multi_shot.starts import STARTS


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    finished: list[str] = []
    with running(options, finished) as begin:
        for cell in cells(options):
            path = cell.path(options.output)
            if not path.exists():
                write_json(path, measure(options, cell, begin))
                finished.append(cell.name)
            write(options)


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """All of one seed before the next."""
    for seed in range(options.seeds):
        for start in options.starts:
            for reading in options.readings:
                yield Cell(start, reading, seed, options.share if STARTS[start].way else 0.0)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("multi_shot", __doc__)
    add = parser.add_argument
    add("--starts", nargs="+", choices=STARTS, default=["none"], metavar="START", help=f"of {', '.join(STARTS)}")
    add(
        "--readings",
        nargs="+",
        choices=READINGS,
        default=list(READINGS),
        metavar="READING",
        help=f"of {', '.join(READINGS)}",
    )
    add("--seeds", default=3, help="shuffles of the alphabets, and networks", **COUNT)
    add("--share", type=positive_number, default=0.2, metavar="X", help="of the published budget, for each start")
    add_data(parser)
    return parse(parser, arguments)


if __name__ == "__main__":
    main()
