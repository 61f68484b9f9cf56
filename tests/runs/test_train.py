"""`train` takes the very steps of `fit`, whether in one go or in many, and keeps what it should."""

import json
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.runs.records import columns
from tests.runs.training import LEARNER, OUTER, PROBLEM, bits, first_state, stop_at, train, validate
from tests.tiers import each


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    state, records = train(folder)
    return folder, state, records


def test_it_takes_the_steps_of_fit(whole):
    _, state, records = whole
    expected, history = jax_meta.fit(
        LEARNER, OUTER, PROBLEM.sample_tasks, first_state(), num_meta_steps=12, num_tasks=2
    )
    assert bits(state) == bits(expected)
    assert [record["step"] for record in records] == [2, 4, 6, 8, 10, 12]
    parts = np.asarray(history["loss"]).reshape(6, 2).mean(axis=1)
    np.testing.assert_array_equal([record["loss"] for record in records], parts)


def test_validations_are_of_the_parameters_at_their_step(whole):
    _, state, records = whole
    assert [record["step"] for record in records if "val_loss" in record] == [4, 8, 12]
    assert records[-1]["val_loss"] == float(validate(state.params)["loss"])


def test_records_are_the_file_and_times_grow(whole):
    folder, _, records = whole
    assert jax_meta.read_records(folder) == records
    times = jax_meta.read_records(folder / "times.jsonl")
    assert [time["step"] for time in times] == [2, 4, 6, 8, 10, 12]
    assert all(np.diff([time["seconds"] for time in times]) >= 0)


@pytest.mark.parametrize("step", each([2, 4, 10, 12], [2, 10]))
def test_a_run_that_broke_off_ends_as_one_that_did_not(whole, tmp_path, step):
    with pytest.raises(RuntimeError, match="stopped at"):
        train(tmp_path, report=stop_at(step))
    state, records = train(tmp_path)
    assert bits(state) == bits(whole[1])
    assert records == whole[2]
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_records_after_the_checkpoint_are_taken_again_and_appear_once(whole, tmp_path):
    with pytest.raises(RuntimeError):
        train(tmp_path, report=stop_at(10), save_seconds=1e9)  # saved at 8, with the validation; recorded to 10
    assert [record["step"] for record in jax_meta.read_records(tmp_path)][-1] == 10
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')  # a line cut off by a kill
    train(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_a_finished_run_takes_no_step_and_can_be_prolonged(whole, tmp_path):
    train(tmp_path, num_meta_steps=8)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert train(tmp_path, num_meta_steps=8)[0].step == 8
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert bits(train(tmp_path)[0]) == bits(whole[1])


@pytest.mark.slow
def test_many_networks_train_at_once_by_a_fit_of_ones_own(tmp_path):
    def fit_seeds(learner, optimizer, sample_tasks, states, *, num_meta_steps, num_tasks, task_batch_size, mesh):
        def fit(state):
            return jax_meta.fit(
                learner, optimizer, sample_tasks, state, num_meta_steps=num_meta_steps, num_tasks=num_tasks
            )

        return jax.jit(jax.vmap(fit))(states)

    keys = jax.random.split(jax.random.key(3), 4)
    states = jax.vmap(lambda key: jax_meta.init(LEARNER, OUTER, PROBLEM.params, key))(keys)
    options = {"num_meta_steps": 4, "num_tasks": 2, "fit": fit_seeds, "report": lambda progress: None}
    state, records = jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, states, folder=tmp_path, **options)
    alone, _ = jax_meta.fit(
        LEARNER, OUTER, PROBLEM.sample_tasks, first_state()._replace(key=keys[2]), num_meta_steps=4, num_tasks=2
    )
    assert len(records) == 4
    np.testing.assert_allclose(
        jax.tree.leaves(state.params)[1][2], jax.tree.leaves(alone.params)[1], rtol=1e-10, atol=1e-12
    )
    again, _ = jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, states, folder=tmp_path, **options)
    assert bits(again) == bits(state)


