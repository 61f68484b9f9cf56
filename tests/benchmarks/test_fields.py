"""The benchmark of neural fields: what it fits, what it calls a start, what it chooses, what it tells."""

import json
from argparse import Namespace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import jax_meta
from benchmarks.fields import __main__ as command
from benchmarks.fields import cells, figures, measure, results, starts
from benchmarks.fields.networks import Start, fit, plain, siren
from jax_meta.datasets import ClassImages, Splits
from jax_meta.tasks import coordinates, fields

KEY = jax.random.key(0)
FIELD = siren(10.0)
TINY = measure.Images(validation=2, validation_long=1, test=8, test_long=2)


def images(seed):
    """Dark images, each of one colour."""
    pixels = np.random.default_rng(seed).integers(0, 100, (3, 4, 1, 1, 3), np.uint8)
    return ClassImages(np.broadcast_to(pixels, (3, 4, 32, 32, 3)).copy(), np.full(3, 4), ("a", "b", "c"))


def batch():
    colours = np.random.default_rng(0).uniform(size=(1024, 3)).astype(np.float32)
    return coordinates(32, 32), colours


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.3), ("adam", 1e-3)])
def test_decibels_are_those_of_adapt_after_each_step(optimizer, rate):
    params = FIELD.init(KEY)
    of_optax = {"sgd": optax.sgd, "adam": optax.adam}[optimizer](rate)
    adapt = partial(jax_meta.adapt, FIELD.loss_fn, of_optax, params, batch(), KEY)
    found = jax.jit(partial(fit, FIELD, optimizer, steps=2))(plain(params), rate, batch(), None)
    for step in range(3):
        error = jnp.mean((FIELD.apply(adapt(num_steps=step), batch()[0]) - batch()[1]) ** 2)
        assert found[step] == pytest.approx(float(-10 * jnp.log10(error)), abs=1e-3)


def test_a_start_has_step_sizes_of_its_own_and_unseen_pixels_are_those_that_count():
    params = FIELD.init(KEY)
    half = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), params)
    run = jax.jit(partial(fit, FIELD, "sgd", steps=2))
    assert_allclose(run(Start(params, half), 0.2, batch(), None), run(plain(params), 0.1, batch(), None), rtol=1e-5)
    seen, unseen = (tuple(leaf[part] for leaf in batch()) for part in (slice(100), slice(100, None)))
    kept = run(plain(params), 0.1, seen, unseen)
    adapted = jax_meta.adapt(FIELD.loss_fn, optax.sgd(0.1), params, seen, KEY, num_steps=2)
    error = jnp.mean((FIELD.apply(adapted, unseen[0]) - unseen[1]) ** 2)
    assert kept[2] == pytest.approx(float(-10 * jnp.log10(error)), abs=1e-3)
    assert abs(kept[2] - run(plain(params), 0.1, seen, None)[2]) > 1e-2


def test_shuffled_weights_are_the_same_weights_and_matched_ones_are_like_them():
    maml = plain(FIELD.init(KEY))
    for name in starts.DERIVED:
        made = starts.derived(name, maml, 0)
        pairs = list(zip(jax.tree.leaves(made.params), jax.tree.leaves(maml.params), strict=True))
        for mine, theirs in pairs:
            assert not np.allclose(mine, theirs)
            if name == "shuffled":
                assert_allclose(np.sort(np.ravel(mine)), np.sort(np.ravel(theirs)))
        widest = max(pairs, key=lambda pair: pair[0].size)
        assert_allclose(np.std(widest[0]), np.std(widest[1]), rtol=0.05)


@pytest.mark.slow
def test_a_shared_body_leaves_a_new_head_to_the_next_image():
    start = starts.shared_body(FIELD, fields(images(0)), 0, 20)
    first = FIELD.init(jax.random.split(jax.random.key(0), 3)[0])
    moved = {
        name: not np.allclose(start.params["params"][name]["bias"], first["params"][name]["bias"])
        for name in first["params"]
    }
    assert moved["Dense_0"]
    assert moved["Dense_2"]
    same_kind = np.asarray(start.params["params"][FIELD.head]["kernel"])
    assert np.abs(same_kind).max() <= (6 / 64) ** 0.5 / 10  # as a network that has seen nothing


