"""The post's figures, each drawn as soon as the methods that it shows are finished."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import jax_meta
from benchmarks.harness.jax_networks import compiled_soon
from benchmarks.harness.results import counted
from benchmarks.sinusoid import geometry
from benchmarks.sinusoid.methods import LOSS_FN, MODEL, TABLE_STEPS, Outcome, methods
from benchmarks.sinusoid.protocol import PROTOCOLS, Protocol, make_test_tasks
from jax_meta import Task
from jax_meta.plots import plot_fit, plot_learning_curve

FIT_STEPS = (0, 1, 10)
TRANSFER_FIT_LEARNING_RATE = 0.02  # the post's choice for this one figure
LABELS = {name: method.label for name, method in methods(PROTOCOLS["post"]).items()}


class Scene(NamedTuple):
    protocol: Protocol
    sines: Task  # many to look at, leaves `[10,000, examples, 1]`
    task: Task  # the first of them, leaves `[examples, 1]`
    one_sided: Task  # the first whose support points all lie on one side of 0
    outcomes: dict[str, Outcome]  # of the methods finished so far, by name; it fills up as they finish


def make_scene(protocol: Protocol, seed: int, outcomes: dict[str, Outcome]) -> Scene:
    many = protocol._replace(test_tasks=10_000, test_points=100)
    sines = jax.tree.map(np.asarray, make_test_tasks(many, jax.random.key(seed), 10))
    right = sines.support[0] > 0
    one_sided = int(np.argmax(right.all(axis=(1, 2)) | ~right.any(axis=(1, 2))))
    task, sided = (jax.tree.map(lambda leaf, index=index: leaf[index], sines) for index in (0, one_sided))
    return Scene(protocol, sines, task, sided, outcomes)


def blank(title: str, x_label: str = "x", y_label: str = "y") -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.25)
    return figure, axes


def draw_tasks(scene: Scene, *, num_tasks: int) -> Figure:
    figure, axes = blank(f"{num_tasks:,} random tasks: y = a sin(x + b)")
    inputs, targets = scene.sines.query
    style = {"color": "black", "alpha": 0.15} if num_tasks > 10 else {}
    axes.plot(inputs[0, :, 0], targets[:num_tasks, :, 0].T, **style)
    return figure


def draw_average(scene: Scene) -> Figure:
    figure, axes = blank("The average of many tasks is nearly 0 everywhere")
    inputs, targets = scene.sines.query
    axes.plot(inputs[0], targets.mean(axis=0), label=f"average of {len(targets):,} tasks", linewidth=2)
    axes.plot(inputs[0], targets[0], label="one task", linewidth=2)
    axes.legend(loc="upper right")
    return figure


@compiled_soon
def fits(params: Any, task: Task, learning_rate: jax.Array | float) -> jax.Array:
    """Predictions `[steps + 1, examples, 1]` at the query inputs, after each step of SGD on the support points."""

    def observe(params):
        return MODEL.apply(params, task.query[0])

    inner, key = optax.sgd(learning_rate), jax.random.key(0)
    _, seen = jax_meta.adapt(LOSS_FN, inner, params, task.support, key, num_steps=max(FIT_STEPS), observe=observe)
    return seen


def draw_fit(scene: Scene, *, method: str, one_sided: bool = False) -> Figure:
    rate = TRANSFER_FIT_LEARNING_RATE if method == "transfer" else scene.protocol.inner_learning_rate
    where = ", all points on one side" if one_sided else ""
    figure, axes = blank(f"{LABELS[method]}, SGD {rate:g} on 10 points{where}")
    task = scene.one_sided if one_sided else scene.task
    predictions = fits(jax.tree.map(lambda leaf: leaf[0], scene.outcomes[method].params), task, rate)
    plot_fit(axes, *task, {f"after {counted(step, 'step')}": predictions[step] for step in FIT_STEPS})
    axes.legend(loc="best", fontsize="small")
    return figure


def draw_curves(scene: Scene, *, curves: tuple[tuple[str, ...], int, str]) -> Figure:
    """Mean test error against steps of fine-tuning, with 95% intervals over tasks and each seed's own curve."""
    (methods, steps, title), shots = curves, scene.protocol.test_shots[-1]
    figure, axes = blank(title, f"steps of SGD on {shots} points", "mean squared error")
    errors = {method: scene.outcomes[method].errors[shots][:, :, : steps + 1] for method in methods}
    top = 1.2 * min(values[:, :, 0].mean() for values in errors.values())
    for method, values in errors.items():
        mean, half_width = jax_meta.estimate(values.mean(axis=0))
        off_the_plot = f" ({mean[0]:.1f} before the first step)" if mean[0] > top else ""
        seeds = values.mean(axis=1) if len(values) > 1 else None
        plot_learning_curve(axes, mean, half_width, label=LABELS[method] + off_the_plot, seeds=seeds)
    axes.set_ylim(0, top)
    axes.legend(loc="best", title="mean, 95% interval over tasks; thin: each seed", title_fontsize="x-small")
    return figure


