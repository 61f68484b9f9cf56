"""A state comes back to the model that it is of, also while a run saves, or is refused by what differs."""

import shutil

import jax
import jax.numpy as jnp
import optax
import pytest

import jax_meta
from jax_meta.runs import loading
from tests.learners import sines
from tests.runs.training import LEARNER, OUTER, bits, first_state, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, validate_every=6, keep=5, save_seconds=1e9)[0]


def other_state(**changes):
    problem = sines(hidden=changes.get("hidden", (4,)))
    params = optax.tree.cast(problem.params, changes.get("dtype", float))
    return jax_meta.init(LEARNER, changes.get("outer", OUTER), params, jax.random.key(0, impl=changes.get("impl")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": (5,)}, r"params.params.Dense_0.bias is float64\[4\] there and float64\[5\] here"),
        ({"hidden": (4, 4)}, r"params.params.Dense_1.bias is float64\[1\] there and float64\[4\] here"),
        ({"dtype": jnp.float32}, r"params.params.Dense_0.bias is float64\[4\] there and float32\[4\] here"),
        ({"outer": optax.sgd(0.1)}, r"opt_state.0.count is int32\[\] there and None here"),
        ({"outer": optax.chain(optax.trace(0.9), optax.adam(1e-2))}, r"opt_state.0.trace.* is None there and float64"),
        ({"impl": "rbg"}, r"key is uint32\[2\] there and uint32\[4\] here"),
    ],
)
def test_the_state_of_another_model_or_optimizer_is_refused(whole, changes, message):
    with pytest.raises(
        ValueError, match=rf"meta-step 12 is of another model or optimizer: .*{message}.*jax_meta\.init"
    ):
        jax_meta.load_state(whole[0], other_state(**changes))
    assert bits(jax_meta.load_state(whole[0], first_state())) == bits(whole[1])


def test_a_checkpoint_that_a_run_deletes_meanwhile_gives_way_to_the_newer_one(whole, tmp_path, monkeypatch):
    """As a run does that keeps one: the newer is put in its place, and then the older is deleted, file by file."""
    folder = shutil.copytree(whole[0], tmp_path / "run")
    newer = (folder / "checkpoints" / "12").rename(tmp_path / "12")
    read = loading.read

    def meanwhile(manager, step):
        if newer.exists():
            newer.rename(folder / "checkpoints" / "12")
            for path in (folder / "checkpoints" / "6" / "about").iterdir():
                path.unlink()
        return read(manager, step)

    monkeypatch.setattr(loading, "read", meanwhile)
    assert bits(jax_meta.load_state(folder, first_state())) == bits(whole[1])


def test_a_checkpoint_asked_for_that_a_run_deletes_meanwhile_is_no_longer_there(whole, tmp_path, monkeypatch):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    read = loading.read

    def meanwhile(manager, step):
        shutil.rmtree(folder / "checkpoints" / "6", ignore_errors=True)
        return read(manager, step)

    monkeypatch.setattr(loading, "read", meanwhile)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of meta-step 6, but of \[12\]"):
        jax_meta.load_state(folder, first_state(), step=6)


def test_a_checkpoint_that_goes_while_the_folder_is_opened_is_no_hindrance(whole, tmp_path, monkeypatch):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    gone = folder / "checkpoints" / "6"
    opened = loading.described_checkpoints

    def meanwhile(*arguments):
        if gone.exists():
            shutil.rmtree(gone)
            raise NotADirectoryError(f"Path is not a directory: {gone}")
        return opened(*arguments)

    monkeypatch.setattr(loading, "described_checkpoints", meanwhile)
    assert bits(jax_meta.load_state(folder, first_state())) == bits(whole[1])


def test_it_changes_nothing_in_the_folder(whole):
    before = {path: path.stat().st_mtime_ns for path in whole[0].rglob("*")}
    jax_meta.load_state(whole[0], first_state())
    assert {path: path.stat().st_mtime_ns for path in whole[0].rglob("*")} == before
