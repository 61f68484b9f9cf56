"""The same meta-training side by side: `jax_meta`, plain JAX, PyTorch and its meta-learning libraries.

    python -m benchmarks.peers                         about 45 minutes on two CPU cores

A meta-step draws its tasks, takes MAML's meta-gradient, of second or first order, and updates with Adam. Each peer
works in a process of its own, with as many threads as the others, and as its own documentation writes it. First all
take two meta-steps from the same weights on the same tasks, and their losses must agree; then they take turns, and
the median over the rounds counts. Imports, compilation and first calls are apart. Sines: a 1-40-40-1 network, 10
support and 10 query points. Images: Conv4-64 on 28 x 28, 5 ways, 1 shot, 15 queries a class. `25x5` means 25 tasks a
meta-step with 5 inner steps each.

A peer that is not installed, fails or disagrees is reported, and the others go on. The libraries are the extra `peers`.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from benchmarks.harness.report import make_output_folder, positive, positive_number, progress_bars
from benchmarks.peers.jax_peers import initial_weights
from benchmarks.peers.measure import Record, measure
from benchmarks.peers.peer import PEERS, Entry
from benchmarks.peers.processes import Machine
from benchmarks.peers.results import write_results
from benchmarks.peers.workloads import WORKLOADS


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    output = make_output_folder(options.output)
    if options.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    else:
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the parent, which measures nothing, leaves the GPU free
    peers = {name: entry for name, entry in PEERS.items() if name in options.peers}
    machine = Machine(options.device, options.threads, options.timeout)
    settings = {"threads": options.threads, "repeats": options.repeats, "seconds_a_turn": options.seconds}
    records: dict[str, dict[str, Record]] = {}
    try:
        for name, row in run(options, peers, machine):
            records[name] = row
            write_results(output, records, peers, settings)
    except KeyboardInterrupt:
        print(f"stopped; finished, and kept in {output}: {', '.join(records) or 'no workload yet'}")
        sys.exit(130)
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"{output} holds results.json, table.md and peers.png.")


def run(
    options: argparse.Namespace, peers: dict[str, Entry], machine: Machine
) -> Iterator[tuple[str, dict[str, Record]]]:
    """Yields each workload's name and records, with a bar for all."""
    with progress_bars() as progress:
        bar = progress.add_task("peers", total=len(options.workloads) * len(peers) * (1 + options.repeats), status="")

        def tell(doing: str) -> None:
            progress.update(bar, advance=1, status=doing)

        for place, name in enumerate(options.workloads):
            workload = WORKLOADS[name]
            progress.update(bar, description=name, completed=place * len(peers) * (1 + options.repeats))
            yield (
                name,
                measure(
                    workload,
                    initial_weights(workload),
                    peers,
                    machine,
                    repeats=options.repeats,
                    seconds=options.seconds,
                    tell=tell,
                ),
            )
        progress.update(bar, completed=progress.tasks[0].total)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Meta-steps a second of jax_meta, plain JAX, PyTorch and its meta-learning libraries.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    names, cores = list(WORKLOADS), os.cpu_count() or 1
    defaults = [name for name, workload in WORKLOADS.items() if workload.second_order or workload.model == "conv4"]
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help="any of the default ones")
    others = " ".join(sorted(set(names) - set(defaults)))
    add("--workloads", nargs="+", choices=names, default=defaults, metavar="WORKLOAD", help=f"or any of {others}")
    add("--repeats", type=positive, default=5, help="rounds; the median over them counts")
    add("--seconds", type=positive_number, default=1.0, help="how long about a turn lasts")
    add("--threads", type=positive, default=cores, help="cores and threads of each peer")
    add("--timeout", type=positive_number, default=900.0, help="seconds that a call may take, compilation among them")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="where all of them compute")
    add("--output", type=Path, default=Path("results/peers"), help="folder to write to; it is created")
    options = parser.parse_args(arguments)
    if options.threads > cores:
        parser.error(f"--threads {options.threads}: this machine has {cores} cores.")
    return options


if __name__ == "__main__":
    main()
