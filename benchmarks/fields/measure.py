"""A cell: a start, the rates that suit it on validation images, and what it does with test images."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jax_meta
from benchmarks.fields.networks import SIDE, Field, Start, fit_all, plain, reconstruct
from benchmarks.harness.results import rounded
from benchmarks.harness.rounds import Tell
from jax_meta import Task
from jax_meta.datasets import ClassImages, Splits
from jax_meta.tasks import fields

SHORT, MIDDLE, LONG = 20, 100, 1_000  # the steps that programs take
STEPS = (0, 1, 2, 5, 10, 20, 100, 1_000)  # the steps that are reported
PIXELS = (16, 64, 256, 512)
STOPS = (1, 2, 5, 10, 20, 50, 100)  # steps after which one may stop where there are unseen pixels
RATES = {
    "sgd": tuple(rounded([1e-2 * 10 ** (power / 2) for power in range(-2, 5)], 2)),
    "adam": tuple(rounded([1e-2 * 10 ** (power / 2) for power in range(-5, 2)], 2)),
}
SHOWN, SHOWN_STEPS = 3, (0, 1, 2, 5, 20)


class Images(NamedTuple):
    """How many images of validation and of test; those of 1,000 steps are fewer, and none after the first seed."""

    validation: int = 32
    validation_long: int = 8
    test: int = 256
    test_long: int = 32


def draw(data: ClassImages, count: int, pixels: int | None = None) -> Any:
    """The first `count` images that everything is measured on: the batch and None, or with the pixels kept back."""
    task = fields(data, pixels=pixels)(jax.random.key(7), count)
    return (task.support, None) if pixels is None else tuple(Task(*task))


def first(tasks: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:count], tasks)


fitted = jax.jit(fit_all, static_argnums=(0, 1), static_argnames=("steps",))


def mean_curve(field: Field, optimizer: str, start: Start, rate: float, tasks: Any, *, steps: int) -> np.ndarray:
    """Mean decibels `[steps + 1]`; the worst there are from where it diverges."""
    curve = np.asarray(fitted(field, optimizer, start, rate, tasks, steps=steps)).mean(axis=0)
    return np.where(np.isfinite(curve), curve, -np.inf)


def choose_frequency(make: Any, frequencies: Sequence[float], data: ClassImages, images: Images) -> float:
    """The best for a random start on unseen pixels of validation images, by Adam with its best rate."""
    tasks = draw(data, images.validation, PIXELS[-1])

    def best(frequency: float) -> float:
        field = make(frequency)
        start = plain(field.init(jax.random.key(0)))
        return max(mean_curve(field, "adam", start, rate, tasks, steps=MIDDLE)[-1] for rate in RATES["adam"])

    return max(frequencies, key=best) if len(frequencies) > 1 else frequencies[0]


def choose_rates(field: Field, start: Start, data: ClassImages, images: Images, tell: Tell) -> dict[str, dict]:
    """By optimizer and steps, the rate that is best on validation images after so many steps."""
    tasks, rates = draw(data, images.validation), {}
    for optimizer, tried in RATES.items():
        tell(f"rates of {optimizer}")
        curves = {rate: mean_curve(field, optimizer, start, rate, tasks, steps=MIDDLE) for rate in tried}
        chosen = {step: max(tried, key=lambda rate: curves[rate][step]) for step in STEPS if 0 < step <= MIDDLE}
        near, few = tried.index(chosen[MIDDLE]), first(tasks, images.validation_long)
        long = {
            rate: mean_curve(field, optimizer, start, rate, few, steps=LONG)[-1]
            for rate in tried[max(0, near - 1) : near + 2]
        }
        rates[optimizer] = {str(step): rate for step, rate in {**chosen, LONG: max(long, key=long.__getitem__)}.items()}
    return rates


def after_steps(field: Field, start: Start, rates: dict, data: ClassImages, images: Images, tell: Tell) -> dict:
    """By optimizer and steps: mean decibels of test images, with the interval over them."""
    tasks = draw(data, images.test)
    told: dict[str, dict] = {}
    few = first(tasks, min(images.test, images.test_long))
    for optimizer, chosen in rates.items():
        tell(f"test images, {optimizer}")
        curves: dict[tuple[float, int], np.ndarray] = {}
        told[optimizer] = {}
        for step in STEPS if images.test_long else STEPS[:-1]:
            horizon = min(program for program in (SHORT, MIDDLE, LONG) if program >= step)
            key = chosen.get(str(step), chosen["1"]), horizon
            if key not in curves:
                given = few if horizon == LONG else tasks
                curves[key] = np.asarray(fitted(field, optimizer, start, key[0], given, steps=horizon))
            told[optimizer][str(step)] = describe(curves[key][:, step])
    return told


def on_unseen(field: Field, start: Start, chosen: dict | None, splits: Splits, images: Images, tell: Tell) -> dict:
    """By the number of pixels given: decibels on the others, as `chosen` for another seed or on validation images."""
    told = {}
    for pixels in PIXELS:
        tell(f"{pixels} pixels")
        if chosen is None:
            optimizer, rate, stop = choose_stop(field, start, draw(splits.val, images.validation // 2, pixels))
        else:
            optimizer, rate, stop = (chosen[str(pixels)][name] for name in ("by", "rate", "steps"))
        found = fitted(field, optimizer, start, rate, draw(splits.test, images.test // 4, pixels), steps=MIDDLE)
        told[str(pixels)] = {**describe(np.asarray(found)[:, stop]), "by": optimizer, "rate": rate, "steps": stop}
    return told


def choose_stop(field: Field, start: Start, tasks: Any) -> tuple[str, float, int]:
    """The optimizer, rate and number of steps that are best on the pixels kept back."""
    best = (-np.inf, "", 0.0, 0)
    for optimizer, tried in RATES.items():
        for rate in tried:
            curve = mean_curve(field, optimizer, start, rate, tasks, steps=MIDDLE)
            best = max(best, *((float(curve[stop]), optimizer, rate, stop) for stop in STOPS))
    return best[1:]


def describe(decibels: np.ndarray) -> dict:
    """Mean and 95% interval over images."""
    mean, half_width = jax_meta.estimate(decibels)
    return {"mean": rounded(float(mean), 4), "half_width": rounded(float(half_width), 2), "images": len(decibels)}


def strip(field: Field, start: Start, rates: dict, data: ClassImages) -> np.ndarray:
    """Rows of images, columns of steps of SGD, uint8 `[rows * side, columns * side, channels]`, the target last."""
    batches, _ = draw(data, SHOWN)
    columns = []
    for steps in SHOWN_STEPS:
        rate = rates["sgd"].get(str(steps), rates["sgd"]["1"])
        columns.append(jax.lax.map(partial(reconstruct, field, start, rate, steps=steps), batches))
    columns.append(batches[1].reshape(columns[0].shape))
    pixels = np.stack([np.asarray(column) for column in columns], axis=1).clip(0, 1)
    rows = pixels.transpose(0, 2, 1, 3, 4).reshape(SHOWN * SIDE, len(columns) * SIDE, -1)
    return np.round(255 * rows).astype(np.uint8)