def draw_three(scene: Scene) -> Figure:
    """The methods at a glance: the median network and the quartiles, at the steps of the table."""
    shots = scene.protocol.test_shots[-1]
    errors = {name: scene.outcomes[name].errors[shots][:, :, list(TABLE_STEPS)].mean(axis=1) for name in AT_A_GLANCE}
    return draw_networks(errors, shots)


def draw_networks(errors: Mapping[str, np.ndarray], shots: int) -> Figure:
    """`draw_three` of each method's mean errors `[seeds, TABLE_STEPS]`; each curve is named where it ends."""
    networks = max(len(values) for values in errors.values())
    title = f"Error on new sines: median of {networks} networks, band: the middle half"
    figure, axes = blank("", f"steps of SGD on {shots} points", "mean squared error")
    quartiles = {name: np.quantile(values, (0.25, 0.5, 0.75), axis=0) for name, values in errors.items()}
    for name, (lower, middle, upper) in quartiles.items():
        axes.plot(TABLE_STEPS, middle, "o-", color=AT_A_GLANCE[name], linewidth=2.2, markersize=4.5)
        axes.fill_between(TABLE_STEPS, lower, upper, color=AT_A_GLANCE[name], alpha=0.18, linewidth=0)
    medians = np.stack([middle for _, middle, _ in quartiles.values()])
    gap = (medians.max() / medians.min()) ** 0.06  # that texts do not overlap
    for index, right, side in ((-1, 1.12 * TABLE_STEPS[-1], "center"), (1, 1.08, "bottom")):
        place = 0.0
        for name, (_, middle, _) in sorted(quartiles.items(), key=lambda item: item[1][1, index]):
            place = max(middle[index], gap * place)
            told = f"{LABELS[name]} {middle[-1]:.2f}" if index == -1 else f"{middle[1]:.2f}"
            axes.text(right, place, told, va=side, color=AT_A_GLANCE[name], weight="bold")
    axes.set_xscale("symlog", linthresh=1, linscale=0.8)
    axes.set_xticks(TABLE_STEPS, labels=map(str, TABLE_STEPS))
    axes.set_xlim(-0.12, 1.05 * TABLE_STEPS[-1])
    axes.set_yscale("log")
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4) if tick > 0.8 * medians.min()]
    axes.set_yticks(ticks, labels=map(str, ticks))
    axes.minorticks_off()
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_geometry() -> Figure:
    figure, axes = blank("Reptile on y = sin(w x) + b, two tasks of one point each", "w", "b")
    frequencies = np.linspace(-1.6, 3.4, 200)
    for point, offsets in zip(geometry.POINTS, geometry.optimal_curves(frequencies), strict=True):
        axes.plot(frequencies, offsets, linewidth=2, label=f"optimal weights of the task through {point}")
    way = geometry.walk()
    for loop in np.stack([way.iterates[:-1], way.adapted], axis=1)[::3]:
        axes.plot(*loop.T, color="gray", linewidth=0.6, alpha=0.7)
    axes.plot([], [], color="gray", linewidth=0.6, label=f"every third inner loop, {geometry.INNER_STEPS} steps")
    axes.plot(*way.iterates.T, ".-", color="black", markersize=3, linewidth=1, label="Reptile's initialization")
    axes.plot(*geometry.CLOSEST, "*", color="crimson", markersize=13, label="halfway where the curves are closest")
    axes.set_ylim(top=3.6)
    axes.legend(loc="upper right", fontsize="x-small")
    return figure


METHODS = ("maml", "fomaml", "reptile")
AT_A_GLANCE = {"maml": "tab:blue", "fomaml": "tab:orange", "reptile": "tab:green", "transfer": "dimgray"}  # and colours
CURVES = {  # methods, steps and title of each figure of learning curves
    "transfer": (("transfer", "random"), 99, "Transfer learning learns nothing that helps"),
    "maml": (("maml", "transfer", "random"), 9, "MAML learns to learn: one step is enough"),
    "fomaml": (("maml", "fomaml"), 9, "First-order MAML against MAML"),
}
FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Scene], Figure]]] = {
    "three_tasks": ((), partial(draw_tasks, num_tasks=3)),
    "thousand_tasks": ((), partial(draw_tasks, num_tasks=1_000)),
    "average_task": ((), draw_average),
    "reptile_geometry": ((), lambda scene: draw_geometry()),
    "three_curves": (tuple(AT_A_GLANCE), draw_three),
    **{f"{name}_fit": ((name,), partial(draw_fit, method=name)) for name in ("transfer", *METHODS)},
    **{f"{name}_fit_one_sided": ((name,), partial(draw_fit, method=name, one_sided=True)) for name in METHODS},
    **{f"{name}_curves": (curves[0], partial(draw_curves, curves=curves)) for name, curves in CURVES.items()},
}
"""The methods that each figure shows, and what draws it, by its file name."""