def test_each_number_of_steps_has_the_rate_that_is_best_for_it(monkeypatch):
    """A rate of 0.1 is ahead after one step and falls back; the lowest is the last to arrive, and arrives."""

    def curve(field, optimizer, start, rate, tasks, *, steps):
        at = np.arange(steps + 1)
        return np.where(at < 5, rate, 1 / rate) * at if rate <= 0.1 else np.full(steps + 1, -np.inf)

    monkeypatch.setattr(measure, "mean_curve", curve)
    rates = measure.choose_rates(FIELD, plain(FIELD.init(KEY)), images(0), TINY, lambda doing: None)
    assert rates["sgd"]["1"] == 0.1
    assert rates["sgd"]["100"] == min(measure.RATES["sgd"])
    assert rates["sgd"]["1000"] == min(measure.RATES["sgd"])


def test_a_rate_that_diverges_is_never_the_best():
    start = plain(FIELD.init(KEY))
    tasks = measure.draw(images(0), 2)
    curve = measure.mean_curve(FIELD, "sgd", start, 1e30, tasks, steps=3)
    assert np.isfinite(curve[0])
    assert curve[3] == -np.inf


def test_the_mean_over_seeds_has_both_spreads():
    told = results.over_seeds([{"1": {"mean": mean, "half_width": 0.4, "images": 9}} for mean in (10.0, 12.0)])
    assert told["1"] == {"mean": 11.0, "half_width": 0.4, "deviation_over_seeds": 1.41, "images": 9}
    assert (
        results.over_seeds([{"1": {"mean": 10.0, "half_width": 0.4, "images": 9}}])["1"]["deviation_over_seeds"] is None
    )


def test_cells_of_other_meta_steps_are_refused_before_any_work(tmp_path):
    path = cells.path_of(tmp_path, "siren", "random", 0)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"meta_steps": 500}))
    options = Namespace(output=tmp_path, networks=["siren"], seeds=1, starts=["random", "maml"], meta_steps=1_000)
    with pytest.raises(SystemExit, match="500 meta-steps: choose another --output, or --meta-steps 500"):
        command.wanted(options)
    options.meta_steps = 500
    assert command.wanted(options) == [("siren", 0, "maml")]


@pytest.mark.slow
@pytest.mark.usefixtures("single_precision")
def test_from_images_to_tables(tmp_path, monkeypatch):
    splits = Splits(*(images(seed) for seed in range(3)))
    monkeypatch.setattr(command, "load_cifar100", lambda folder, split: splits)
    monkeypatch.setattr(command, "Images", lambda: TINY)
    monkeypatch.setattr(cells, "NETWORKS", {"siren": (siren, (10.0,))})
    monkeypatch.setattr(measure, "RATES", {"sgd": (1e-2, 1e-1), "adam": (1e-3, 1e-2)})
    for name, value in {"SHORT": 2, "MIDDLE": 4, "LONG": 6, "STOPS": (1, 4), "SHOWN_STEPS": (0, 2)}.items():
        monkeypatch.setattr(measure, name, value)
    for module in (measure, results):
        monkeypatch.setattr(module, "STEPS", (0, 1, 2, 4, 6))
        monkeypatch.setattr(module, "PIXELS", (16,))
    monkeypatch.setattr(figures, "SHOWN_STEPS", (0, 2))
    names = ["random", "joint", "maml", "matched"]
    command.main(
        ["--networks", "siren", "--seeds", "1", "--meta-steps", "100", "--starts", *names, "--output", str(tmp_path)]
    )
    told = json.loads((tmp_path / "results.json").read_text("utf-8"))["networks"]["siren"]
    assert set(told["starts"]) == set(names)
    before = {name: record["decibels"]["sgd"]["0"]["mean"] for name, record in told["starts"].items()}
    assert before["joint"] > before["random"] + 3  # it knows that they are dark
    assert told["starts"]["maml"]["gradients"] == 3 * 4 * 100
    table = (tmp_path / "table.md").read_text("utf-8")
    assert "MAML's mean and deviation" in table
    assert {path.name for path in tmp_path.glob("*.png")} == {"images.png", "steps.png", "pixels.png"}
    before = (cells.path_of(tmp_path, "siren", "maml", 0)).stat().st_mtime_ns
    command.main(
        ["--networks", "siren", "--seeds", "1", "--meta-steps", "100", "--starts", *names, "--output", str(tmp_path)]
    )
    assert cells.path_of(tmp_path, "siren", "maml", 0).stat().st_mtime_ns == before
