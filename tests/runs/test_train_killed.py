"""A run that is killed at any moment, and started again, ends in the bits of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jax_meta
from tests.runs.training import bits, first_state, train

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
KILLS = 20


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("compiled")
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def start(folder, environment):
    command = [sys.executable, "-m", "tests.runs.train_worker", str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder, environment):
    process = start(folder, environment)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, num_meta_steps=200)
    return folder


def same(folder, whole):
    states = [jax_meta.load_state(place, first_state()) for place in (folder, whole)]
    assert int(states[0].step) == int(states[1].step) == 200
    assert bits(states[0]) == bits(states[1])
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def wait_for_step(process, step):
    """Reads what the run prints until it is there."""
    for line in process.stdout:
        if line.strip().isdecimal() and int(line) >= step:
            return int(line)
    raise AssertionError(process.stderr.read())


def test_a_run_killed_at_twenty_random_moments_ends_as_one_that_was_not(tmp_path, environment, whole):
    """It saves after every part of two meta-steps, so that most kills meet a save in the background."""
    moments = random.Random(os.environ.get("PYTEST_SEED", "moments"))
    reached = []
    for number in range(KILLS):
        process = start(tmp_path, environment)
        reached.append(wait_for_step(process, 0))
        if ahead := moments.randint(0, 6):
            wait_for_step(process, min(200, reached[-1] + 2 * ahead))
        time.sleep(moments.uniform(0, 0.05))  # a part with its save takes about as long
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), number
    assert reached == sorted(reached)  # nothing that was saved is lost
    assert len(set(reached)) > KILLS / 2  # and most of what is done between two kills is kept
    finish(tmp_path, environment)
    same(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_first_and_then_does_what_it_does(tmp_path, environment, whole, number):
    process = start(tmp_path, environment | {"TRAIN_STEPS": "100000"})
    reached = wait_for_step(process, 20)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == -number
    assert "stops once this part is done and saved" in told
    saved = int(jax_meta.load_state(tmp_path, first_state()).step)
    assert saved >= reached
    assert jax_meta.read_records(tmp_path)[-1]["step"] == saved
    if saved <= 200:
        finish(tmp_path, environment)
        same(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_a_part_waits_for_its_save(tmp_path, whole, number):
    """Like the test above, without a process of its own: here the signal raises an error."""

    def interrupt(number, frame):
        raise InterruptedError(number)

    def report(progress):
        if progress.step == 6:
            signal.raise_signal(number)

    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(InterruptedError):
            train(tmp_path, num_meta_steps=200, report=report)
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    saved = int(jax_meta.load_state(tmp_path, first_state()).step)
    assert saved in (6, 8)  # with the part that was at work
    assert jax_meta.read_records(tmp_path)[-1]["step"] == saved
    train(tmp_path, num_meta_steps=200)
    same(tmp_path, whole)


def test_a_kill_in_the_middle_of_the_metrics_file_is_cut_back(tmp_path, environment, whole):
    process = start(tmp_path, environment)
    wait_for_step(process, 30)
    process.kill()
    process.communicate()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(json.dumps({"step": 190, "loss": 1.0}).encode() + b'\n{"st')
    train(tmp_path, num_meta_steps=200)
    same(tmp_path, whole)


def test_the_run_is_that_of_fit(whole):
    losses = [record["loss"] for record in jax_meta.read_records(whole)]
    assert len(losses) == 100
    assert np.isfinite(losses).all()
    assert jax.tree.leaves(first_state().params)[0].dtype == np.float64
