"""Several processes train as one, and keep one set of files; when one is lost the others end, and the run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jax_meta
from benchmarks.harness.processes import free_port
from tests.runs.training import first_state, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of one process."""
    return train(tmp_path_factory.mktemp("whole"), num_meta_steps=STEPS)


def start(folder, processes, steps=STEPS):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "TRAIN_STEPS": str(steps),
    }
    command, port = [sys.executable, "-m", "tests.runs.train_worker", str(folder)], free_port()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen([*command, str(port), str(processes), str(process)], env=environment, **pipes)
        for process in range(processes)
    ]


def finish(processes):
    try:
        told = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, told, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in told]


def check_same(folder, whole):
    state, records = whole
    found = jax_meta.load_state(folder, first_state())
    assert found.step == STEPS
    for left, right in zip(jax.tree.leaves(found.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-12)
    kept = jax_meta.read_records(folder)
    assert [record["step"] for record in kept] == [record["step"] for record in records]
    np.testing.assert_allclose(*([record["loss"] for record in run] for run in (kept, records)), atol=1e-12)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_agree_with_one_and_write_one_set_of_files(tmp_path, whole, processes):
    told = finish(start(tmp_path, processes))
    check_same(tmp_path, whole)
    assert told[0].split()[-1] == str(STEPS)
    assert not any(
        line.strip().isdecimal() for output in told[1:] for line in output.splitlines()
    )  # the first alone reports
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 3


def wait_for_step(process, step):
    for line in process.stdout:
        if line.strip().isdecimal() and int(line) >= step:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_the_others_end_and_another_number_goes_on(tmp_path, whole, victim):
    processes = start(tmp_path, 2, steps=100_000)
    wait_for_step(processes[0], 8)
    processes[victim].kill()
    begin = time.monotonic()
    _, told = processes[1 - victim].communicate(timeout=60)
    assert time.monotonic() - begin < 30
    assert processes[1 - victim].returncode not in (0, None)
    if victim == 1:  # where the first is lost, JAX may end the others before they can speak
        assert "process 0 of 2 stops, and the others with it" in told
        assert "another was lost: start all of them again" in told
    processes[victim].communicate()
    saved = int(jax_meta.load_state(tmp_path, first_state()).step)
    assert saved >= 6
    if saved <= STEPS:
        train(tmp_path, num_meta_steps=STEPS)
        check_same(tmp_path, whole)


def test_a_signal_to_one_process_saves_and_ends_all(tmp_path):
    processes = start(tmp_path, 2, steps=100_000)
    wait_for_step(processes[0], 4)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGTERM
    saved = int(jax_meta.load_state(tmp_path, first_state()).step)
    assert jax_meta.read_records(tmp_path)[-1]["step"] == saved


def test_a_folder_that_one_process_refuses_is_refused_by_all(tmp_path):
    train(tmp_path, num_meta_steps=2, seed=5)
    processes = start(tmp_path, 2)
    told = [process.communicate(timeout=60)[1] for process in processes]
    assert all(process.returncode == 1 for process in processes)
    assert "holds another run" in told[0]
    assert "another process of this run could not begin" in told[1]
