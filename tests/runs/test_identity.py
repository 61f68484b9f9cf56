"""A folder holds one run: all that determines its numbers is compared, and a refusal says what differs."""

import json
from functools import partial
from types import FunctionType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.runs import identity
from jax_meta.runs.program import program_digest
from jax_meta.tasks import sinusoid
from tests.learners import sines
from tests.runs.training import LEARNER, OUTER, PROBLEM, bits, first_state, stop_at, train

DATA = jnp.arange(24.0).reshape(4, 6)
SHIFT = 0.0


def draw(data, key, num_tasks):
    """Tasks from rows of an array."""
    rows = data[jax.random.randint(key, (num_tasks, 2), 0, len(data))]
    points = (rows[:, 0, :5, None] / 24, rows[:, 1, :5, None] / 24)
    return jax_meta.Task(points, points)


def shifted(key, num_tasks):
    return jax.tree.map(lambda leaf: leaf + SHIFT, PROBLEM.sample_tasks(key, num_tasks))


def weighted(weights):
    def loss_fn(params, batch, key):
        loss, metrics = PROBLEM.loss_fn(params, batch, key)
        return loss * jnp.asarray(weights).sum(), metrics

    return jax_meta.maml(loss_fn, optax.sgd(0.05), num_steps=1)


def maml(loss_fn=PROBLEM.loss_fn, rate=0.05, steps=1):
    return jax_meta.maml(loss_fn, optax.sgd(rate), num_steps=steps)


def from_rows(data=DATA):
    return jax.tree_util.Partial(draw, data)


