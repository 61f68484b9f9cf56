"""The command `python -m jax_meta page`: its arguments, and the words on the page that it writes."""

import argparse
import html
import math
from pathlib import Path
from typing import Any

import numpy as np

from jax_meta.saved.command import as_computed, describe, read_task
from jax_meta.saved.files import LoadedModel, load_model
from jax_meta.saved.page.html import MAX_NETWORKS, MAX_POINTS, MAX_SHOWN_STEPS, Page, Range, write_page
from jax_meta.saved.page.networks import Network, describe_network

DESCRIPTION = """\
Writes a page on which saved models are taught by hand: click points on a plane, move a slider over the steps of
gradient descent, and see each model's curve and its loss. The page is one HTML file. It opens in any browser, from the
disk, and loads nothing from anywhere; the steps are taken in the browser, in float32.

MODEL is a file written by jax_meta.save_model: a regression by an MLP from one number to one number, of any hidden
widths and activation, adapted by SGD without momentum, or by meta_sgd. Up to six models share a page.
"""
EPILOG = """\
examples:
  python -m jax_meta page sines.safetensors --sines --output page.html
  python -m jax_meta page maml.safetensors reptile.safetensors --data task.npz --output page.html
"""
POINTS = ("support_inputs", "support_targets")


def register_page(subparsers: Any) -> None:
    """Adds the subcommand `page`."""
    parser = subparsers.add_parser(
        "page",
        help="write a page on which saved models are taught by hand",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", type=Path, nargs="+", metavar="MODEL", help="a model, a safetensors file")
    add("--output", type=html_path, required=True, metavar="FILE.html", help="where to write the page")
    add("--steps", type=slider_steps, default=32, metavar="N", help="the slider's last step; default: 32")
    add("--title", help="the page's heading; default: the names of the models")
    add("--x", type=float, nargs=2, metavar=("FROM", "TO"), help="the plane's inputs; default: around DATA, or -5 5")
    add("--y", type=float, nargs=2, metavar=("FROM", "TO"), help="the plane's targets; default: around DATA, or -6 6")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--data",
        type=Path,
        metavar="DATA.npz",
        help="points to start with, support_inputs and support_targets, as `adapt` takes them; default: none",
    )
    start.add_argument("--sines", action="store_true", help="start with a sine of jax_meta.tasks, and offer others")
    parser.set_defaults(run=page)


def html_path(text: str) -> Path:
    """The file for the page on the command line."""
    if Path(text).suffix not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"must end in .html, which is what is written, got {text!r}")
    return Path(text)


def slider_steps(text: str) -> int:
    """The number of steps on the command line."""
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= MAX_SHOWN_STEPS:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to {MAX_SHOWN_STEPS}, got {text!r}")
    return int(text)


def page(options: argparse.Namespace) -> None:
    """The subcommand `page`: loads, checks, and writes."""
    if len(options.models) > MAX_NETWORKS:
        raise ValueError(f"a page takes at most {MAX_NETWORKS} models, got {len(options.models)}: write several pages.")
    networks = [read_network(path) for path in options.models]
    points = [] if options.data is None else read_points(options.data)
    title = options.title or f"Teach {', '.join(network.label for network in networks)}"
    content = Page(
        title=title,
        lead="Put points on the plane, move the slider, and see what gradient descent makes of them, from where "
        "meta-training left off.",
        about=about(networks),
        networks=networks,
        x_range=plane_range("x", options.x, [x for x, _ in points], (-5.0, 5.0)),
        y_range=plane_range("y", options.y, [y for _, y in points], (-6.0, 6.0)),
        steps=options.steps,
        points=points,
        sines=options.sines,
    )
    write_page(options.output, content)
    models, size = f"{len(networks)} model{'s' * (len(networks) > 1)}", options.output.stat().st_size / 1000
    print(f"{options.output} holds {models} in {size:,.0f} kB: open it in a browser.")


def read_network(path: Path) -> Network:
    """A model file as a network of the page, under its name; raises ValueError for a model that no page can teach."""
    loaded = load_model(path)
    network = Network(path.stem, in_a_sentence(loaded), loaded)
    try:
        describe_network(network)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return network


def in_a_sentence(loaded: LoadedModel) -> str:
    """What the file holds, and how the page's steps differ from those of meta-training."""
    batch_size = loaded.settings["learner"].get("batch_size")
    few = f"; here every step takes all points, where meta-training took {batch_size}" if batch_size else ""
    return f"{describe(loaded)}{few}."


def about(networks: list[Network]) -> str:
    """What the page says of its networks, as HTML."""
    entries = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(note)}</dd>" for label, note, _ in networks)
    return f"<h2>The models</h2><dl>{entries}</dl>"


def read_points(path: Path) -> list[tuple[float, float]]:
    """Points `(x, y)` of a file; raises ValueError unless it has one input and one target for each."""
    task = read_task(path, required=POINTS)
    try:
        inputs, targets = (as_computed(name, task[name]) for name in POINTS)
        if not inputs.size == targets.size == len(inputs) == len(targets):
            shapes = f"{list(inputs.shape)} and {list(targets.shape)}"
            raise ValueError(f"{' and '.join(POINTS)} are {shapes}: a page takes [examples, 1] of both.")
        if inputs.size > MAX_POINTS:
            raise ValueError(f"it has {inputs.size} points, and a page takes at most {MAX_POINTS}: leave some out.")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return list(zip(np.ravel(inputs).tolist(), np.ravel(targets).tolist(), strict=True))


def plane_range(name: str, given: list[float] | None, numbers: list[float], default: Range) -> Range:
    """The range of an axis: as given, or around the points, or the default; raises ValueError for one that is none."""
    if given is None and not numbers:
        return default
    low, high = given or (min(numbers), max(numbers))
    if given is None:
        margin = 0.25 * (high - low) or max(1.0, abs(low))
        low, high = low - margin, high + margin
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"--{name} must be a range, FROM below TO, got {low:g} {high:g}.")
    outside = [number for number in numbers if not low <= number <= high]
    if outside:
        raise ValueError(f"--{name} {low:g} {high:g} leaves out the point at {outside[0]:g}: make it wider.")
    return low, high
