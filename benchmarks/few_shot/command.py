"""The command of the image benchmarks: checks what can be checked, trains, tests, and says where the results are."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

import jax_meta
from benchmarks.few_shot.experiment import ALGORITHMS, load, make_experiment
from benchmarks.few_shot.protocol import Protocol, make_protocol
from benchmarks.few_shot.results import write_results
from benchmarks.few_shot.training import test, train
from benchmarks.harness.report import make_output_folder, positive

PROTOCOLS = ("maml", "reptile", "cpu")


def parse_arguments(datasets: Sequence[str], arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; a setting that is not given is the protocol's."""
    parser = argparse.ArgumentParser(
        description="Meta-trains on images and tests on held-out classes; writes results.json, table.md, curves.png "
        "metrics.jsonl and checkpoints. A run that was stopped goes on when the same command is given again.",
    )
    add = parser.add_argument
    if len(datasets) > 1:
        add("--dataset", choices=datasets, default=datasets[0], help=f"default: {datasets[0]}")
    else:
        parser.set_defaults(dataset=datasets[0])
    add("--algorithm", choices=ALGORITHMS, default="maml", help="default: maml")
    add(
        "--protocol",
        choices=PROTOCOLS,
        help="the papers', or a shorter run; default: reptile for that algorithm, else maml",
    )
    add("--ways", type=positive, default=5, help="classes in a task; default: 5")
    add("--shots", type=positive, default=1, help="support images of a class; default: 1")
    add("--model", choices=("conv4", "dense", "resnet12"), default="conv4", help="default: conv4")
    add("--steps", type=positive, help="meta-steps; default: the protocol's, the papers' full budget")
    add("--tasks", type=positive, help="tasks a meta-step; default: the protocol's")
    add("--test-tasks", type=positive, default=1_000, help="default: 1,000")
    if datasets[0] == "omniglot":
        add("--split", choices=("maml", "vinyals"), default="maml", help="which characters are for test; default: maml")
    add("--augment", action="store_true", help="flip and shift training images at random")
    add("--seed", type=int, default=0, help="of the split, the network and the tasks; default: 0")
    add("--data", type=Path, default=default_data(), help="folder with the data; default: $JAX_META_DATA, or data")
    add("--download", action="store_true", help="fetch what is missing in that folder from the official addresses")
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep compiled programs there, so that the next start takes less; default: they are not kept",
    )
    add("--output", type=Path, help="folder to write to; default: results/DATASET_ALGORITHM_WAYS_SHOTS")
    return parser.parse_args(arguments)


def default_data() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get("JAX_META_DATA", "data"))


def main(datasets: Sequence[str], arguments: Sequence[str] | None = None) -> None:
    """Runs one experiment."""
    options = parse_arguments(datasets, arguments)
    protocol = choose_protocol(options)
    name = f"{protocol.dataset}_{options.algorithm}_{protocol.ways}way_{protocol.shots}shot"
    output = make_output_folder((options.output or Path("results") / name).absolute())
    if options.cache:
        jax_meta.cache_compilation(options.cache)
    print(f"protocol: {json.dumps(protocol._asdict())}", flush=True)
    try:
        splits = load(protocol, options.data, download=options.download, seed=options.seed)
        model_key, run_key = jax.random.split(jax.random.key(options.seed))
        experiment = make_experiment(protocol, options.algorithm, splits, model_key)
    except (OSError, ValueError) as error:
        sys.exit(f"{error}\nThe folder is --data, and --download fetches what can be fetched.")
    state = jax_meta.init(experiment.learner, experiment.optimizer, experiment.params, run_key)
    try:
        state, records = train(experiment, state, output, run_settings(options, protocol))
        start = time.perf_counter()
        accuracies = test(experiment, state.params)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from the newest checkpoint in {output}")
        sys.exit(130)
    except (FloatingPointError, OSError, ValueError) as error:
        sys.exit(f"{error}\nThe folder is --output.")
    trained = jax_meta.read_records(output / "times.jsonl")[-1]["seconds"]
    seconds = {"training": trained, "test": time.perf_counter() - start}
    write_results(output, protocol, options.algorithm, options.seed, records, accuracies, seconds)
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{seconds['training'] / 60:.1f} minutes of training, {seconds['test'] / 60:.1f} of test.")
    print(f"{output} holds results.json, table.md, curves.png, metrics.jsonl and the checkpoints.")


def choose_protocol(options: argparse.Namespace) -> Protocol:
    """The named protocol with what the command line changes in it."""
    name = options.protocol or ("reptile" if options.algorithm == "reptile" else "maml")
    protocol = make_protocol(options.dataset, name, algorithm=options.algorithm, ways=options.ways, shots=options.shots)
    changes: dict[str, Any] = {"model": options.model, "test_tasks": options.test_tasks, "augmented": options.augment}
    if options.dataset == "omniglot":
        changes["split"] = options.split
    for field in ("steps", "tasks"):
        if getattr(options, field):
            changes[field] = getattr(options, field)
    return protocol._replace(**changes)


def run_settings(options: argparse.Namespace, protocol: Protocol) -> dict[str, Any]:
    """What a run must agree in to go on in the same folder: all but the number of test tasks."""
    fields = protocol._asdict()
    del fields["test_tasks"]
    return {"algorithm": options.algorithm, "seed": options.seed, "protocol": fields}
