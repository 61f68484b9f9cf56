"""Figures of meta-learning, drawn on the axes of the caller."""

from collections.abc import Mapping

import jax
import numpy as np
from matplotlib.axes import Axes

from jax_meta.base import Batch


def plot_learning_curve(
    axes: Axes,
    mean: jax.Array | np.ndarray,
    half_width: jax.Array | np.ndarray | None = None,
    *,
    label: str,
    seeds: jax.Array | np.ndarray | None = None,
) -> None:
    """Draws a metric against inner steps, as `jax_meta.evaluate` and `jax_meta.estimate` give it.

    Args:
        axes: where to draw.
        mean: `[steps + 1]`, one value after each inner step, the first before any.
        half_width: `[steps + 1]`, the half-width of the interval, drawn as a band. Default: no band.
        label: the name in the legend.
        seeds: `[seeds, steps + 1]`, the curves of single networks, drawn thin. Default: none.

    Example:
        >>> from jax_meta.plots import plot_learning_curve
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> plot_learning_curve(axes, [3.0, 1.0, 0.5], [0.2, 0.1, 0.1], label="MAML")
        >>> assert len(axes.lines) == len(axes.collections) == 1  # the mean, and its interval
    """
    steps = np.arange(len(mean))
    (line,) = axes.plot(steps, mean, label=label, linewidth=2, zorder=3)
    if half_width is not None:
        lower, upper = np.asarray(mean) - half_width, np.asarray(mean) + half_width
        axes.fill_between(steps, lower, upper, color=line.get_color(), alpha=0.25, linewidth=0)
    for seed in () if seeds is None else seeds:
        axes.plot(steps, seed, color=line.get_color(), linewidth=0.6, alpha=0.35)


def plot_fit(
    axes: Axes,
    support: Batch,
    query: Batch,
    predictions: Mapping[str, jax.Array | np.ndarray],
) -> None:
    """Draws one regression task of one input: its points, the true function, and predictions.

    Args:
        axes: where to draw.
        support: `(inputs, targets)`, each `[shots, 1]`: the points that the model adapts to.
        query: `(inputs, targets)`, each `[examples, 1]`, inputs in rising order: the true function.
        predictions: by the name in the legend, each `[examples, 1]`, at the query inputs.

    Example:
        >>> import numpy as np
        >>> from jax_meta.plots import plot_fit
        >>> from matplotlib.figure import Figure
        >>> axes, inputs = Figure().subplots(), np.linspace(-1, 1, 9)[:, None]
        >>> plot_fit(axes, (inputs[::4], inputs[::4]), (inputs, inputs), {"MAML": 0.9 * inputs})
        >>> assert len(axes.lines) == 3  # the function, the prediction, the points
    """
    inputs, targets = (np.ravel(leaf) for leaf in query)
    axes.plot(inputs, targets, color="black", linewidth=2, label="true function")
    for label, values in predictions.items():
        axes.plot(inputs, np.ravel(values), "--", linewidth=1.6, label=label)
    axes.plot(*(np.ravel(leaf) for leaf in support), "^", color="black", markersize=8, label="support points")
