"""How well are new classes of images learned from a few examples, by MAML, first-order MAML, Reptile and transfer?

    python -m benchmarks.few_shot omniglot                                 MAML, 5-way 1-shot, the paper's full budget
    python -m benchmarks.few_shot omniglot --protocol cpu                  the same in less: 25 minutes on two CPU cores
    python -m benchmarks.few_shot omniglot --algorithm reptile --protocol cpu                           18 minutes
    python -m benchmarks.few_shot omniglot --model dense                   MAML's network without convolution
    python -m benchmarks.few_shot cifar_fs --shots 5                       and fc100
    python -m benchmarks.few_shot miniimagenet --algorithm reptile

The papers' full budget is 60,000 meta-steps of MAML and 100,000 of Reptile, at 20 ways 200,000. At 5 ways and 1 shot on
two CPU cores that is about 3.5 and 2 hours on Omniglot, 4 and 5 on CIFAR's splits, and 25 and 33 on mini-ImageNet: the
rate of the committed run of MAML on Omniglot, times ratios within one interleaved run.

--data is a folder with images_background.zip and images_evaluation.zip of Omniglot, with cifar-100-python.tar.gz, or
with mini-ImageNet as `jax_meta.datasets.load_mini_imagenet` reads it; or one with a folder omniglot, cifar100 or
mini_imagenet in it. It trains, then tests on held-out classes, and writes results.json, table.md, curves.png,
metrics.jsonl and checkpoints. A run that was stopped goes on when the same command is given again.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax

import jax_meta
from benchmarks.few_shot.experiment import ALGORITHMS, Experiment, load, make_experiment, test, train
from benchmarks.few_shot.protocol import Protocol, make_protocol
from benchmarks.harness.command import COUNT, Begin, add_data, make_parser, parse, running
from benchmarks.harness.results import in_words, rounded, write_results

DATASETS = ("omniglot", "cifar_fs", "fc100", "miniimagenet")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    protocol = choose_protocol(options)
    if options.cache:
        jax_meta.cache_compilation(options.cache)
    kept = f"the same command goes on from the newest checkpoint in {options.output}"
    with running(options, kept=kept) as begin:
        print(f"protocol: {in_words(protocol._asdict())}\nreads {protocol.dataset} from {options.data}", flush=True)
        try:
            splits = load(protocol, options.data, download=options.download, seed=options.seed)
            with begin("network", 1):
                model_key, run_key = jax.random.split(jax.random.key(options.seed))
                experiment = make_experiment(protocol, options.algorithm, splits, model_key)
                state = jax_meta.init(experiment.learner, experiment.optimizer, experiment.params, run_key)
        except (OSError, ValueError) as error:
            sys.exit(f"{error}\nThe folder is --data, and --download fetches what can be fetched.")
        try:
            run(experiment, state, options, begin)
        except ValueError as error:
            sys.exit(f"{error}\nThe folder is --output.")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; a setting that is not given is the protocol's."""
    parser = make_parser("few_shot", __doc__, output="results/DATASET_ALGORITHM_WAYS_SHOTS")
    add = parser.add_argument
    add("dataset", choices=DATASETS, metavar="DATASET", help=", ".join(DATASETS))
    add("--algorithm", choices=ALGORITHMS, default="maml", help="what learns")
    papers = "the papers', or a shorter run; default: reptile for that algorithm, else maml"
    add("--protocol", choices=("maml", "reptile", "cpu"), help=papers)
    add("--ways", default=5, help="classes in a task", **COUNT)
    add("--shots", default=1, help="support images of a class", **COUNT)
    add("--model", choices=("conv4", "dense", "resnet12"), default="conv4", help="the network")
    add("--steps", help="meta-steps; default: the protocol's, of the papers' the full budget", **COUNT)
    add("--tasks", help="tasks a meta-step; default: the protocol's", **COUNT)
    add("--test-tasks", default=1_000, help="tasks that the accuracy is averaged over", **COUNT)
    add("--split", choices=("maml", "vinyals"), help="of Omniglot, which characters are for test; default: maml")
    add("--augment", action="store_true", help="flip and shift training images at random")
    add("--seed", type=int, default=0, help="of the split, the network and the tasks")
    add_data(parser)
    add("--download", action="store_true", help="fetch what is missing in that folder from the official addresses")
    cache = "keep compiled programs there, so that the next start takes less; default: they are not kept"
    add("--cache", type=Path, metavar="FOLDER", help=cache)
    options = parse(parser, arguments)
    if options.split and options.dataset != "omniglot":
        parser.error(f"--split is of omniglot; {options.dataset} has one split")
    name = f"{options.dataset}_{options.algorithm}_{options.ways}way_{options.shots}shot"
    options.output = (options.output or Path("results") / name).absolute()
    return options


def choose_protocol(options: argparse.Namespace) -> Protocol:
    name = options.protocol or ("reptile" if options.algorithm == "reptile" else "maml")
    protocol = make_protocol(options.dataset, name, algorithm=options.algorithm, ways=options.ways, shots=options.shots)
    changes = {"augmented": options.augment}
    changes |= {field: getattr(options, field) for field in ("model", "test_tasks", "split", "steps", "tasks")}
    return protocol._replace(**{field: value for field, value in changes.items() if value is not None})


def run(experiment: Experiment, state: jax_meta.TrainState, options: argparse.Namespace, begin: Begin) -> None:
    """Trains, tests and writes; the training goes on from the folder's newest checkpoint if there is one."""
    state, records = train(experiment, state, options.output, run_settings(options, experiment.protocol), begin)
    from benchmarks.few_shot.results import describe, draw, table  # with matplotlib: a third of a second

    start = time.perf_counter()
    accuracies = test(experiment, state.params, begin)
    training = jax_meta.read_records(options.output / "times.jsonl")[-1]["seconds"]
    content: dict = {
        "algorithm": options.algorithm,
        "seed": options.seed,
        "protocol": experiment.protocol._asdict(),
        "seconds": rounded({"training": training, "test": time.perf_counter() - start}, 4),
        "test_accuracy_after_inner_steps": {kind: describe(values) for kind, values in accuracies.items()},
    }
    write_results(options, content, table(content), curves=draw(content, records))


def run_settings(options: argparse.Namespace, protocol: Protocol) -> dict:
    """What a run must agree in to go on in the same folder: all but the number of test tasks."""
    fields = {name: value for name, value in protocol._asdict().items() if name != "test_tasks"}
    return {"algorithm": options.algorithm, "seed": options.seed, "protocol": fields}


if __name__ == "__main__":
    main()
