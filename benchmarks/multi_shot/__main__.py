"""Which start learns whole alphabets best, 20 characters from 15 drawings each?

    python -m benchmarks.multi_shot              no pre-training, in four readings: twenty minutes of a core
    python -m benchmarks.multi_shot --starts reptile --readings batch-20 --share 0.2            another start

The multi-shot tasks of Omniglot, Flennerhag et al., arXiv:1812.01054 (Leap) and arXiv:1909.00025 (WarpGrad): an
alphabet is a task, 300 drawings are fitted in 100 steps of SGD, each under a new random rotation, shift and scale, and
100 held-out ones are classified by the running averages of the normalisation. A seed shuffles the alphabets, 25 to
train on and 10 to test on. A start that is trained takes `--share` of the published budget of 1,000 meta-steps of 20
tasks.

--data is a folder with images_background.zip and images_evaluation.zip of Omniglot, or with a folder omniglot. It
writes a file a cell to cells/, and from all that are there results.json and table.md. Cells that are there are not done
again.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from benchmarks.harness.command import COUNT, add_data, make_parser, parse, positive_number, running
from benchmarks.harness.results import write_json
from benchmarks.multi_shot.measure import READINGS, measure
from benchmarks.multi_shot.results import write
from benchmarks.multi_shot.starts import STARTS


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    finished: list[str] = []
    with running(options, finished) as begin:
        for start, reading, seed in (
            (start, reading, seed)
            for seed in range(options.seeds)
            for start in options.starts
            for reading in options.readings
        ):
            path = options.output / "cells" / f"{start}-{reading}-{seed}.json"
            if not path.exists():
                with begin(f"{start}, {reading}, seed {seed}", 1):
                    train = partial(STARTS[start].train, share=options.share)
                    record = measure(options.data, train, READINGS[reading], seed)
                write_json(path, {"start": start, **record})
                finished.append(path.stem)
            write(options)


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
    add("--share", type=positive_number, default=0.2, metavar="X", help="of the published budget, to train a start")
    add_data(parser)
    return parse(parser, arguments)


if __name__ == "__main__":
    main()
