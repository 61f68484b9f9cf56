"""The same seed on 1, 2, 4 and 8 devices gives the same tasks and the same training, to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jax_meta
from tests.learners import quadratics

ROOT = Path(__file__).parents[2]


def report_of(*words):
    """What a process with eight devices finds."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.core.devices_worker", *words]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def report():
    return report_of()


def test_tasks_are_spread_over_devices_and_the_meta_gradient_is_their_mean():
    report = report_of("few")
    assert max(report["5 tasks on 4"], report["meta_gradient"], report["outside jit"]) < 1e-12
    assert report["tasks on a device"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("num_tasks", [8, 5])
def test_training_is_the_same_on_any_number_of_devices(report, num_tasks, devices):
    assert report[f"{num_tasks} tasks on {devices}"] < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "one at a time",
        "another axis",
        "sharded parameters",
        "reptile",
        "carried reptile",
        "meta_gradient",
        "outside jit",
        "fit_tasks, 8 tasks",
        "fit_tasks, 5 tasks",
        "shard_map, dense",
        "shard_map, strided convolution",
    ],
)
def test_so_it_is_with(report, case):
    assert report[case] < 1e-12


@pytest.mark.slow
def test_the_result_is_on_every_device_and_each_had_its_share_of_the_tasks(report):
    assert report["devices of the result"] == 4
    assert report["inner steps counted"] == ["int32", 12]
    assert report["tasks on a device"]
    assert report["tasks at hand on a device"] == [3, 2]


def test_a_mesh_without_tasks_names_the_remedy():
    problem = quadratics()
    learner = jax_meta.maml(problem.loss_fn, optax.sgd(0.1), num_steps=1)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    state = jax_meta.init(learner, optax.sgd(0.1), problem.params, jax.random.key(0))
    with pytest.raises(ValueError, match=r"needs an axis 'tasks', and has \('data',\): make it with jax\.make_mesh"):
        jax_meta.fit(learner, optax.sgd(0.1), problem.sample_tasks, state, num_meta_steps=1, mesh=mesh)
