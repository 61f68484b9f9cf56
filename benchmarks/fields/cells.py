"""A cell is a start of a seed: how it is made, measured and kept."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization
from PIL import Image

from benchmarks.fields.measure import (
    Images,
    after_steps,
    choose_frequency,
    choose_rates,
    draw,
    mean_curve,
    on_unseen,
    strip,
)
from benchmarks.fields.networks import NETWORKS, Field, Start, plain
from benchmarks.fields.starts import DERIVED, OUTER_RATE, RECIPES, Judge, make_start
from benchmarks.harness.results import read_json, rounded, write_json
from benchmarks.harness.rounds import Tell
from jax_meta.datasets import Splits
from jax_meta.tasks import fields
from jax_meta.whole_files import whole_file, write_whole

TRIED = [(inner, outer) for inner in (3e-2, 1e-1) for outer in (3e-4, 1e-3)]
TRIAL, TRIAL_STEPS = 10, 2  # a trial has a tenth of the meta-steps, and is judged after two inner steps


def path_of(output: Path, network: str, name: str, seed: int) -> Path:
    return output / "cells" / network / f"{name}-{seed}.json"


def run(
    output: Path, network: str, name: str, seed: int, splits: Splits, meta_steps: int, images: Images, tell: Tell
) -> None:
    """Makes the start and measures it; all that the first seed chooses on validation images holds for the others."""
    path = path_of(output, network, name, seed)
    field = field_of(path.parent / "network.json", network, splits, images, tell)
    before = path_of(output, network, name, 0)
    chosen = read_json(before) if seed else choose_inner(field, name, splits, meta_steps, images, tell)
    sampler = fields(splits.train, pixels=RECIPES[name].pixels)
    maml = load(start_path(output, network, "maml", seed), field) if name in DERIVED else None
    rates = chosen["inner_rate"], chosen["outer_rate"]
    judge = judge_of(field, name, splits, images)
    start, took = make_start(field, name, sampler, rates, seed, meta_steps, maml, judge, tell)
    keep(start_path(output, network, name, seed), start)
    images = images._replace(test_long=0) if seed else images
    suited = chosen["rates"] if seed else choose_rates(field, start, splits.val, images, tell)
    record = {
        "label": RECIPES[name].label,
        "meta_steps": meta_steps,
        **took,
        "inner_rate": chosen["inner_rate"],
        "outer_rate": chosen["outer_rate"],
        "trials": chosen["trials"],
        "rates": suited,
        "decibels": after_steps(field, start, suited, splits.test, images, tell),
        "unseen": on_unseen(field, start, chosen.get("unseen"), splits, images, tell),
    }
    with whole_file(path.with_suffix(".png")) as file:
        Image.fromarray(strip(field, start, suited, splits.test)).save(file, "png")
    write_json(path, record)


def field_of(path: Path, network: str, splits: Splits, images: Images, tell: Tell) -> Field:
    """The network with the frequency that is best on validation images, which is chosen once."""
    make, frequencies = NETWORKS[network]
    if not path.exists():
        tell("chooses a frequency")
        write_json(
            path, {"frequency": choose_frequency(make, frequencies, splits.val, images), "of": list(frequencies)}
        )
    return make(read_json(path)["frequency"])


def choose_inner(
    field: Field, name: str, splits: Splits, meta_steps: int, images: Images, tell: Tell
) -> dict[str, Any]:
    """The inner step size of a learner, by short trials; None where there is none."""
    if RECIPES[name].learner is None or name == "joint":
        return {"inner_rate": None, "outer_rate": OUTER_RATE, "trials": []}
    judge, sampler = judge_of(field, name, splits, images), fields(splits.train, pixels=RECIPES[name].pixels)
    trials, short = [], max(1, meta_steps // TRIAL)
    for rates in TRIED:
        start, _ = make_start(field, name, sampler, rates, 0, short, None, judge, tell)
        trials.append({"rates": rates, "decibels": rounded(judge(start, rates[0]), 4)})
    inner, outer = max(trials, key=lambda trial: trial["decibels"])["rates"]
    return {"inner_rate": inner, "outer_rate": outer, "trials": trials}


def judge_of(field: Field, name: str, splits: Splits, images: Images) -> Judge:
    return partial(after_two_steps, field, draw(splits.val, images.validation, RECIPES[name].pixels))


def after_two_steps(field: Field, tasks: Any, start: Start, rate: float) -> float:
    """Decibels of validation images, by which trials are judged, and what is trained is kept; 0 where it diverges."""
    found = float(mean_curve(field, "sgd", start, rate, tasks, steps=TRIAL_STEPS)[-1])
    return found if np.isfinite(found) else 0.0


def start_path(output: Path, network: str, name: str, seed: int) -> Path:
    return output / "starts" / network / f"{name}-{seed}.msgpack"


def keep(path: Path, start: Start) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, serialization.to_bytes(start))


def load(path: Path, field: Field) -> Start:
    if not path.exists():
        raise SystemExit(f"there is no {path}, from which this start is derived: run --starts maml first.")
    return Start(*serialization.from_bytes(plain(field.init(jax.random.key(0))), path.read_bytes()))
