"""How fast is second-order MAML through a convolutional network whose kernels differ from task to task?

    python -m benchmarks.convolution             about six minutes on two CPU cores

Conv4-64 on 28 x 28 images, 4 tasks a meta-step, 5-way 1-shot, 75 queries a task, with 1 and with 5 inner steps. All
variants take turns in one run, on the same tasks from the same parameters, and their meta-gradients are compared first.
Speed is meta-steps a second, and model FLOP/s as a fraction of what this machine's best matrix product reaches in the
same run. With PyTorch installed (the extra `test`), its plain loop over tasks takes part. Then each layer by itself, in
each formulation. It writes results.json and table.md.
"""

from typing import Any

from benchmarks.convolution import variants
from benchmarks.convolution.results import table
from benchmarks.harness.command import Begin, make_parser, parse, running
from benchmarks.harness.results import rounded, write_results
from benchmarks.harness.rounds import Run, median_seconds
from benchmarks.harness.workloads import conv4

WORKLOADS = {steps: conv4(4, steps) for steps in (1, 5)}  # by inner steps


def main(arguments: list[str] | None = None) -> None:
    options = parse(make_parser("convolution", __doc__, repeats=7), arguments)
    with running(options) as begin:
        content = rounded(measure_all(options.repeats, begin))
        write_results(options, content, table(content))


def measure_all(repeats: int, begin: Begin) -> dict:
    runs: dict[Any, Run] = {}
    differences: dict[Any, float] = {}
    with begin("compares meta-gradients", len(WORKLOADS)) as tell:
        for steps, workload in WORKLOADS.items():
            tell(workload.name)
            made = variants.make_variants(workload)
            runs |= {(name, steps): run for name, run in made.items()}
            differences |= {(name, steps): difference for name, difference in variants.compare(made).items()}
    products = variants.make_matrix_products()
    with begin("measures in turn", (repeats + 1) * (len(products) + len(runs))) as tell:
        seconds = median_seconds({**products, **runs}, repeats, lambda doing: tell(f"round {doing.rpartition(' ')[2]}"))
    with begin("layers", len(variants.FACES)) as tell:
        layers = variants.measure_layers(repeats, tell)
    best = max(2 * size**3 / seconds[size] for size in products)
    speeds = {(name, steps): variants.model_flop(WORKLOADS[steps]) / seconds[name, steps] for name, steps in runs}
    rows = [
        {
            "variant": name,
            "inner_steps": steps,
            "meta_steps_per_second": 1 / seconds[name, steps],
            "model_gflop_per_second": speed / 1e9,
            "fraction_of_best_matrix_product": speed / best,
            "difference_of_meta_gradient": differences[name, steps],
        }
        for (name, steps), speed in speeds.items()
    ]
    return {"best_matrix_product_gflop_per_second": best / 1e9, "variants": rows, "layers": layers}


if __name__ == "__main__":
    main()
