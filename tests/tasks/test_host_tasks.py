"""Tasks of the host: whatever they come from, `fit` gives what `fit_tasks` gives on them, or says why it cannot."""

import threading
import time
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import jax_meta
from jax_meta import OutOfTasksError, Task, host_tasks
from jax_meta.host import ahead, blocks
from jax_meta.host.ahead import running
from tests.tasks.numbers import LEARNER, NUM_TASKS, OUTER, as_task, assert_same, batches, draw, fit, fit_tasks, start

TASK_BYTES = 4 * NUM_TASKS * 3 * 8
STEPS = 11


@pytest.fixture(autouse=True)
def four_steps_a_block(monkeypatch):
    monkeypatch.setattr(blocks, "SAMPLE_AHEAD_BYTES", 4 * TASK_BYTES)
    monkeypatch.setattr(ahead, "SAMPLE_AHEAD_BYTES", 1)
    yield
    wait_until(lambda: not threads())


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "jax_meta tasks"]


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_one_buffer():
    """A generator that fills the same arrays again and again."""
    tasks = jax.tree.map(np.zeros_like, batches(1)[0])
    for batch in batches(STEPS):
        jax.tree.map(np.copyto, tasks, batch)
        yield tasks


def read_only():
    for batch in batches(STEPS):
        for leaf in jax.tree.leaves(batch):
            leaf.setflags(write=False)
        yield batch


def tensors(step):
    return jax.tree.map(torch.from_numpy, batches(step + 1)[step])


