"""How fast is the same meta-training in `jax_meta`, plain JAX, PyTorch and its meta-learning libraries?

    python -m benchmarks.peers           about 45 minutes on two CPU cores

A meta-step draws its tasks, takes MAML's meta-gradient, of second or first order, and updates with Adam. Each peer
works in a process of its own, with as many threads as the others, and as its own documentation writes it. First all
take two meta-steps from the same weights on the same tasks, and their losses must agree; then they take turns, and
the median over the rounds counts. Imports, compilation and first calls are apart. Sines: a 1-40-40-1 network, 10
support and 10 query points. Images: Conv4-64 on 28 x 28, 5 ways, 1 shot, 15 queries a class. 25x5 means 25 tasks a
meta-step with 5 inner steps each.

An adaptation is the inner loop alone, on one new task, as one uses what was trained: `learner.adapt` outside `jax.jit`.
Relatives are ANIL, whose head alone takes the inner steps, and prototypical networks, which take none.

A peer that is not installed, fails or disagrees is reported, and the others go on. The libraries are the extra `peers`.
It writes results.json, table.md and peers.png, anew after each workload.
"""

import os

import jax

from benchmarks.harness.command import COUNT, make_parser, parse, positive_number, running
from benchmarks.harness.jax_networks import initial_weights
from benchmarks.harness.processes import Machine
from benchmarks.harness.rounds import Turns
from benchmarks.harness.workloads import WORKLOADS
from benchmarks.peers.measure import measure
from benchmarks.peers.peer import PEERS
from benchmarks.peers.results import write


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser("peers", __doc__, repeats=5, seconds=1.0)
    add, cores = parser.add_argument, os.cpu_count() or 1
    defaults = [name for name, workload in WORKLOADS.items() if workload.second_order or workload.model == "conv4"]
    others = f"what they do; others are {' '.join(name for name in WORKLOADS if name not in defaults)}"
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help="who takes part")
    add("--workloads", nargs="+", choices=WORKLOADS, default=defaults, metavar="WORKLOAD", help=others)
    add("--threads", default=cores, help="cores and threads of each peer", **COUNT)
    add("--timeout", type=positive_number, default=900.0, metavar="S", help="seconds of a call, with compilation")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="where all of them compute")
    options = parse(parser, arguments)
    if options.threads > cores:
        parser.error(f"--threads {options.threads}: this machine has {cores} cores.")
    if options.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    else:
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the parent, which measures nothing, leaves the GPU free
    peers = {name: entry for name, entry in PEERS.items() if name in options.peers}
    machine = Machine(options.device, options.threads, options.timeout)
    records: dict[str, dict] = {}
    with running(options, records) as begin:
        for name in options.workloads:
            with begin(name, len(peers) * (1 + options.repeats)) as tell:
                workload, turns = WORKLOADS[name], Turns(options.repeats, options.seconds, tell)
                records[name] = measure(workload, initial_weights(workload), peers, machine, turns)
                write(options, records, peers)


if __name__ == "__main__":
    main()
