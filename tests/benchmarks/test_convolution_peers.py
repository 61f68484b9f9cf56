"""Second-order MAML through Conv4 has the meta-gradient of PyTorch, and of plain Flax; what the speed table counts."""

import json

import jax
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import jax_meta
from benchmarks.convolution import __main__ as convolution
from benchmarks.convolution import results, variants
from benchmarks.harness.jax_networks import naive_meta_gradient
from benchmarks.harness.rounds import median_seconds
from benchmarks.harness.workloads import conv4
from jax_meta import Task

WAYS, FILTERS, LEARNING_RATE = 3, 4, 0.1


@pytest.fixture(scope="module")
def problem():
    """A network on images of 16 x 16, in float64, and two tasks."""
    model = jax_meta.models.Conv4(WAYS, FILTERS)
    keys = jax.random.split(jax.random.key(0), 3)
    labels = np.tile(np.arange(WAYS), (2, 2))
    tasks = Task(*((jax.random.normal(key, (2, 2 * WAYS, 16, 16, 1)), labels) for key in keys[:2]))
    params = jax.tree.map(lambda leaf: leaf.astype(float), model.init(keys[2], tasks.support[0][0]))
    return model, params, tasks


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def peers(request, problem):
    """A number of inner steps, and the meta-gradient of PyTorch and of plain Flax."""
    _, params, tasks = problem
    workload = conv4(2, request.param, width=FILTERS)._replace(ways=WAYS, learning_rate=LEARNING_RATE)
    in_torch = variants.torch_meta_gradient(workload, params, tasks)()
    return request.param, (in_torch, jax.jit(naive_meta_gradient(workload))(params, tasks))


@pytest.mark.slow
@pytest.mark.parametrize("task_batch_size", [None, 1])
def test_meta_gradient_is_that_of_pytorch_and_of_plain_flax(problem, peers, task_batch_size):
    model, params, tasks = problem
    steps, theirs = peers
    learner = jax_meta.maml(jax_meta.classification(model.apply), optax.sgd(LEARNING_RATE), num_steps=steps)
    key = jax.random.key(1)
    ours, _ = jax.jit(
        lambda params, tasks: jax_meta.meta_gradient(learner, params, tasks, key, task_batch_size=task_batch_size)
    )(params, tasks)
    for peer in theirs:
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, peer)


def test_the_flop_are_those_of_the_definition():
    """Conv4-64 on 28 x 28: 4 tasks of 75 queries and 5 support images; 20.8 and 34.6 GFLOP."""
    blocks = [2 * 9 * channels * 64 * size**2 for channels, size in ((1, 28), (64, 14), (64, 7), (64, 3))]
    query = 2 * blocks[0] + 3 * sum(blocks[1:])
    support = 4 * blocks[0] + 9 * sum(blocks[1:])
    for steps in (1, 5):
        assert variants.model_flop(conv4(4, steps)) == 300 * query + 20 * steps * support
    assert round(variants.model_flop(conv4(4, 1)) / 1e9, 1) == 20.8
    assert round(variants.model_flop(conv4(4, 5)) / 1e9, 1) == 34.6


def test_variants_take_turns():
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in ("first", "second")}
    seconds = median_seconds(runs, 2)
    assert order == ["first", "second"] * 3
    assert all(value >= 0 for value in seconds.values())


def test_every_formulation_of_a_layer_is_measured():
    assert variants.measure_layer("images", 4, 2, 2, 1).keys() == {"jax.lax", "rows spread", "patches", "chosen"}


def test_differences_are_relative_to_the_largest_entry_of_the_first():
    runs = {"first": lambda: {"a": np.array([4.0, 1.0]), "b": np.array([1.0])}}
    runs["second"] = lambda: {"a": np.array([4.0, 2.0]), "b": np.array([1.1])}
    assert variants.compare(runs) == {"first": 0.0, "second": 0.25}


def test_a_run_writes_what_was_measured(tmp_path, monkeypatch, capsys):
    """A meta-gradient of two numbers and one small layer stand in for the networks."""
    runs = {name: lambda: {"weights": np.ones(2)} for name in ("ours", "theirs")}
    monkeypatch.setattr(variants, "make_variants", lambda workload: runs)
    monkeypatch.setattr(variants, "MATRIX_SIZES", (8,))
    monkeypatch.setattr(variants, "FACES", [("small", "images")])
    monkeypatch.setattr(variants, "LAYERS", {"small": (4, 2, 2)})
    convolution.main(["--repeats", "1", "--output", str(tmp_path)])
    told = json.loads((tmp_path / "results.json").read_text())
    assert [(record["variant"], record["inner_steps"]) for record in told["variants"]] == [
        (name, steps) for steps in (1, 5) for name in ("ours", "theirs")
    ]
    for record in told["variants"]:
        speed = record["meta_steps_per_second"] * variants.model_flop(conv4(4, record["inner_steps"])) / 1e9
        assert record["model_gflop_per_second"] == pytest.approx(speed, rel=1e-3)
        share = speed / told["best_matrix_product_gflop_per_second"]
        assert record["fraction_of_best_matrix_product"] == pytest.approx(share, rel=1e-3)
    assert told["layers"][0]["gflop_per_second"].keys() == {"jax.lax", "rows spread", "patches", "chosen"}
    table = (tmp_path / "table.md").read_text()
    assert table == results.table(told)
    assert "| small | images |" in table
    shown = capsys.readouterr().out
    assert table in shown
    for part in ("compares meta-gradients: finished, 2", "measures in turn: finished, 10", "layers: finished, 1"):
        assert part in shown
