"""A disk that is full, whatever says so, is told with the remedy; what was saved before stays."""

import jax
import jax.numpy as jnp
import pytest
from orbax.checkpoint import CheckpointManager

import jax_meta
from jax_meta.runs import failure, folder, lock, records
from jax_meta.runs.writing import explained
from tests.runs.training import PROBLEM, bits, first_state, train

TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing "params.w/0.0" in OCDBT database at local file "/x": Failed writing '
    "[OS error 28: ENOSPC No space left on device]"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError(TENSORSTORE), "No space left on device"),
        (OSError(122, "Disk quota exceeded"), "Disk quota exceeded"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
    ],
)
def test_an_error_of_a_write_says_what_it_means(tmp_path, error, told):
    with (
        pytest.raises(
            OSError, match=rf"{tmp_path} cannot be written: {told}\. What was saved before is whole"
        ) as caught,
        explained(tmp_path),
    ):
        raise error
    assert caught.value.__cause__ is error


def fail(*arguments, **options):
    raise ValueError(TENSORSTORE)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param(lock.os, "ftruncate", marks=pytest.mark.slow),
        (folder, "write_whole"),
        pytest.param(records, "write_whole", marks=pytest.mark.slow),
        (records, "line"),
        pytest.param(records.os, "fsync", marks=pytest.mark.slow),
    ],
    ids=["lock", "run.json", "records cut back", "record", "records synced"],
)
def test_wherever_it_is_met_it_is_told_so(tmp_path, monkeypatch, module, name):
    if module is records:
        train(tmp_path, num_meta_steps=2)
    monkeypatch.setattr(module, name, fail)
    with pytest.raises(OSError, match=r"cannot be written: No space left on device.*the same call goes on from it"):
        train(tmp_path, num_meta_steps=4)
    monkeypatch.undo()
    assert train(tmp_path, num_meta_steps=4)[0].step == 4


@pytest.mark.slow
def test_a_checkpoint_that_fails_in_the_background_is_told_by_the_next(tmp_path, monkeypatch):
    train(tmp_path, num_meta_steps=2)
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointManager, "save", fail)
        with pytest.raises(OSError, match="cannot be written: No space left on device"):
            train(tmp_path, num_meta_steps=6)
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointManager, "wait_until_finished", fail)
        with pytest.raises(OSError, match="cannot be written: No space left on device"):
            train(tmp_path, num_meta_steps=6)
    assert jax_meta.load_state(tmp_path, first_state()).step >= 2
    assert bits(train(tmp_path)[0]) == bits(train(None)[0])


def test_the_first_error_is_told_and_the_checkpoints_beside_it(tmp_path, monkeypatch):
    """An error of a validation is not hidden by one of a save in the background."""

    def validate(params):
        raise ZeroDivisionError("of the validation")

    monkeypatch.setattr(CheckpointManager, "close", fail)
    with pytest.raises(ZeroDivisionError, match="of the validation") as caught:
        train(tmp_path, validate=validate)
    assert caught.value.__notes__ == ["and the newest checkpoint is not saved: No space left on device"]


def test_numbers_that_are_not_finite_are_told_though_their_state_cannot_be_saved(tmp_path, monkeypatch):
    def sampler(key, num_tasks):
        tasks = PROBLEM.sample_tasks(key, num_tasks)
        return tasks._replace(query=jax.tree.map(lambda leaf: leaf * jnp.nan, tasks.query))

    monkeypatch.setattr(failure, "write_whole", fail)
    with pytest.raises(
        FloatingPointError, match=r"not finite at meta-step 0.*is not saved: .* No space left on device"
    ):
        train(tmp_path, sampler=sampler, validate=None)
