"""How fast is second-order MAML through a convolutional network whose kernels differ from task to task?

    python -m benchmarks.convolution             about six minutes on two CPU cores

Conv4-64 on 28 x 28 images, 4 tasks a meta-step, 5-way 1-shot, 75 queries a task, with 1 and with 5 inner steps. All
variants take turns in one run, on the same tasks from the same parameters, and their meta-gradients are compared first.
Speed is meta-steps a second, and model FLOP/s as a fraction of what this machine's best matrix product reaches in the
same run. With PyTorch installed (the extra `test`), its plain loop over tasks takes part. Then each layer by itself, in
each formulation. It writes results.json and table.md.
"""

from typing import Any

from benchmarks.convolution.layers import FACES, measure_layers
from benchmarks.convolution.results import table
from benchmarks.convolution.variants import compare, make_matrix_products, make_variants, model_flop
from benchmarks.harness.arguments import make_parser, parse
from benchmarks.harness.progress import Begin
from benchmarks.harness.results import rounded, write_results
from benchmarks.harness.rounds import Run, median_seconds
from benchmarks.harness.running import running
from benchmarks.harness.workloads import conv4

WORKLOADS = {steps: conv4(4, steps) for steps in (1, 5)}
"""By inner steps."""


def main(arguments: list[str] | None = None) -> None:
    options = parse(make_parser("convolution", __doc__, repeats=7), arguments)
    with running(options) as begin:
        content = rounded(measure_all(options.repeats, begin))
        write_results(options, content, table(content))


def measure_all(repeats: int, begin: Begin) -> dict[str, Any]:
    """What is written: the best matrix product, the variants, and the layers."""
    runs: dict[Any, Run] = {}
    differences: dict[Any, float] = {}
    with begin("compares meta-gradients", len(WORKLOADS)) as tell:
        for steps, workload in WORKLOADS.items():
            tell(workload.name)
            variants = make_variants(workload)
            runs |= {(name, steps): run for name, run in variants.items()}
            differences |= {(name, steps): difference for name, difference in compare(variants).items()}
    products = make_matrix_products()
    with begin("measures in turn", (repeats + 1) * (len(products) + len(runs))) as tell:
        seconds = median_seconds({**products, **runs}, repeats, lambda doing: tell(f"round {doing.rpartition(' ')[2]}"))
    best = max(2 * size**3 / seconds[size] for size in products)
    with begin("layers", len(FACES)) as tell:
        layers = measure_layers(repeats, tell)
    speeds = {run: model_flop(WORKLOADS[run[1]]) / seconds[run] for run in runs}
    rows = [
        {
            "variant": name,
            "inner_steps": steps,
            "meta_steps_per_second": 1 / seconds[name, steps],
            "model_gflop_per_second": speeds[name, steps] / 1e9,
            "fraction_of_best_matrix_product": speeds[name, steps] / best,
            "difference_of_meta_gradient": differences[name, steps],
        }
        for name, steps in runs
    ]
    return {"best_matrix_product_gflop_per_second": best / 1e9, "variants": rows, "layers": layers}


if __name__ == "__main__":
    main()
