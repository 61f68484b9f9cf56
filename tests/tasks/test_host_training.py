"""`train` on tasks of the host: it goes on where the source can, and says so where it cannot."""

import json
import threading
from functools import partial

import jax
import numpy as np
import pytest

import jax_meta
from jax_meta import OutOfTasksError, host_tasks
from tests.tasks import numbers
from tests.tasks.numbers import NUM_TASKS, assert_same, batches, draw, fit_tasks, start

STEPS = 12
train = partial(
    numbers.train, record_every=3, validate=lambda params: {"loss": 1.0}, validate_every=6, save_seconds=1e9
)


def stop_at(step):
    def report(progress):
        if progress.step == step:
            raise RuntimeError("power cut")

    return report


@pytest.fixture(params=["function", "list", "iterable"])
def source(request):
    """Makes the tasks anew, as another process would."""
    sources = {"function": lambda: draw, "list": lambda: batches(STEPS), "iterable": lambda: iter(batches(STEPS))}
    return lambda: host_tasks(sources[request.param](), skip=True)


def test_a_run_that_broke_off_ends_as_one_that_did_not(source, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        train(source(), start(), num_meta_steps=STEPS, folder=tmp_path, report=stop_at(9))
    assert jax_meta.load_state(tmp_path, start()).step == 6
    state, records = train(source(), start(), num_meta_steps=STEPS, folder=tmp_path)
    expected, history = fit_tasks(STEPS)
    assert_same(state, expected)
    assert [record["step"] for record in records] == [3, 6, 9, 12]
    np.testing.assert_array_equal(
        [record["loss"] for record in records], np.asarray(history["loss"]).reshape(4, 3).mean(1)
    )
    assert not [thread for thread in threading.enumerate() if thread.name == "jax_meta tasks"]


def test_an_iterable_goes_on_within_a_process_and_is_else_refused(tmp_path):
    tasks = host_tasks(iter(batches(STEPS)))
    train(tasks, start(), num_meta_steps=6, folder=tmp_path)
    with pytest.raises(ValueError, match=r"used 6 batches of tasks, and 0 were drawn from.*function.*skip=True"):
        train(host_tasks(iter(batches(STEPS))), start(), num_meta_steps=STEPS, folder=tmp_path)
    used = host_tasks(iter(batches(STEPS)), skip=True)
    numbers.fit(used, start(), num_meta_steps=7)
    with pytest.raises(ValueError, match=r"used 6 batches of tasks, and 7 were drawn"):
        train(used, start(), num_meta_steps=STEPS, folder=tmp_path)
    state, _ = train(tasks, start(), num_meta_steps=STEPS, folder=tmp_path)
    assert_same(state, fit_tasks(STEPS)[0])


def test_an_iterable_that_is_too_short_to_drop_what_was_used(tmp_path):
    train(host_tasks(iter(batches(6))), start(), num_meta_steps=6, folder=tmp_path)
    with pytest.raises(OutOfTasksError, match="none for meta-step 6 of 12"):
        train(host_tasks(iter(batches(4)), skip=True), start(), num_meta_steps=STEPS, folder=tmp_path)


def test_a_state_that_was_trained_before_may_begin_on_an_iterable(tmp_path):
    state = start()._replace(step=jax.numpy.array(40, "int32"))
    trained, records = train(host_tasks(iter(batches(2))), state, num_meta_steps=42, folder=tmp_path)
    assert trained.params == fit_tasks(2)[0].params
    assert [record["step"] for record in records] == [42]


@pytest.mark.parametrize("there_are", [8, 9])
def test_a_source_that_ends_early_is_recorded_and_saved(tmp_path, there_are):
    with pytest.raises(OutOfTasksError, match=f"none for meta-step {there_are} of 12"):
        train(host_tasks(iter(batches(there_are))), start(), num_meta_steps=STEPS, folder=tmp_path)
    assert_same(jax_meta.load_state(tmp_path, start()), fit_tasks(there_are)[0])
    assert [record["step"] for record in jax_meta.read_records(tmp_path)] == [3, 6, there_are]
    state, _ = train(host_tasks(batches(STEPS)), start(), num_meta_steps=STEPS, folder=tmp_path)
    assert_same(state, fit_tasks(STEPS)[0])


def infinite_at(step):
    made = batches(STEPS)
    made[step].query[0][0, 0] = np.inf
    return made


def test_an_infinite_number_is_found_and_its_tasks_drawn_again(tmp_path):
    tasks = host_tasks(infinite_at(7))
    with pytest.raises(FloatingPointError, match=r"loss of maml is not finite at meta-step 7\b.*next_tasks"):
        train(tasks, start(), num_meta_steps=STEPS, folder=tmp_path)
    state = jax_meta.load_state(tmp_path / "last_finite", start())
    assert_same(state, fit_tasks(7)[0])
    assert np.isinf(jax_meta.next_tasks(tasks, state, num_tasks=NUM_TASKS).query[0]).any()


def test_an_infinite_number_of_an_iterable_is_found_and_the_part_kept(tmp_path):
    """Its tasks are gone, so that the state before them cannot be had again."""
    with pytest.raises(FloatingPointError, match=r"meta-step 7\b.*the state of meta-step 6.*iterable, once") as caught:
        train(host_tasks(iter(infinite_at(7))), start(), num_meta_steps=STEPS, folder=tmp_path)
    assert "next_tasks" not in str(caught.value)
    assert_same(jax_meta.load_state(tmp_path / "last_finite", start()), fit_tasks(6)[0])
    assert json.loads((tmp_path / "failure.json").read_text())["step"] == 7


def test_a_metric_called_step_is_refused_before_the_first_step(tmp_path):
    def loss_fn(params, batch, key):
        loss, _ = numbers.distance(params, batch, key)
        return loss, {"loss": loss, "step": loss}

    learner = jax_meta.maml(loss_fn, numbers.OUTER, num_steps=1)
    options = {"num_meta_steps": 10**9, "record_every": 10**9, "num_tasks": NUM_TASKS, "folder": tmp_path}
    for source in (draw, iter(batches(3))):
        with pytest.raises(ValueError, match="a metric is called 'step'"):
            jax_meta.train(learner, numbers.OUTER, host_tasks(source), start(), report=lambda progress: None, **options)
    assert not (tmp_path / "metrics.jsonl").exists()
