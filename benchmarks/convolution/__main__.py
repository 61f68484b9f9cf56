"""How fast is second-order MAML through a convolutional network whose kernels differ from task to task?

    python -m benchmarks.convolution             about 6 minutes on two CPU cores

Conv4-64 on 28 x 28 images, 4 tasks a meta-step, 5-way 1-shot, 75 queries a task, with 1 and with 5 inner steps. All
variants take turns in one run, on the same tasks from the same parameters, and their meta-gradients are compared first.
Speed is meta-steps a second, and model FLOP/s as a fraction of what this machine's best matrix product reaches in the
same run. With PyTorch installed (the extra `test`), its plain loop over tasks takes part.
"""

import argparse
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_meta
from benchmarks.convolution.layers import measure_layers
from benchmarks.convolution.peers import torch_meta_gradient
from benchmarks.harness.jax_networks import naive_meta_gradient, our_learner, our_meta_gradient
from benchmarks.harness.report import (
    environment,
    make_output_folder,
    markdown_table,
    positive,
    rounded,
    write_json,
    write_text,
)
from benchmarks.harness.rounds import Run, median_seconds
from benchmarks.harness.workloads import conv4
from jax_meta import Task

WAYS, SHOTS, QUERIES, TASKS, SIZE, FILTERS = 5, 1, 15, 4, 28, 64
MODEL = jax_meta.models.Conv4(WAYS, FILTERS)
MATRIX_SIZES = (512, 1024, 2048)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Speed of second-order MAML through Conv4-64.")
    parser.add_argument("--repeats", type=positive, default=7, help="rounds in which all take turns; default: 7")
    parser.add_argument("--output", type=Path, default=Path("results/convolution_speed"), help="folder to write to")
    options = parser.parse_args(arguments)
    output = make_output_folder(options.output)
    params, tasks = make_problem(jax.random.key(0))
    matrices = {f"matrix product, {size}": make_matrix_product(size) for size in MATRIX_SIZES}
    runs, differences = {}, {}
    for steps in (1, 5):
        variants = make_variants(params, tasks, steps)
        differences[steps] = compare(variants)
        runs.update({(name, steps): run for name, run in variants.items()})
    seconds = median_seconds({**matrices, **runs}, options.repeats)
    best = max(2 * size**3 / seconds[f"matrix product, {size}"] for size in MATRIX_SIZES)
    rows = [describe(name, steps, seconds[name, steps], best, differences[steps][name]) for name, steps in runs]
    layers = measure_layers(options.repeats)
    write_results(output, rows, layers, best)
    print((output / "table.md").read_text(encoding="utf-8"))


def make_problem(key: jax.Array) -> tuple[Any, Task]:
    """Parameters, and one batch of tasks of random images."""
    data = jax_meta.datasets.ClassImages(
        np.random.default_rng(0).integers(0, 256, (20, SHOTS + QUERIES, SIZE, SIZE, 1), np.uint8),
        np.full(20, SHOTS + QUERIES, np.int32),
        tuple(map(str, range(20))),
    )
    tasks = jax_meta.tasks.sample_episodes(key, data, TASKS, ways=WAYS, shots=SHOTS, queries=QUERIES)
    return MODEL.init(key, tasks.support[0][0]), tasks


def make_variants(params: Any, tasks: Task, steps: int) -> dict[str, Run]:
    """Functions that return a meta-gradient, compiled, by name."""
    workload = conv4(TASKS, steps)
    learner = our_learner(workload)
    gradients = {
        "jax_meta, one task at a time": our_meta_gradient(learner, 1),
        "jax_meta, vmap": our_meta_gradient(learner, None),
        "flax.linen, vmap, scanned inner loop": naive_meta_gradient(workload),
    }
    variants: dict[str, Run] = {name: partial(jax.jit(gradient), params, tasks) for name, gradient in gradients.items()}
    if importlib.util.find_spec("torch"):
        variants["PyTorch, loop over tasks"] = torch_meta_gradient(workload, params, tasks)
    return variants


def compare(variants: dict[str, Run]) -> dict[str, float]:
    """Each variant's largest difference from the first one's meta-gradient, relative to its largest entry."""
    gradients = {name: jax.tree.map(np.asarray, run()) for name, run in variants.items()}
    reference = jax.tree.leaves(next(iter(gradients.values())))

    def difference(leaves):
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(leaves, reference, strict=True))

    return {name: difference(jax.tree.leaves(gradient)) for name, gradient in gradients.items()}


def make_matrix_product(size: int) -> Run:
    """A product of two square float32 matrices."""
    matrix, product = jnp.ones((size, size)), jax.jit(jnp.matmul)
    return lambda: product(matrix, matrix)


def model_flop(steps: int) -> float:
    """Multiplications and additions of the convolutions of one meta-step, as the definition counts them.

    A block needs its outputs and the gradients of images and kernel, 3 products, for each query; the first needs no
    gradient of the images. A second-order inner step has those 3, and for each of them the 2 of its transposes: 9.
    For the first block these are 2, and 4.
    """
    sizes = [SIZE // 2**block for block in range(4)]
    first, *rest = (2 * 9 * FILTERS * (FILTERS if block else 1) * size**2 for block, size in enumerate(sizes))
    queries, supports = TASKS * WAYS * QUERIES, TASKS * WAYS * SHOTS
    return queries * (3 * sum(rest) + 2 * first) + steps * supports * (9 * sum(rest) + 4 * first)


def describe(name: str, steps: int, seconds: float, best: float, difference: float) -> dict[str, Any]:
    """One row of the result."""
    return {
        "variant": name,
        "inner_steps": steps,
        "meta_steps_per_second": 1 / seconds,
        "model_gflop_per_second": model_flop(steps) / seconds / 1e9,
        "fraction_of_best_matrix_product": model_flop(steps) / seconds / best,
        "difference_of_meta_gradient": difference,
    }


def write_results(output: Path, rows: list[dict[str, Any]], layers: list[dict[str, Any]], best: float) -> None:
    """Writes results.json and table.md."""
    header = ("Conv4-64, second order", "Inner steps", "Meta-steps/s", "GFLOP/s", "Of the best matrix product")
    lines = [
        [
            row["variant"],
            str(row["inner_steps"]),
            f"{row['meta_steps_per_second']:.2f}",
            f"{row['model_gflop_per_second']:.0f}",
            f"{100 * row['fraction_of_best_matrix_product']:.0f} %",
        ]
        for row in rows
    ]
    layer_header = ("Layer, 75 images", "Wanted", *(f"{name}, GFLOP/s" for name in layers[0]["gflop_per_second"]))
    layer_lines = [
        [row["layer"], row["wanted"], *(f"{value:.0f}" for value in row["gflop_per_second"].values())] for row in layers
    ]
    text = f"The best matrix product: {best / 1e9:.0f} GFLOP/s.\n\n"
    text += markdown_table(header, lines) + "\n" + markdown_table(layer_header, layer_lines)
    write_text(output / "table.md", text)
    content = {
        **environment(),
        "best_matrix_product_gflop_per_second": rounded(best / 1e9),
        "variants": [{**row, **{name: rounded(row[name]) for name in row if name != "variant"}} for row in rows],
        "layers": [{**row, "gflop_per_second": rounded(row["gflop_per_second"])} for row in layers],
    }
    write_json(output / "results.json", content)


if __name__ == "__main__":
    main()
