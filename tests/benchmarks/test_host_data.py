"""The benchmark of tasks of the host: its samplers draw tasks of one form, and its table has a row for each."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from benchmarks.host_data import __main__ as host_data
from benchmarks.host_data import sources
from jax_meta.tasks import sinusoid


@pytest.mark.parametrize("make", [sources.sines, sources.images])
def test_all_samplers_draw_tasks_of_one_form(make):
    workload = make()
    expected = jax.eval_shape(lambda key: workload.samplers["device"](key, 4), jax.random.key(0))
    for name in list(workload.samplers)[1:]:
        tasks = workload.samplers[name].draw((0,), 0, 4)
        shapes = [leaf.shape for leaf in jax.tree.leaves(tasks)]
        assert shapes == [leaf.shape for leaf in jax.tree.leaves(expected)]


def test_episodes_by_numpy_share_no_image():
    pixels = np.broadcast_to(np.arange(200 * 20).reshape(200, 20, 1, 1, 1), (200, 20, 28, 28, 1))
    task = sources.numpy_episodes(pixels)(np.random.default_rng(0), 3)
    support, query = (np.rint(images[:, :, 0, 0, 0] * 255).astype(int) for images, _ in task)
    for left, right in zip(support, query, strict=True):
        assert len({*left, *right}) == 5 * 6
        np.testing.assert_array_equal(left // 20, right[::5] // 20)  # a class in one place of both


def test_a_row_for_each_sampler(tmp_path, monkeypatch):
    def small():
        learner = jax_meta.transfer(jax_meta.regression(lambda slope, x: slope * x), optax.sgd(0.1), num_steps=1)
        return sources.make_workload(learner, jnp.zeros(()), sinusoid.sample_tasks, sources.numpy_sines)

    monkeypatch.setattr(host_data, "WORKLOADS", {"sines": small})
    host_data.main(["--rounds", "2", "--sine-steps", "3", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["tasks from"] for row in rows] == ["device", "function", "DataLoader"]
    assert rows[0]["ratio"] == 1
    assert all(row["microseconds"] > 0 for row in rows)
    assert len((tmp_path / "table.md").read_text().splitlines()) == 5
