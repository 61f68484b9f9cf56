"""The benchmark of tasks of the host: its samplers draw tasks of one form, and its table has a row for each."""

import json

import jax
import numpy as np
import optax
import pytest

import jax_meta
from benchmarks.harness.workloads import conv4, draw_episodes
from benchmarks.host_data import __main__ as host_data


@pytest.mark.parametrize("name", ["sines", "Conv4"])
def test_all_samplers_draw_tasks_of_one_form(name):
    samplers = host_data.make_samplers(host_data.WORKLOADS[name])
    expected = jax.eval_shape(lambda key: samplers["device"](key, 4), jax.random.key(0))
    for name in list(samplers)[1:]:
        tasks = samplers[name].draw((0,), 0, 4)
        shapes = [leaf.shape for leaf in jax.tree.leaves(tasks)]
        assert shapes == [leaf.shape for leaf in jax.tree.leaves(expected)]


def test_episodes_by_numpy_share_no_image():
    pixels = np.broadcast_to(np.arange(200 * 20).reshape(200, 20, 1, 1, 1), (200, 20, 28, 28, 1))
    support, query = draw_episodes(conv4(3, 1, queries=5), pixels, np.random.default_rng(0))
    support, query = (np.rint(images[:, :, 0, 0, 0] * 255).astype(int) for images, _ in (support, query))
    for left, right in zip(support, query, strict=True):
        assert len({*left, *right}) == 5 * 6
        np.testing.assert_array_equal(left // 20, right[::5] // 20)  # a class in one place of both


def test_a_row_for_each_sampler(tmp_path, monkeypatch):
    def slope(params, inputs):
        return params["params"]["Dense_2"]["bias"].sum() * inputs

    def our_learning(workload):
        return jax_meta.transfer(jax_meta.regression(slope), optax.sgd(0.1), num_steps=1), optax.sgd(0.1)

    monkeypatch.setattr(host_data, "our_learning", our_learning)
    monkeypatch.delitem(host_data.WORKLOADS, "Conv4")
    host_data.main(["--repeats", "2", "--sine-steps", "3", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["tasks_from"] for row in rows] == ["device", "function", "DataLoader"]
    assert rows[0]["ratio"] == 1
    assert all(row["microseconds"] > 0 for row in rows)
    assert len((tmp_path / "table.md").read_text().splitlines()) == 5
