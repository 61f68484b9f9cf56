"""Where joint training gives the mean image, do meta-learned starts fit a new image in a step or two?

    python -m benchmarks.fields                     all starts, three seeds: an hour and a half of a CPU core
    python -m benchmarks.fields --quick             two minutes, to see that it runs
    python -m benchmarks.fields --starts random maml --seeds 1

One image of CIFAR-100 is one task: a network from a pixel's place to its colour learns its 1,024 pixels. Starts are
made from images of the training classes of CIFAR-FS: by joint training, by Reptile, by MAML and others. Then each is
fitted to images of the test classes by SGD and by Adam, with the rates that suit that start, and that number of steps,
on images of the validation classes; and to some of their pixels, and judged on the others. Of ReLU networks with
Fourier features there is one seed, and no start with a head an image.

--data is a folder with the folder cifar100, as for `benchmarks.few_shot`. It writes a file a start and seed to cells/,
with three images beside it, and from all that are there results.json, table.md, images.png, steps.png and pixels.png.
Cells that are there are not done again; one that was stopped begins anew.
"""

import argparse
from collections.abc import Sequence

from benchmarks.fields import cells
from benchmarks.fields.measure import Images
from benchmarks.fields.networks import NETWORKS
from benchmarks.fields.results import write
from benchmarks.fields.starts import RECIPES
from benchmarks.harness.command import COUNT, add_data, make_parser, parse, running
from benchmarks.harness.results import read_json
from jax_meta.datasets import load_cifar100

META_STEPS, SEEDS = 10_000, 3
QUICK = {"meta_steps": 500, "seeds": 1, "networks": ["siren"], "starts": ["random", "joint", "reptile", "maml"]}
QUICK_IMAGES = Images(validation=4, validation_long=2, test=8, test_long=2)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    finished: list[str] = []
    with running(options, finished) as begin:
        splits = load_cifar100(options.data / "cifar100", split="cifar_fs")
        images = QUICK_IMAGES if options.quick else Images()
        todo = wanted(options)
        with begin("starts", len(todo)) as tell:
            for index, (network, seed, name) in enumerate(todo):

                def say(doing: str, of: str = f"{name} of {network}, seed {seed}", index: int = index) -> None:
                    tell(f"{of}: {doing}", index)

                cells.run(options.output, network, name, seed, splits, options.meta_steps, images, say)
                finished.append(f"{name} of {network}, seed {seed}")
                write(options)
        write(options)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("fields", __doc__)
    add = parser.add_argument
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK", help="in this order")
    add("--starts", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="START", help="any of the default ones")
    add("--seeds", default=SEEDS, help="networks of each start", **COUNT)
    add("--meta-steps", default=META_STEPS, help="of four images, to make a start", **COUNT)
    add_data(parser)
    add("--quick", action="store_true", help="four starts, a twentieth of the meta-steps, and a few images")
    options = parse(parser, arguments)
    if options.quick:
        for name, value in QUICK.items():
            setattr(options, name, value)
    return options


def wanted(options: argparse.Namespace) -> list[tuple[str, int, str]]:
    """The cells that are not done; seeds in turn, and a start from which others are derived before them.

    Exits where a cell on disk is of other meta-steps: they are not to be compared.
    """
    found = []
    for network in options.networks:
        for seed in range(options.seeds if network == "siren" else 1):
            for name in (name for name in RECIPES if network == "siren" or name != "heads"):
                path = cells.path_of(options.output, network, name, seed)
                if path.exists():
                    other = read_json(path)["meta_steps"]
                    if other != options.meta_steps:
                        raise SystemExit(
                            f"{path} is of {other:,} meta-steps: choose another --output, or --meta-steps {other}."
                        )
                elif name in options.starts:
                    found.append((network, seed, name))
    return found


if __name__ == "__main__":
    main()