class OneTask(torch.utils.data.Dataset):
    """A task at a time, as a DataLoader collates them to batches."""

    def __len__(self):
        return NUM_TASKS * STEPS

    def __getitem__(self, index):
        return jax.tree.map(lambda leaf: leaf[index % NUM_TASKS], tensors(index // NUM_TASKS))


SOURCES = {
    "function": lambda: draw,
    "list": lambda: batches(STEPS),
    "generator": lambda: iter(batches(STEPS)),
    "one buffer": in_one_buffer,
    "read-only": read_only,
    "tensors": lambda: map(tensors, range(STEPS)),
    "DataLoader": lambda: torch.utils.data.DataLoader(OneTask(), batch_size=NUM_TASKS),
    "jax": lambda: [jax.tree.map(jnp.asarray, batch) for batch in batches(STEPS)],
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_result_is_that_of_fit_tasks_to_the_bit(source):
    """Eleven steps, in three blocks of four, the last of which takes three."""
    state, history = fit(host_tasks(SOURCES[source]()), start(), num_meta_steps=STEPS)
    expected, expected_history = fit_tasks(STEPS)
    assert_same(state, expected)
    assert_array_equal(history["loss"], expected_history["loss"])


@pytest.mark.parametrize("source", ["function", "list", "generator", "DataLoader"])
def test_two_calls_equal_one_and_use_no_batch_more(source):
    tasks = host_tasks(SOURCES[source]())
    half, _ = fit(tasks, start(), num_meta_steps=5)
    whole, _ = fit(tasks, half, num_meta_steps=STEPS - 5)
    assert_same(whole, fit_tasks(STEPS)[0])


def test_no_step_takes_no_batch():
    source = iter(batches(1))
    state, history = fit(host_tasks(source), start(), num_meta_steps=0)
    assert (state.step, history, len(list(source))) == (0, {}, 1)


def test_a_mesh_and_batches_of_tasks():
    mesh = jax.make_mesh((1,), ("tasks",))
    options = {"mesh": mesh, "task_batch_size": 1}
    state, _ = fit(host_tasks(draw), start(), num_meta_steps=STEPS, **options)
    assert_same(state, fit_tasks(STEPS, **options)[0])


def test_another_key_draws_other_tasks():
    same, other = (fit(host_tasks(draw), start(key=jax.random.key(seed)), num_meta_steps=1)[0] for seed in (0, 1))
    assert_same(same, fit_tasks(1)[0])
    assert other.params != same.params


def test_what_ended_a_sequence_is_the_cause():
    """An IndexError may be a mistake inside it."""

    class Sequence:
        def __getitem__(self, step):
            return batches(3)[step]

    with pytest.raises(OutOfTasksError, match="none for meta-step 3 of 5") as caught:
        fit(host_tasks(Sequence()), start(), num_meta_steps=5)
    assert isinstance(caught.value.__cause__, IndexError)


def test_one_batch_for_all_steps():
    (batch,) = batches(1)
    state, _ = fit(host_tasks(lambda rng, num_tasks: batch), start(), num_meta_steps=5)
    tasks = jax.tree.map(lambda leaf: np.stack([leaf] * 5), batch)
    assert_same(state, jax_meta.fit_tasks(LEARNER, OUTER, tasks, start())[0])


def test_the_next_batches_are_made_ready_in_a_thread_and_no_more_than_there_are_steps():
    drawn = []

    def source():
        for batch in batches(9):
            drawn.append(threading.current_thread())
            yield batch

    with running(host_tasks(source()), start(), end=5) as ready:
        ready.draw((), 0, NUM_TASKS)
        wait_until(lambda: len(drawn) == 4)  # the first, two that wait, and one in the hand of the thread
        assert len(set(drawn[1:])) == 1
        assert drawn[1] is not threading.main_thread()
        for step in range(1, 5):
            ready.draw((), step, NUM_TASKS)
        wait_until(lambda: not threads())
    assert len(drawn) == 5


def test_any_step_can_be_asked_for_but_of_an_iterable():
    with running(host_tasks(batches(6)), start(), end=6) as ready:
        for step in (0, 1, 4, 5, 2, 3, 3):
            jax.tree.map(assert_array_equal, ready.draw((), step, NUM_TASKS), batches(6)[step])
    with running(host_tasks(iter(batches(6))), start(), end=6) as ready:
        ready.draw((), 0, NUM_TASKS)
        with pytest.raises(ValueError, match="meta-step 2 came from the iterable list_iterator, once"):
            ready.draw((), 2, NUM_TASKS)


@pytest.mark.parametrize("source", [lambda: batches(6), lambda: iter(batches(6))], ids=["list", "generator"])
@pytest.mark.parametrize("asked", [7, 13])
def test_a_source_that_ends_early_keeps_what_was_done(source, asked):
    """At the end of a block that is half full, and of one that would be."""
    with pytest.raises(OutOfTasksError, match=r"none for meta-step 6 of \d+.*while True: yield from loader") as caught:
        fit(host_tasks(source()), start(), num_meta_steps=asked)
    expected, history = fit_tasks(6)
    assert_same(caught.value.state, expected)
    assert_array_equal(caught.value.history["loss"], history["loss"])


def test_a_source_without_any_batch():
    with pytest.raises(OutOfTasksError, match="none for meta-step 0 of 3") as caught:
        fit(host_tasks(iter(())), start(), num_meta_steps=3)
    assert (caught.value.state.step, caught.value.history) == (0, {})


@pytest.mark.parametrize("step", [0, 6])
def test_what_the_source_raises_is_raised_with_its_traceback_and_its_step(step):
    def source():
        yield from batches(step)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        fit(host_tasks(source()), start(), num_meta_steps=STEPS)
    assert any(frame.name == "source" for frame in traceback.extract_tb(caught.value.__traceback__))
    assert any(f"in the tasks of meta-step {step}, from" in note for note in caught.value.__notes__)


def longer():
    return as_task(np.zeros((NUM_TASKS, 4, 1)))


BAD = {
    "number": (as_task(np.zeros((1, 3, 1))), ValueError, r"num_tasks=2, got float64\[1, 3, 1\] at \.support\[0\]"),
    "scalar": (as_task(np.zeros(())), ValueError, r"num_tasks=2, got float64\[\]"),
    "object": (as_task(np.array([None] * 2)), TypeError, r"arrays of numbers, got object at"),
    "text": (as_task(np.array(["a", "b"])), TypeError, r"arrays of numbers, got <U1"),
    "tuple": (tuple(batches(1)[0]), TypeError, r"must give jax_meta\.Task\(support, query\).*got a tuple"),
    "none": (None, TypeError, r"must give jax_meta\.Task.*got a NoneType"),
    "structure": (Task(batches(1)[0].support, ()), ValueError, r"same tree structure"),
    "query": (Task((np.zeros((2, 3, 1)),) * 2, (np.zeros((2, 3, 2)),) * 2), ValueError, r"same shape and dtype"),
}
OTHER = {
    "shape": (longer(), r"float64\[2, 4, 1\] at \.support\[0\].*before were float64\[2, 3, 1\].*drop_last"),
    "dtype": (as_task(np.zeros((NUM_TASKS, 3, 1), np.float32)), r"float32.*before were float64"),
    "leaves": (Task((np.zeros((2, 3, 1)),), (np.zeros((2, 3, 1)),)), r"nothing.*before were float64|before were"),
}


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_batch_is_refused(case, place):
    bad, error, message = BAD[case]
    with pytest.raises(error, match=message):
        fit(host_tasks([*batches(place), bad]), start(), num_meta_steps=5)


@pytest.mark.parametrize("case", OTHER)
def test_batches_that_differ_in_shape_are_refused(case):
    other, message = OTHER[case]
    with pytest.raises(ValueError, match=message):
        fit(host_tasks([*batches(2), other]), start(), num_meta_steps=5)


def shared_generator():
    rng = np.random.default_rng(0)
    return lambda _, num_tasks: draw(rng, num_tasks)


class Augmented:
    """A sequence whose entries are drawn anew each time."""

    def __getitem__(self, step):
        return draw(np.random.default_rng(), NUM_TASKS)


def next_of(iterator):
    return lambda rng, num_tasks: next(iterator)


@pytest.mark.parametrize("source", [shared_generator(), Augmented(), next_of(iter(batches(50)))])
def test_what_gives_other_tasks_for_the_same_step_is_refused(source):
    with pytest.raises(ValueError, match=r"twice, it gave two batches.*Draw from the rng.*host_tasks\(generator\(\)\)"):
        fit(host_tasks(source), start(), num_meta_steps=3)


@pytest.mark.parametrize("source", [batches(1)[0], {"a": 1}, np.zeros((3, 2)), torch.zeros(2), 3, None, "tasks"])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(TypeError, match=r"a function \(rng, num_tasks\), a sequence or an iterable.*fit_tasks"):
        host_tasks(source)


def test_compiled_and_mapped_it_is_refused():
    def run(state):
        return fit(host_tasks(draw), state, num_meta_steps=2)

    states = jax.vmap(lambda key: start(key=key))(jax.random.split(jax.random.key(0), 3))
    for call in (lambda: jax.jit(run)(start()), lambda: jax.vmap(run)(states), jax.jit(lambda: run(start()))):
        with pytest.raises(ValueError, match=r"cannot be drawn inside jit or vmap.*map jax_meta\.fit_tasks"):
            call()
    with pytest.raises(ValueError, match=r"one network, and the state has the keys of 3.*jax_meta\.fit_tasks"):
        run(states)


def test_mapped_over_a_learning_rate_it_is_refused():
    def run(rate):
        learner = jax_meta.maml(lambda *inputs: (inputs[0] * rate, {"loss": rate}), OUTER, num_steps=0)
        return jax_meta.fit(learner, OUTER, host_tasks(draw), start(), num_meta_steps=2, num_tasks=NUM_TASKS)[0].params

    with pytest.raises(ValueError, match="inside jit or vmap"):
        jax.vmap(run)(jnp.ones(3))


def test_next_tasks_are_those_of_the_step():
    state = start()._replace(step=jnp.array(4))
    for source in (draw, batches(5)):
        tasks = jax_meta.next_tasks(host_tasks(source), state, num_tasks=NUM_TASKS)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tasks))
        jax.tree.map(assert_array_equal, tasks, batches(5)[4])
    with pytest.raises(ValueError, match=r"iterable list_iterator come once"):
        jax_meta.next_tasks(host_tasks(iter(batches(5))), state, num_tasks=NUM_TASKS)


def test_an_error_outside_the_source_ends_the_thread():
    """As Ctrl-C does, whether the thread waits to hand over or for its source."""

    def interrupted(source):
        with running(host_tasks(source), start(), end=100) as ready:
            ready.draw((0,), 0, NUM_TASKS)
            wait_until(threads)
            raise KeyboardInterrupt

    for source in (draw, blocked):
        with pytest.raises(KeyboardInterrupt):
            interrupted(source)
        GATE.set()
        wait_until(lambda: not threads())


GATE = threading.Event()


def blocked(rng, num_tasks):
    if threading.current_thread() is not threading.main_thread():
        GATE.wait(30)
    return draw(rng, num_tasks)
