"""What is written: results.json, of all cells that are there; table.md and the figures, made from it."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fields.figures import draw_images, draw_pixels, draw_steps
from benchmarks.fields.measure import PIXELS, STEPS
from benchmarks.fields.starts import IMAGES, RECIPES
from benchmarks.harness.results import Row, markdown_table, read_json, save_figure, write_results

Records = dict[str, Any]
RATES_SHOWN = (1, 2)
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}
PUBLISHED = {  # decibels on CIFAR-10 by steps; Dupont et al., arXiv:2201.12904
    "*COIN, from scratch, ten layers of 512, Adam*": {1: "5.8", 10: "6.1", 100: "12.4", 1_000: "26.0"},
    "*COIN++, 512 numbers an image*": {1: "25.5", 2: "31.0", 5: "32.0", 10: "32.1"},
}


def write(options: argparse.Namespace) -> None:
    """Everything, from the cells that the folder has."""
    content = {"networks": {name: summary(options.output, name) for name in networks_of(options.output)}}
    figures = {}
    if siren := content["networks"].get("siren", {}).get("starts"):
        figures = {"steps": draw_steps(siren), "pixels": draw_pixels(siren)}
        save_figure(options.output / "images.png", draw_images(options.output / "cells" / "siren", list(siren)))
    write_results(options, content, table(content), **figures)


def networks_of(output: Path) -> list[str]:
    return sorted({path.parent.name for path in output.glob("cells/*/*-*.json")}, reverse=True)


def summary(output: Path, network: str) -> Records:
    """The starts of a network, each the mean of its seeds."""
    folder, starts = output / "cells" / network, {}
    for name in RECIPES:
        seeds = [read_json(path) for path in sorted(folder.glob(f"{name}-*.json"))]
        if seeds:
            starts[name] = {
                **{
                    key: seeds[0][key]
                    for key in ("label", "meta_steps", "gradients", "inner_rate", "outer_rate", "trials", "rates")
                },
                "seeds": len(seeds),
                "seconds": [seed["seconds"] for seed in seeds],
                "meta_steps_left_out": [seed["meta_steps_left_out"] for seed in seeds],
                "decibels": {
                    optimizer: over_seeds([seed["decibels"][optimizer] for seed in seeds]) for optimizer in OPTIMIZERS
                },
                "unseen": over_seeds([seed["unseen"] for seed in seeds]),
            }
    return {**read_json(folder / "network.json"), "starts": starts}


def over_seeds(records: list[Records]) -> Records:
    """The mean over seeds, the 95% interval over images, and the standard deviation over seeds."""
    told = {}
    for key, first in records[0].items():
        found = [record[key] for record in records if key in record]  # the first seed alone has the longest runs
        means = [record["mean"] for record in found]
        told[key] = {
            "mean": round(float(np.mean(means)), 2),
            "half_width": round(float(np.mean([record["half_width"] for record in found])), 2),
            "deviation_over_seeds": round(float(np.std(means, ddof=1)), 2) if len(means) > 1 else None,
            "images": first["images"],
        }
    return told


def table(told: dict) -> str:
    parts = ["# Neural fields\n"]
    for name, network in told["networks"].items():
        starts = network["starts"]
        title = f"{'SIREN' if name == 'siren' else 'ReLU with Fourier features'}, frequency {network['frequency']:g}"
        parts += [steps_table(title, optimizer, starts) for optimizer in OPTIMIZERS]
        parts += [pixels_table(title, starts), cost_table(title, starts)]
    return "\n".join(parts)


def cell(told: Records) -> str:
    seeds = told["deviation_over_seeds"]
    return f"{told['mean']:.1f} ± {told['half_width']:.1f}" + ("" if seeds is None else f" ({seeds:.2f})")


def steps_table(title: str, optimizer: str, starts: Records) -> str:
    rows = [
        [record["label"], *(cell(record["decibels"][optimizer][str(step)]) for step in STEPS)]
        for record in starts.values()
    ]
    if optimizer == "adam":
        rows += [[label, *(found.get(step, "") for step in STEPS)] for label, found in PUBLISHED.items()]
    told, seeds = next(iter(starts.values()))["decibels"][optimizer], max(record["seeds"] for record in starts.values())
    scatter = f" (standard deviation over {seeds} seeds)" if seeds > 1 else ""
    return (
        f"## {title}: steps of {OPTIMIZERS[optimizer]}\n\nDecibels on {told['1']['images']} test images, on "
        f"{told[str(STEPS[-1])]['images']} and with the first seed after {STEPS[-1]:,} steps: mean ± 95% interval over "
        f"images{scatter}. Rates are those that are best on validation images for the start and number of steps.\n\n"
        + markdown_table(["start", *(f"{step:,} steps" if step != 1 else "1 step" for step in STEPS)], rows)
    )


def pixels_table(title: str, starts: Records) -> str:
    rows = [[record["label"], *(cell(record["unseen"][str(count)]) for count in PIXELS)] for record in starts.values()]
    images = next(iter(starts.values()))["unseen"][str(PIXELS[0])]["images"]
    return (
        f"## {title}: unseen pixels\n\nDecibels on the pixels that were not given, {images} test images; optimizer, "
        "rate and stop, at most 100 steps, are those that are best on validation images.\n\n"
        + markdown_table(["start", *(f"{count} given" for count in PIXELS)], rows)
    )


def cost_table(title: str, starts: Records) -> str:
    rows = [
        [
            record["label"],
            f"{record['gradients']:,}",
            f"{np.mean(record['seconds']):,.0f}",
            f"{record['inner_rate']:g}, {record['outer_rate']:g}" if record["inner_rate"] else "",
            ", ".join(f"{record['rates']['sgd'][str(step)]:g}" for step in RATES_SHOWN),
            f"{sum(record['meta_steps_left_out'])}",
        ]
        for record in starts.values()
    ]
    header = [
        "start",
        "gradients of an image",
        "CPU seconds",
        "inner, outer rate",
        f"rates of SGD at {', '.join(map(str, RATES_SHOWN))} steps",
        "left out",
    ]
    return (
        f"## {title}: what a start takes\n\nMeta-steps are of {IMAGES} images; those with a gradient that is not "
        "finite are left out. CPU seconds are of one seed, with its compilation.\n\n" + markdown_table(header, rows)
    )


def row(told: dict) -> Row:
    """The minutes, of which making the starts is about a third; and the decibels of the main ones after two steps."""
    starts = told["networks"]["siren"]["starts"]
    seconds = sum(
        sum(record["seconds"]) for network in told["networks"].values() for record in network["starts"].values()
    )
    named = [starts[name] for name in ("random", "joint", "reptile", "maml", "meta_sgd") if name in starts]
    found = [f"{record['label']} {record['decibels']['sgd']['2']['mean']:.1f}" for record in named]
    return 3 * seconds / 60, f"decibels of new images after two steps of SGD: {', '.join(found)}"
