"""What the benchmark of convolution writes: the tables, from the content of results.json."""

from benchmarks.harness.results import Column, Row, records_table

VARIANTS: dict[str, Column] = {
    "Conv4-64, second order": "{variant}",
    "Inner steps": "{inner_steps:.0f}",
    "Meta-steps/s": "{meta_steps_per_second:.2f}",
    "GFLOP/s": "{model_gflop_per_second:.0f}",
    "Of the best matrix product": lambda record: f"{100 * record['fraction_of_best_matrix_product']:.0f} %",
}


def table(told: dict) -> str:
    layers = told["layers"]
    speeds = {f"{name}, GFLOP/s": f"{{gflop_per_second[{name}]:.0f}}" for name in layers[0]["gflop_per_second"]}
    best = f"The best matrix product: {told['best_matrix_product_gflop_per_second']:.0f} GFLOP/s.\n"
    variants = records_table(told["variants"], VARIANTS)
    return "\n".join(
        [best, variants, records_table(layers, {"Layer, 75 images": "{layer}", "Wanted": "{wanted}", **speeds})]
    )


def row(told: dict) -> Row:
    first = told["variants"][0]["variant"]
    ours = [record for record in told["variants"] if record["variant"] == first]
    shares = " and ".join(f"{100 * record['fraction_of_best_matrix_product']:.0f}%" for record in ours)
    steps = " and ".join(f"{record['inner_steps']:.0f}" for record in ours)
    return 6, f"{shares} of the best matrix product's speed, with {steps} inner steps"
