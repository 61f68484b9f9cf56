"""A folder that is no run's is refused and left as it is; what a run deletes is its own."""

import json
import os
import signal
import time

import optax
import pytest

import jax_meta
from jax_meta.runs.lock import locked
from jax_meta.runs.records import check_names
from tests.runs.training import PROBLEM, stop_at, train

LINES = "".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1000))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        "times.jsonl",
        "progress.log",
        "failure.json",
        "tensorboard/events",
        "last_finite/checkpoints/3/x",
    ],
)
def test_files_under_the_names_of_a_runs_are_left_alone(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(LINES)
    with pytest.raises(ValueError, match=rf"has {name.partition('/')[0]} and no run\.json to tell of which run"):
        train(tmp_path, num_meta_steps=2, report=lambda progress: pytest.fail("it began"))
    assert content(tmp_path) == {(tmp_path / name).relative_to(tmp_path): LINES.encode()}


def test_other_files_are_no_hindrance(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "tensorboard").mkdir()
    train(tmp_path, num_meta_steps=2)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_only_our_own_event_files_go(tmp_path):
    pytest.importorskip("tensorboardX")
    with pytest.raises(RuntimeError, match="stopped at"):
        train(tmp_path, tensorboard=True, report=stop_at(4))
    others = [tmp_path / "tensorboard" / name for name in ("events.out.tfevents.1.host", "notes.txt", "plugins")]
    for path in others:
        path.write_text("theirs")
    time.sleep(1)  # so that the next event file has another name
    train(tmp_path, tensorboard=True, num_meta_steps=4)
    assert [path.read_text() for path in others] == ["theirs"] * 3
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1 + len(others)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("12345")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(target)
    with pytest.raises(OSError, match=r"lock is a link, or no file.*Choose another folder"):
        train(tmp_path / "run", num_meta_steps=2)
    assert target.read_text() == "12345"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.write_text("poetry.lock 1.2\n")])
def test_a_lock_that_is_no_runs_is_left_alone(tmp_path, make):
    make(tmp_path / "lock")
    with pytest.raises((OSError, ValueError), match=r"lock is a link, or no file|is not the lock of a run"):
        train(tmp_path, num_meta_steps=2)
    assert not (tmp_path / "lock").is_file() or (tmp_path / "lock").read_text() == "poetry.lock 1.2\n"


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_process_forked_from_a_run_does_not_hold_its_lock(tmp_path):
    with locked(tmp_path):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with locked(tmp_path):  # as after the death of the one that held it
            assert (tmp_path / "lock").read_text() == str(os.getpid())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_cut_off_saves_have_left_goes(tmp_path):
    train(tmp_path, num_meta_steps=2)
    left = tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp" / "state"
    left.mkdir(parents=True)
    assert jax_meta.load_state(tmp_path, train(tmp_path, num_meta_steps=4)[0]).step == 4
    assert not left.parent.exists()


@pytest.mark.parametrize("name", ["step", "val_loss", "skipped"])
def test_a_metric_under_the_name_of_something_else_is_refused_before_training(name):
    check_names({"loss": 0, "valley": 0, "step_size": 0}, True, True)
    with pytest.raises(ValueError, match=f"a metric is called '{name}', .*: rename it in the loss"):
        check_names({"loss": 0, name: 0}, True, True)
    check_names({"val_loss": 0, "skipped": 0}, False, False)


def test_a_metric_called_step_begins_nothing(tmp_path):
    def loss_fn(params, batch, key):
        loss, _ = PROBLEM.loss_fn(params, batch, key)
        return loss, {"loss": loss, "step": loss}

    with pytest.raises(ValueError, match="a metric is called 'step'"):
        train(tmp_path / "run", learner=jax_meta.fomaml(loss_fn, optax.sgd(0.1), num_steps=1))
    assert not (tmp_path / "run").exists()
