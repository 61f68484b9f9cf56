"""Alphabets as tasks: running averages as parameters, heads, and the table."""

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
from benchmarks.multi_shot import __main__ as multi_shot
from benchmarks.multi_shot import measure, results, starts
from benchmarks.multi_shot.network import Network, RunningNorm, floats, kinds, loss_of, optimizer_of
from jax_meta.datasets import ClassImages, Splits
from jax_meta.networks.layers import batch_statistics

KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (6, 28, 28, 1)).astype(np.uint8)
LABELS = jnp.array([0, 1, 2, 0, 1, 2])


def plain_loss(network, params, images, labels):
    logits = network.apply(params, floats(images), mutable=["distance"])[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.slow
def test_a_step_moves_running_averages_a_tenth_of_the_way_and_the_rest_by_the_gradient():
    params = jax.jit(Network(3).init)(KEY, floats(IMAGES))
    fitted = jax_meta.adapt(loss_of(3), optimizer_of(0.5), params, (IMAGES, LABELS), KEY, num_steps=1)
    slopes = jax.jit(jax.grad(partial(plain_loss, Network(3, train=True))))(params, IMAGES, LABELS)

    def check(kind, new, old, slope):
        if kind == "learned":
            assert_allclose(new, old - 0.5 * slope, rtol=1e-4, atol=1e-6)
        else:
            assert not slope.any()  # what they are normalised by is the batch
            assert (new != old).any()

    jax.tree.map(check, kinds(params), fitted, params, slopes)


def test_the_first_layer_averages_what_it_normalises():
    layer = RunningNorm(train=True)
    inputs = jnp.asarray(DRAW.normal(3, 2, (4, 5, 5, 2)))
    params = {"params": layer.init(KEY, inputs)["params"]}

    def loss_fn(params, batch, key):
        del key
        outputs, sown = layer.apply(params, batch, mutable=["distance"])
        loss = 0 * outputs.sum() + optax.tree.sum(sown)
        return loss, {"loss": loss}

    fitted = jax_meta.adapt(loss_fn, optimizer_of(0.0), params, inputs, KEY, num_steps=2)["params"]
    mean, variance = batch_statistics(inputs)
    assert_allclose(fitted["running_mean"], mean * (1 - 0.9**2), rtol=1e-5)
    assert_allclose(fitted["running_variance"], 0.81 + variance * 100 / 99 * 0.19, rtol=1e-5)
    outputs = RunningNorm(train=False).apply({"params": fitted}, inputs)
    by_hand = (inputs - fitted["running_mean"].reshape(1, 1, 1, -1)) / np.sqrt(
        fitted["running_variance"].reshape(1, 1, 1, -1) + 1e-5
    )
    assert_allclose(outputs, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_loss_is_the_cross_entropy_alone():
    network = Network(3, train=True)
    params = {"params": jax.jit(network.init)(KEY, floats(IMAGES))["params"]}
    loss, metrics = jax.jit(loss_of(3))(params, (IMAGES, LABELS), KEY)
    assert_allclose(loss, plain_loss(network, params, IMAGES, LABELS), rtol=1e-5)
    assert_allclose(metrics["loss"], loss, rtol=1e-5)


@pytest.mark.slow
def test_each_alphabet_has_the_loss_of_its_own_head():
    network = Network(6, train=True)
    params = {"params": jax.jit(network.init)(KEY, floats(IMAGES))["params"]}
    heads = [
        {
            "params": params["params"]
            | {"Dense_0": jax.tree.map(lambda leaf, h=h: leaf[..., 3 * h : 3 * h + 3], params["params"]["Dense_0"])}
        }
        for h in range(2)
    ]
    for alphabet, alone in enumerate(heads):
        loss, _ = loss_of(3, heads=2)(params, (IMAGES, LABELS + 3 * alphabet), KEY)
        assert_allclose(loss, plain_loss(Network(3, train=True), alone, IMAGES, LABELS), rtol=1e-5)


@pytest.mark.slow
def test_a_drawing_is_classified_by_itself_at_test():
    params = jax.jit(Network(3).init)(KEY, floats(IMAGES))
    together = Network(3).apply(params, floats(IMAGES))
    assert_allclose(together[:1], Network(3).apply(params, floats(IMAGES[:1])), rtol=1e-4, atol=1e-6)
    assert set(jax.tree.leaves(kinds(params))) == {"learned", "averages"}


def small_splits():
    """Alphabets of twenty characters that are blocks of their own in the middle of the paper."""

    def drawings(alphabets):
        images = np.full((20 * alphabets, 20, 28, 28, 1), 255, np.uint8)
        for character in range(len(images)):
            images[character, :, 8:20, 8:20, 0] = DRAW.choice([0, 255], (12, 12))
        names = tuple(f"{alphabets}/{character}" for character in range(len(images)))
        return ClassImages(images, np.full(len(images), 20, np.int32), names)

    return Splits(drawings(25), drawings(1), drawings(2))


@pytest.fixture
def small(monkeypatch):
    """A protocol of two steps, on alphabets that are easily told apart."""
    splits = small_splits()
    for module in (measure, starts, results):
        monkeypatch.setattr(module, "STEPS", 2)
    for module in (measure, results):
        monkeypatch.setattr(module, "SHOWN", (0, 2))
    monkeypatch.setattr(measure, "FIRST_RATES", (0.1,))
    monkeypatch.setattr(measure, "RATES", (0.01, 0.1))
    monkeypatch.setattr(starts, "POINTS", (0.5, 1.0, 2.0))
    monkeypatch.setattr(starts, "PUBLISHED_GRADIENTS", 320)
    monkeypatch.setattr(measure, "splits_of", lambda folder, seed: splits)


@pytest.mark.slow
@pytest.mark.parametrize("start", [start for start in starts.STARTS if start != "reptile"])  # which is below
@pytest.mark.usefixtures("single_precision", "small")
def test_a_cell_of_every_start_is_measured_once(tmp_path, monkeypatch, capsys, start):
    words = ["--starts", start, "--seeds", "1", "--share", "1", "--output", str(tmp_path), "--readings"]
    multi_shot.main([*words, "batch-20", "tuned"])
    told = json.loads((tmp_path / "results.json").read_text())["starts"][start]
    assert told["batch-20"]["alphabets"] == 2
    assert told["batch-20"]["gradients"] == told["tuned"]["gradients"]
    gradients = [point["gradients"] for point in [*told["batch-20"]["on_the_way"], told["batch-20"]]]
    assert gradients == {"none": [0], "fomaml": [4 * (2 * 20 + 100)] * 2}.get(start, [160, 320])
    assert told["tuned"]["rates"][0] in (0.01, 0.1)
    assert starts.STARTS[start].label in capsys.readouterr().out
    assert (tmp_path / "trend.png").exists() == (start != "none")
    monkeypatch.setattr(multi_shot, "measure", None)  # nothing is measured any more
    multi_shot.main([*words, "batch-20"])


@pytest.mark.slow
@pytest.mark.usefixtures("single_precision", "small")
def test_a_larger_share_goes_on_where_a_smaller_one_ended(tmp_path):
    def records(output, *shares):
        for share in shares:
            words = ["--starts", "reptile", "--readings", "batch-20", "--seeds", "1", "--share", share]
            multi_shot.main([*words, "--output", str(output)])
        return json.loads(next((output / "cells" / shares[-1]).iterdir()).read_text())

    whole, continued = records(tmp_path / "whole", "2"), records(tmp_path / "continued", "1", "2")
    lines = (tmp_path / "continued" / "starts" / "reptile-20-0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 4]
    times = (tmp_path / "continued" / "starts" / "reptile-20-0" / "times.jsonl").read_text().splitlines()
    assert continued["seconds"]["training"] == pytest.approx(json.loads(times[-1])["seconds"], rel=1e-3)  # of both
    assert whole | {"seconds": 0} == continued | {"seconds": 0}


def test_a_larger_share_is_tested_where_a_smaller_one_was_and_further_on():
    assert starts.points_to(0.1) == [0.01, 0.02, 0.05, 0.1]
    assert starts.points_to(0.15) == [*starts.points_to(0.1), 0.15]
    assert starts.points_to(1.0) == list(starts.POINTS)


def test_the_rate_is_searched_on_validation_alphabets_and_the_test_has_its_own_key(monkeypatch):
    seen = []

    def tested(images, batch, rate, params, key):
        seen.append((images, rate, key.tolist() if hasattr(key, "tolist") else jax.random.key_data(key).tolist()))
        return {"accuracy": {"100": [1 - abs(np.log10(rate / 0.3))]}}

    monkeypatch.setattr(measure, "tested", tested)
    found = measure.scores("the validation alphabets", 20, None, KEY, lambda *told: None)
    assert set(found) == {0.03, 0.1, 0.3, 1.0}
    assert max(found, key=found.get) == 0.3
    assert {images for images, _, _ in seen} == {"the validation alphabets"}
    assert jax.random.key_data(KEY).tolist() not in [key for _, _, key in seen]


def cell(start, seed, values, **changes):
    told = {kind: {str(step): values for step in measure.SHOWN} for kind in measure.KINDS}
    told |= {"start": start, "reading": "batch-20", "seed": seed, "batch": 20, "rate": 0.1, "gradients": 0}
    return told | {"seconds": {"training": 0.0, "testing": 60.0}, "area": [2.0] * len(values), "points": []} | changes


def written(output, *cells):
    (output / "cells" / "0").mkdir(parents=True)
    for number, record in enumerate(cells):
        (output / "cells" / "0" / f"{number}.json").write_text(json.dumps(record))
    results.write(Namespace(output=output, command="the command", share=0.2))
    return (output / "table.md").read_text().splitlines()


def test_a_training_that_two_readings_share_is_counted_once():
    seconds = {"training": 3_000.0, "testing": 60.0}
    others = {"reading": "tuned"}, {"batch": 80}, {"start": "leap"}
    mine = cell("reptile", 0, [0.5], seconds=seconds)
    assert results.seconds([mine, *(mine | other for other in others)]) == 3 * 3_000 + 4 * 60


def test_the_table_has_each_seed_and_the_published_figure(tmp_path):
    lines = written(tmp_path, *(cell("none", seed, values) for seed, values in enumerate(([0.3, 0.5], [0.5, 0.7]))))
    line = next(line for line in lines if line.startswith("| No pre"))
    assert "|  | 40.0, 60.0 | 51.0 | 50.0 ± 26.0 | 2.00 | 0 |" in line
    assert line.count("50.0 ± 26.0") == 5
    told = json.loads((tmp_path / "results.json").read_text())
    assert results.row(told) == (1.0, "no pre-training, held-out, by batch: 20 at rate 0.1 50.0%; published 51.0%")


def test_the_way_of_a_start_and_its_tuned_rates_are_told(tmp_path):
    early = {**cell("leap", 0, [0.1, 0.3]), "gradients": 80}
    late = cell("leap", 0, [0.3, 0.5], gradients=800, points=[early])
    tuned = [
        cell("leap", seed, [0.5, 0.7], reading="tuned", rate=rate, gradients=800, points=[early])
        for seed, rate in enumerate((0.3, 1.0))
    ]
    lines = written(tmp_path, late, *tuned)
    assert "| Leap | 0.1 | 80 | 20.0 ± 127.1 |" in lines
    assert "| Leap | 0.1 | 800 | 40.0 ± 127.1 |" in lines
    assert next(line for line in lines if "tuned: 0.3/1 | 60.0 ± 18.4" in line).count("75.5") == 0
    assert next(line for line in lines if line.startswith("| Leap | 20 | 0.1 |")).count("| 75.5 |") == 1


def test_a_start_is_compared_with_joint_training_on_the_same_alphabets(tmp_path):
    joint = [cell("fine-tuning", seed, values, gradients=80) for seed, values in enumerate(([0.2, 0.6], [0.3, 0.7]))]
    others = cell("leap", 1, [0.2, 0.6], gradients=80), cell("reptile", 2, [0.9, 0.9], gradients=80)
    written(tmp_path, *joint, *others)
    told = json.loads((tmp_path / "results.json").read_text())["starts"]
    assert told["leap"]["batch-20"]["less_joint"] == {"mean": -0.1, "half_width": pytest.approx(0, abs=1e-6)}
    assert "less_joint" not in told["fine-tuning"]["batch-20"] | told["reptile"]["batch-20"]
    assert results.row({"seconds": 0, "starts": told | {"none": {}}})[1].endswith(
        "published 51.0%; Joint training, a head an alphabet 45.0%; Reptile 90.0%; Leap 40.0%"
    )
    assert "| -10.0 ± 0.0 | 40.0 |" in (tmp_path / "table.md").read_text()


def test_cells_of_another_share_are_left_out(tmp_path):
    for share, value in (("0.2", 0.5), ("0.05", 0.9)):
        (tmp_path / "cells" / share).mkdir(parents=True)
        (tmp_path / "cells" / share / "leap.json").write_text(json.dumps(cell("leap", 0, [value, value])))
    for asked, shown in ((0.05, 0.9), (0.2, 0.5), (0.1, 0.5)):  # of the largest, where there are none
        results.write(Namespace(output=tmp_path, command="the command", share=asked))
        told = json.loads((tmp_path / "results.json").read_text())["starts"]["leap"]["batch-20"]
        assert told["accuracy"]["100"]["mean"] == shown