def test_the_best_by_validation_is_kept(tmp_path):
    values = iter([3.0, 1.0, 2.0, 4.0, 5.0, 6.0])  # at 2, 4, ... 12: the best is at 4
    train(tmp_path, validate=lambda params: {"loss": next(values)}, validate_every=2, keep=2)
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [4, 10, 12]
    assert jax_meta.load_state(tmp_path, first_state(), best=True).step == 4
    assert jax_meta.load_state(tmp_path, first_state()).step == 12
    assert jax_meta.load_state(tmp_path, first_state(), step=10).step == 10
    train(tmp_path, num_meta_steps=16, validate=lambda params: {"loss": 9.0}, validate_every=2, keep=2)
    assert jax_meta.load_state(tmp_path, first_state(), best=True).step == 4
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of meta-step 6, but of \[4, 14, 16\]"):
        jax_meta.load_state(tmp_path, first_state(), step=6)


def test_a_score_of_ones_own_and_one_that_is_not_finite(tmp_path):
    values = iter([1, 3, float("nan"), 2])

    def score(metrics):
        return int(metrics["regret"]) if metrics["regret"] > 0 else float("nan")

    options = {"validate": lambda params: {"regret": next(values)}, "score": score}
    _, records = train(tmp_path, num_meta_steps=8, validate_every=2, **options)
    assert jax_meta.load_state(tmp_path, first_state(), best=True).step == 4
    assert [record["val_regret"] for record in records] == [1.0, 3.0, None, 2.0]


def test_any_state_comes_back(tmp_path):
    """Typed keys of the optimizer, bfloat16, and leaves without any number, which Orbax does not store."""
    outer = optax.chain(optax.add_noise(0.01, 0.5, jax.random.key(4)), optax.sgd(0.1))
    params = {"w": jnp.ones((2,), jnp.bfloat16), "none": jnp.zeros((0,))}
    learner = jax_meta.transfer(
        lambda p, batch, key: (jnp.sum(p["w"] ** 2).astype(float), {}), optax.sgd(0.1), num_steps=1
    )
    start = jax_meta.init(learner, outer, params, jax.random.key(0))
    options = {"num_tasks": 2, "record_every": 1, "report": lambda progress: None}
    state, _ = jax_meta.train(
        learner, outer, PROBLEM.sample_tasks, start, num_meta_steps=4, folder=tmp_path / "a", **options
    )
    jax_meta.train(learner, outer, PROBLEM.sample_tasks, start, num_meta_steps=2, folder=tmp_path / "b", **options)
    again, _ = jax_meta.train(
        learner, outer, PROBLEM.sample_tasks, start, num_meta_steps=4, folder=tmp_path / "b", **options
    )
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for left, right in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        assert left.dtype == right.dtype
        assert jnp.array_equal(left, right)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record_every": 0}, "record_every must be 1 or more"),
        ({"record_every": 3, "validate_every": 4}, "validate_every must be a multiple of record_every, 3"),
        ({"num_meta_steps": -1}, "num_meta_steps must be"),
        ({"save_seconds": float("nan")}, "save_seconds must be"),
        ({"non_finite": "ignore"}, "non_finite must be one of 'stop', 'skip'"),
        ({"non_finite": "skip"}, "optax.apply_if_finite"),
        ({"keep": 0}, "keep must be 1 or more"),
        ({"settings": {"rate": object()}}, "settings must be what JSON holds"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, records = train(None, num_meta_steps=4)
    assert (int(state.step), len(records)) == (4, 2)
    assert not list(tmp_path.iterdir())


def test_it_works_beside_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(train(None, num_meta_steps=2)[0].step))
    handler = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert results == [2]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_lines_tell_of_the_first_part_and_of_validations_where_there_is_no_terminal(capsys):
    train(None, report=None, name="sines")
    told = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in told] == [
        "sines: 2 of 12",
        "sines: 4 of 12",
        "sines: 8 of 12",
        "sines: 12 of 12",
    ]
    assert "val loss" in told[1]
    assert told[0].endswith(" s left")  # and never 0.0 min
    assert "left" not in told[-1]


def test_columns_leave_out_what_was_not_recorded():
    found = columns([{"step": 1, "loss": 2.0}, {"step": 2, "loss": None, "val_loss": 3.0}])
    assert {name: [list(part) for part in pair] for name, pair in found.items()} == {
        "loss": [[1.0], [2.0]],
        "val_loss": [[2.0], [3.0]],
    }


def test_run_json_says_what_the_run_is(whole):
    told = json.loads((whole[0] / "run.json").read_text())
    assert told["run"]["learner"] == "maml"
    assert told["run"]["settings"] == {"num_tasks": 2}
    assert told["run"]["arrays"]["params.params.Dense_0.bias"].startswith("float64")
    assert "jax" in told["versions"]