def from_constants(data=DATA):
    return partial(draw, data)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of two meta-steps, by what they were made with, begun when first asked for."""
    made = {}

    def folder_of(name, **options):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("run")
            train(made[name], num_meta_steps=2, validate=None, **options)
        return made[name]

    return folder_of


def files(folder):
    names = ("run.json", "metrics.jsonl", "times.jsonl")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learner": maml(rate=0.06)}, r"learner.optimizer.step_size is -0.05 there and -0.06 here"),
        ({"learner": maml(steps=2)}, r"learner.num_steps is 1 there and 2 here"),
        ({"outer": optax.adam(2e-2)}, r"optimizer.step_size is -0.01 there and -0.02 here"),
        ({"outer": optax.adam(1e-2, b1=0.8)}, r"optimizer.b1 is 0.9 there and 0.8 here"),
        ({"outer": optax.adam(optax.constant_schedule(1e-2))}, r"holds another run: .*arrays.opt_state"),
        ({"sampler": partial(sinusoid.sample_tasks, shots=4, queries=6)}, r"sampler.shots is 5 there and 4 here"),
        ({"sampler": partial(sinusoid.sample_tasks, shots=5, queries=7)}, r"sampler.queries is 6 there and 7 here"),
        ({"learner": maml(sines(activation=jnp.tanh).loss_fn)}, r"apply.activation is \['relu'\] there and \['tanh'\]"),
        ({"learner": maml(lambda *a: PROBLEM.loss_fn(*a))}, r"^$"),  # the same, under another name
        (
            {"learner": weighted(jnp.array([2.0]))},
            r"learner.loss_fn is \['regression'\] there and \['weighted'\] here.*; an array that its functions hold",
        ),
    ],
)
def test_a_finished_run_of_other_numbers_is_refused_by_what_differs(folders, changes, message):
    folder = folders("plain")
    before = files(folder)
    if message == "^$":
        assert train(folder, num_meta_steps=2, validate=None, **changes)[0].step == 2
    else:
        with pytest.raises(ValueError, match=message) as error:
            train(folder, num_meta_steps=2, validate=None, report=lambda _: pytest.fail("it began"), **changes)
        assert "begin in another folder with state = jax_meta.load_state(" in str(error.value)
    assert files(folder) == before


@pytest.mark.parametrize("make", [from_rows, from_constants], ids=["arguments", "constants"])
def test_a_data_set_with_one_other_number_is_another_run(folders, make):
    folder = folders(make.__name__, sampler=make())
    with pytest.raises(ValueError, match=r"sampler.data.digest is \w+ there and \w+ here; an array"):
        train(folder, num_meta_steps=4, validate=None, sampler=make(DATA.at[3, 5].add(1e-6)))
    assert train(folder, num_meta_steps=2, validate=None, sampler=make(DATA + 0))[0].step == 2


def test_constants_of_a_closure_and_of_the_module_are_compared(folders, monkeypatch):
    folder = folders("weighted", learner=weighted(np.array([0.5, 0.5])))
    with pytest.raises(ValueError, match=r"weights.digest .*; an array that its functions hold differs"):
        train(folder, num_meta_steps=2, validate=None, learner=weighted(np.array([0.25, 0.75])))
    folder = folders("shifted", sampler=shifted)
    monkeypatch.setitem(globals(), "SHIFT", 0.5)
    copy = FunctionType(shifted.__code__, globals(), "shifted")  # as in another process: JAX keeps what it traced here
    with pytest.raises(ValueError, match=r"sampler\.SHIFT is 0.0 there and 0.5 here"):
        train(folder, num_meta_steps=2, validate=None, sampler=copy)


def test_other_initial_parameters_are_another_run(folders):
    other = first_state()
    other = other._replace(params=jax.tree.map(lambda leaf: leaf + 1e-3, other.params))
    options = {"num_meta_steps": 4, "num_tasks": 2, "folder": folders("plain")}
    with pytest.raises(ValueError, match="the state that it begins with differs"):
        jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, other, **options)


def test_the_state_that_was_reached_may_be_given_and_no_other(tmp_path):
    options = {"num_tasks": 2, "folder": tmp_path, "record_every": 1, "report": lambda progress: None}
    reached, _ = jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, first_state(), num_meta_steps=2, **options)
    whole, _ = jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, reached, num_meta_steps=3, **options)
    expected, _ = jax_meta.fit(LEARNER, OUTER, PROBLEM.sample_tasks, first_state(), num_meta_steps=3, num_tasks=2)
    assert bits(whole) == bits(expected)
    other = reached._replace(params=jax.tree.map(jnp.zeros_like, reached.params))
    for state in (other, reached._replace(step=reached.step - 1)):
        with pytest.raises(
            ValueError, match=r"the state is at meta-step \d, and is not one of the run in .* began at 0"
        ):
            jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, state, num_meta_steps=3, **options)


def test_an_unfinished_run_does_not_go_on_with_other_settings(tmp_path):
    with pytest.raises(RuntimeError, match="stopped at"):
        train(tmp_path, report=stop_at(6))
    with pytest.raises(ValueError, match="holds another run"):
        train(tmp_path, learner=maml(rate=0.5))
    assert train(tmp_path)[0].step == 12


def test_batches_a_mesh_and_the_cadence_may_change(folders):
    folder = folders("plain")
    mesh = jax.make_mesh((1,), ("tasks",))
    for options in ({"task_batch_size": 1}, {"mesh": mesh}, {"record_every": 1}, {"save_seconds": 5.0}):
        assert train(folder, num_meta_steps=2, validate=None, **options)[0].step == 2


def test_fewer_steps_than_the_folder_has_are_refused(tmp_path, capsys):
    train(tmp_path, num_meta_steps=4, validate=None)
    with pytest.raises(ValueError, match=r"is at meta-step 4, beyond the 3 asked for: .* has meta-steps \[2, 4\]"):
        train(tmp_path, num_meta_steps=3, validate=None)
    state = jax_meta.load_state(tmp_path, first_state())
    with pytest.raises(ValueError, match="the state is at meta-step 4, beyond the 3 asked for"):
        jax_meta.train(LEARNER, OUTER, PROBLEM.sample_tasks, state, num_meta_steps=3)
    capsys.readouterr()
    train(tmp_path, num_meta_steps=4, validate=None)
    assert f"{tmp_path} was finished before, at meta-step 4: no step is taken" in capsys.readouterr().out


def test_another_version_or_device_is_told_and_only_settings_are_compared(folders, tmp_path, monkeypatch, capsys):
    train(tmp_path, num_meta_steps=2, validate=None)
    monkeypatch.setattr(identity, "device", lambda: "tpu")
    with pytest.raises(ValueError, match=r"learner.num_steps is 1 there and 2 here"):
        train(tmp_path, num_meta_steps=2, validate=None, learner=maml(steps=2))
    assert "begun with" not in capsys.readouterr().out
    assert train(tmp_path, num_meta_steps=2, validate=None)[0].step == 2
    told = capsys.readouterr().out
    assert "goes on with tpu: digits may differ" in told
    assert "programs cannot be compared" in told
    for _ in range(2):  # from now on both devices are known
        with pytest.raises(ValueError, match=r"the state that it begins with differs|holds another run"):
            train(tmp_path, num_meta_steps=2, validate=None, learner=weighted(jnp.ones(1)))
        monkeypatch.undo()
    assert len(json.loads((tmp_path / "run.json").read_text())["programs"]) == 2


def test_the_folder_of_an_earlier_version_goes_on_and_says_so(tmp_path, capsys):
    train(tmp_path, num_meta_steps=2, validate=None)
    told = json.loads((tmp_path / "run.json").read_text())
    del told["versions"]["device"], told["versions"]["flax"]
    (tmp_path / "run.json").write_text(json.dumps({"run": told["run"], "versions": told["versions"]}))
    train(tmp_path, num_meta_steps=2, validate=None)
    assert "begun by an earlier version, which kept no program" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"learner.num_steps is 1 there and 2 here"):
        train(tmp_path, num_meta_steps=2, validate=None, learner=maml(steps=2))


def test_a_fit_of_ones_own_is_told_apart_by_what_is_described(tmp_path):
    def fit(learner, optimizer, sample_tasks, state, **options):
        return jax_meta.fit(learner, optimizer, sample_tasks, state, **options)

    train(tmp_path, num_meta_steps=2, validate=None, fit=fit)
    train(tmp_path, num_meta_steps=2, validate=None, fit=fit, learner=maml())
    with pytest.raises(ValueError, match=r"step_size is -0.05 there and -0.5 here"):
        train(tmp_path, num_meta_steps=2, validate=None, fit=fit, learner=maml(rate=0.5))


def test_matrix_products_of_another_precision_are_another_run(folders):
    with (
        jax.default_matmul_precision("highest"),
        pytest.raises(ValueError, match=r"jax_default_matmul_precision is None there and highest here"),
    ):
        train(folders("plain"), num_meta_steps=2, validate=None)


def by_squares(power, params):
    return {"loss": sum(jnp.sum(leaf**power) for leaf in jax.tree.leaves(params))}


@pytest.mark.slow
def test_another_validation_is_told_and_does_not_stop_a_run(tmp_path, capsys):
    for power, steps in ((2, 2), (2, 4), (4, 6), (4, 8)):
        train(tmp_path, num_meta_steps=steps, validate=partial(by_squares, power))
        told = capsys.readouterr().out
        assert ("validated in another way than before: validate.power is 2 there and 4 here" in told) == (steps == 6)
    assert train(tmp_path, num_meta_steps=8, validate=None)[0].step == 8
    assert "validated" not in capsys.readouterr().out


def test_what_is_computed_for_nothing_does_not_tell_programs_apart():
    """JAX leaves such operations in a program, or not, by what it has traced before."""

    def digest(factor, *, more):
        def function(x):
            if more:
                jnp.zeros((2, 2)) + x
            return factor * x

        return program_digest(jax.make_jaxpr(function)(1.0), {})

    assert digest(2.0, more=True) == digest(2.0, more=False) != digest(3.0, more=False)


def test_a_digest_depends_on_nothing_in_memory():
    def digests():
        problem = sines()
        learner = jax_meta.maml(problem.loss_fn, optax.sgd(0.05), num_steps=2)
        state = jax_meta.init(learner, OUTER, problem.params, jax.random.key(0))
        sampler = jax.tree_util.Partial(draw, DATA + 0)
        traced = identity.trace_step(learner, OUTER, sampler, state, 2)
        functions = {"learner": learner.gradient, "optimizer": OUTER.update, "sampler": sampler}
        return identity.identify(traced, functions, None, sampler, {"w": np.ones(2)})

    first = digests()
    jax.clear_caches()
    unrelated = [object() for _ in range(1000)]
    assert digests() == first
    assert "0x" not in json.dumps(first)
    assert unrelated
