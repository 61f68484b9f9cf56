"""The sine benchmark: its protocol's tasks, its methods, its geometry, and its command line as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from benchmarks.harness import rounds
from benchmarks.harness.progress import progress
from benchmarks.sinusoid import __main__ as sinusoid
from benchmarks.sinusoid import geometry, methods, protocol, results, speed

POST = protocol.PROTOCOLS["post"]
SMALL = POST._replace(train_tasks=20, steps=60, test_tasks=7)


@pytest.fixture(scope="module")
def visits():
    key = jax.random.key(0)
    training_set = protocol.make_training_set(SMALL, key)
    tasks = protocol.task_stream(SMALL, training_set, jax.random.split(key, 2))(0, SMALL.steps)
    return training_set, tasks


def test_every_epoch_visits_every_training_task_once_in_a_new_order(visits):
    training_set, tasks = visits
    for seed in range(2):
        epochs = np.asarray(tasks.support[0][seed, :, 0]).reshape(3, SMALL.train_tasks, -1)
        for epoch in epochs:
            assert sorted(map(tuple, epoch)) == sorted(map(tuple, np.asarray(training_set.support_inputs[..., 0])))
        assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(tasks.support[0][0], tasks.support[0][1])


def test_query_points_are_new_at_each_visit_and_of_the_same_sine(visits):
    training_set, tasks = visits
    queries = np.asarray(tasks.query[0]).reshape(-1)
    assert len(np.unique(queries)) == queries.size
    assert not np.isin(queries, training_set.support_inputs).any()
    amplitude, phase = (np.asarray(leaf) for leaf in training_set.sinusoids)
    support, query = (np.stack(batch)[:, 0, :, 0, :, 0] for batch in tasks)
    known = np.asarray(training_set.support_inputs)[..., 0]
    index = [np.flatnonzero((known == inputs).all(axis=1))[0] for inputs in support[0]]
    for inputs, targets in (support, query):
        np.testing.assert_allclose(targets, amplitude[index, None] * np.sin(inputs + phase[index, None]), rtol=1e-5)


def test_test_tasks_are_judged_evenly_over_the_whole_range():
    tasks = protocol.make_test_tasks(SMALL, jax.random.key(0), 5)
    assert tasks.support[0].shape == (7, 5, 1)
    np.testing.assert_allclose(tasks.query[0], np.broadcast_to(np.linspace(-5, 5, 50)[:, None], (7, 50, 1)), atol=1e-6)


def test_the_maml_protocol_draws_new_sines_of_half_the_phases():
    maml = protocol.PROTOCOLS["maml"]
    key = jax.random.key(0)
    tasks = protocol.task_stream(maml, protocol.make_training_set(maml, key), key[None])(0, 4)
    assert tasks.support[0].shape == (1, 4, 25, 10, 1)
    assert len(np.unique(tasks.support[0])) == tasks.support[0].size
    inputs, targets = (np.asarray(leaf) for leaf in tasks.support)
    for x, y in zip(inputs[0, 0, :, :, 0], targets[0, 0, :, :, 0], strict=True):
        # y = a cos(b) sin(x) + a sin(b) cos(x), and sin(b) >= 0 for b in [0, π]
        (_, a_sin_b), residual, *_ = np.linalg.lstsq(np.c_[np.sin(x), np.cos(x)], y, rcond=None)
        assert residual < 1e-9
        assert a_sin_b > -1e-5


def test_transfer_trains_on_the_support_points():
    chosen = methods.methods(POST)["transfer"].learner

    @jax.jit
    def norms():
        params = methods.MODEL.init(jax.random.key(0), jnp.zeros((1, 1)))
        task = jax.tree.map(lambda leaf: leaf[0], jax_meta.tasks.sinusoid.sample_tasks(jax.random.key(1), 1))
        key = jax.random.key(2)
        expected = jax.grad(lambda params: methods.LOSS_FN(params, task.support, key)[0])(params)
        return optax.tree.norm(optax.tree.sub(chosen.gradient(params, task, key)[0], expected)), optax.tree.norm(
            expected
        )

    gap, norm = norms()
    assert gap == 0 < norm


def test_reptile_feeds_the_post_s_gradient_to_adam():
    """(θ - φ) / (k α), with k = 3 and α = 0.01: the mean of the three inner gradients."""
    scale = methods.methods(POST)["reptile"].optimizer
    difference = {"weight": jnp.array([0.03, -0.3])}
    expected = optax.adam(1e-3)
    for _ in range(2):
        got = scale.update(difference, scale.init(difference))[0]["weight"]
        want = expected.update({"weight": jnp.array([1.0, -10.0])}, expected.init(difference))[0]["weight"]
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_reptile_walks_to_where_the_optimal_curves_are_closest():
    frequencies = np.linspace(-1, 3, 4001)
    curves = geometry.optimal_curves(frequencies)
    closest = np.argmin(np.abs(curves[0] - curves[1]))
    np.testing.assert_allclose(geometry.CLOSEST, (frequencies[closest], curves[:, closest].mean()), atol=1e-3)
    way = geometry.walk().iterates
    distance = np.linalg.norm(way - np.array(geometry.CLOSEST), axis=1)
    assert distance[0] > 2 > 0.1 > distance[-1]


def test_describe_errors_tells_tasks_from_seeds():
    errors = np.arange(2)[:, None, None] * 10.0 + np.array([1.0, 2.0, 6.0])[None, :, None] + np.zeros((2, 3, 33))
    told = results.describe_errors(errors)
    assert told["mean"][0] == 8.0  # seeds average 5 and tasks average 3 apart
    assert told["standard_deviation_over_seeds"][0] == pytest.approx(10 / np.sqrt(2), rel=1e-2)
    assert told["half_width_over_tasks"][0] == pytest.approx(4.302653 * np.sqrt(7) / np.sqrt(3), rel=1e-2)
    assert told["seed_means_after"]["32"] == [3.0, 13.0]


@jax.jit
def after_one_step(params, tasks):
    """Errors `[seeds, tasks]` after one step of SGD on the support points, by hand."""

    def error(params, task):
        return methods.LOSS_FN(params, task.query, None)[0]

    def step(params, batch):
        grads = jax.grad(lambda params: methods.LOSS_FN(params, batch, None)[0])(params)
        return jax.tree.map(lambda leaf, grad: leaf - 0.01 * grad, params, grads)

    return jax.vmap(lambda params: jax.vmap(lambda task: error(step(params, task.support), task))(tasks))(params)


def test_an_evaluation_is_what_one_gets_by_hand():
    params, _ = methods.initial_networks(jax.random.key(0), 2)
    tasks = protocol.make_test_tasks(SMALL, jax.random.key(1), 10)
    errors = methods.compile_evaluation(SMALL, params, tasks, 1)(params, tasks)
    assert errors.shape == (2, 7, 2)
    np.testing.assert_allclose(errors[:, :, 1], after_one_step(params, tasks), rtol=1e-5)


@pytest.mark.slow
def test_what_can_be_written_and_drawn_is_so_after_each_method(tmp_path, monkeypatch, capsys):
    """Untrained networks, with errors of 1, stand in for methods that finish one after the other."""
    params = jax.tree.map(np.asarray, methods.initial_networks(jax.random.key(0), 1)[0])
    seconds = dict.fromkeys(("compile", "train", "evaluate"), 1.0)
    outcome = methods.Outcome(params, {10: np.ones((1, 100, 100))}, seconds)
    figures = []

    def run_methods(experiment, jobs, begin):
        for name in ("random", "maml"):
            figures.append({path.stem for path in tmp_path.glob("*.svg")})
            yield name, outcome
            told = json.loads((tmp_path / "results.json").read_text())
            assert name in told["methods"]
        figures.append({path.stem for path in tmp_path.glob("*.svg")})

    monkeypatch.setattr(sinusoid, "run_methods", run_methods)
    words = ["--quick", "--seeds", "1", "--methods", "random", "maml", "--format", "svg", "--output", str(tmp_path)]
    sinusoid.main(words)
    before, without_maml, drawn = figures
    assert not before  # those of the tasks are drawn while methods are at work
    assert without_maml == {"three_tasks", "thousand_tasks", "average_task", "reptile_geometry"}
    assert drawn - without_maml == {"maml_fit", "maml_fit_one_sided"}
    assert all(b"</svg>" in path.read_bytes() for path in tmp_path.glob("*.svg"))
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["command"] == f"python -m benchmarks.sinusoid {' '.join(words)}"
    assert told["protocol"]["steps"] == 2_000
    assert told["quick"] is True
    assert list(told["methods"]) == ["maml", "random"]
    assert (tmp_path / "table.md").read_text() == results.table(told)
    shown = capsys.readouterr().out
    assert "protocol: name post, " in shown
    assert "steps 2,000" in shown
    assert f"{tmp_path} holds benchmark.log, results.json, table.md, 6 svg files." in shown
    assert (
        "Not drawn, since --methods leaves out what they show: three_curves, transfer_fit, fomaml_fit"
        in shown.splitlines()[-1]
    )


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "made" / "here"
    arguments = ["--quick", "--seeds", "2", "--methods", "maml", "random", "--format", "svg", "--output", str(output)]
    sinusoid.main(arguments)
    return output, sinusoid.parse_arguments(arguments)


@pytest.mark.slow
def test_results_hold_what_an_evaluation_by_hand_gives(quick_run):
    output, options = quick_run
    told = json.loads((output / "results.json").read_text())
    experiment = sinusoid.make_experiment(options)
    states = methods.initial_states(experiment.methods["random"], experiment.seed_key, 2)
    by_hand = after_one_step(states.params, protocol.make_test_tasks(experiment.protocol, experiment.test_key, 10))
    random = told["methods"]["random"]["errors_by_shots"]["10"]
    assert random["mean"][1] == pytest.approx(float(by_hand.mean()), rel=1e-4)
    assert random["seed_means_after"]["1"] == pytest.approx(by_hand.mean(axis=1).tolist(), rel=1e-4)
    assert len(random["mean"]) == 100
    assert told["methods"]["maml"]["errors_by_shots"]["10"]["mean"][5] < random["mean"][5]


@pytest.mark.slow
def test_results_name_what_made_them(quick_run):
    output, _ = quick_run
    told = json.loads((output / "results.json").read_text())
    assert told["protocol"]["steps"] == 2_000
    assert told["versions"]["jax"] == jax.__version__
    assert told["quick"] is True
    assert set(told["methods"]["maml"]["seconds"]) == {"compile", "train", "evaluate"}
    assert "| MAML | " in (output / "table.md").read_text()


@pytest.mark.slow
def test_figures_that_can_be_drawn_are_drawn_in_the_format_asked_for(quick_run):
    output, _ = quick_run
    drawn = {path.stem for path in output.glob("*.svg")}
    assert drawn >= {"three_tasks", "average_task", "reptile_geometry", "maml_fit", "maml_fit_one_sided"}
    assert not drawn & {"three_curves", "reptile_fit"}
    assert all(b"</svg>" in path.read_bytes() for path in output.glob("*.svg"))


def test_every_bar_ends_where_a_method_that_trains_nothing_has_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(methods, "compile_evaluation", lambda *inputs: lambda params, tasks: np.ones((1, 7, 100)))
    experiment = methods.Experiment(
        SMALL, {"random": methods.methods(SMALL)["random"]}, *jax.random.split(jax.random.key(0), 3), 1
    )
    with progress(tmp_path / "log", "command") as begin:
        (name, outcome), *others = methods.run_methods(experiment, 1, begin)
    assert (name, others) == ("random", [])
    assert outcome.errors[10].shape == (1, 7, 100)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("tasks and networks: finished, 1 in ")
    assert told[1:] == ["Random: finished, 1 in 1 s"]


def test_the_one_sided_example_is_one_sided():
    scene = sinusoid.make_scene(SMALL, 0, {})
    inputs = np.asarray(scene.one_sided.support[0])
    assert inputs.shape == (10, 1)
    assert (inputs > 0).all() or (inputs < 0).all()


def test_an_output_that_cannot_be_written_stops_before_any_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    start = time.perf_counter()
    with pytest.raises(SystemExit, match="Choose another folder with --output"):
        sinusoid.main(["--output", str(tmp_path / "file" / "folder")])
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("arguments", [["--sedes", "3"], ["--methods", "mmal"], ["--seeds", "0"], ["--format", "gif"]])
def test_wrong_options_stop_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        sinusoid.main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_run_that_was_cut_says_so_and_has_no_published_figures_beside_it():
    seconds = dict.fromkeys(("compile", "train", "evaluate"), 1.0)
    outcomes = {"maml": methods.Outcome(None, {10: np.ones((1, 4, 33))}, seconds)}
    experiments = [
        methods.Experiment(chosen, methods.methods(chosen), *jax.random.split(jax.random.key(0), 3), 1)
        for chosen in (POST, protocol.quick(POST))
    ]
    whole, cut = (results.table(results.describe(experiment, outcomes)) for experiment in experiments)
    told = "Cut: 2,000 meta-steps of the protocol's 40,000, 100 test tasks of 1,000."
    assert "the notebook's run" in whole
    assert "Cut" not in whole
    assert told in cut
    assert "the notebook's run" not in cut
    assert all("| MAML | 1.00 ± 0.00 (0.00) |" in table for table in (whole, cut))


def test_the_ratio_of_a_speed_is_the_median_of_the_rounds_own(monkeypatch):
    """A clock stands in for the machine: the rounds of each method, the first of which warms up."""
    seconds = {"maml": [9.0, 2.0, 8.0, 4.0], "fomaml": [9.0, 1.0, 6.0, 1.0], "reptile": [9.0, 2.0, 2.0, 2.0]}
    monkeypatch.setattr(speed, "prepare", lambda method, seeds, steps: (None, 0.5))
    monkeypatch.setattr(rounds, "take_turns", lambda turns, repeats, tell: {name: seconds[name] for name in turns})
    told = []
    rows = speed.measure(5, 3, 2, told.append)
    assert [row["ratio_to_maml"] for row in rows] == [1.0, 0.5, 0.5]
    assert [row["microseconds"] for row in rows] == [2e6, 5e5, 1e6]
    assert rows[0]["quartiles"] == [1.5e6, 3e6]
    assert told == ["compiles maml", "compiles fomaml", "compiles reptile"]


@pytest.mark.slow
def test_a_small_run_of_the_speeds(tmp_path, capsys):
    speed.main(["--seeds", "1", "--repeats", "1", "--steps", "20", "--output", str(tmp_path)])
    told = json.loads((tmp_path / "results.json").read_text())
    assert [row["label"] for row in told["methods"]] == ["MAML", "First-order MAML", "Reptile"]
    assert told["methods"][0]["ratio_to_maml"] == 1
    assert "seeds: 1: finished, 9 in " in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.sinusoid",
        "--methods",
        "random",
        "maml",
        "--seeds",
        "1",
        "--output",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, env={**os.environ, "JAX_ENABLE_X64": "0"}, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "results.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "random" in told.splitlines()[-1]
    assert list(json.loads((tmp_path / "results.json").read_text())["methods"]) == ["random"]
