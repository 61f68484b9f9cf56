"""The sweep over seeds and rates: one program for all of them, and the same networks as one at a time."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from benchmarks import __main__ as index
from benchmarks.sweep import __main__ as sweep
from benchmarks.sweep import networks, results
from jax_meta.tasks import sinusoid

SAMPLE = sinusoid.sample_tasks
RATES = ((1e-3, 1e-2), (0.01, 0.2, 0.01))
SEEDS, STEPS, TASKS = 2, 6, 3


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    def initial_params(key):
        return optax.tree.cast(networks.MODEL.init(key, jnp.zeros((1, 1))), jnp.float64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "initial_params", initial_params)
        yield


@pytest.fixture(scope="module")
def grid():
    return networks.make_grid(SEEDS, *RATES)


@pytest.fixture(scope="module")
def trained(grid):
    return jax.jit(networks.over_grid(partial(networks.train_network, steps=STEPS, num_tasks=TASKS)))(*grid)


def by_hand(key, outer_learning_rate, step_size):
    """MAML in plain JAX: one inner step, the mean over tasks, Adam; rates are Python numbers."""
    model_key, run_key = jax.random.split(key)
    params, outer = networks.initial_params(model_key), optax.adam(outer_learning_rate)
    opt_state = outer.init(params)

    def loss(params, batch):
        inputs, targets = batch
        return ((networks.MODEL.apply(params, inputs) - targets) ** 2).mean()

    def query_loss(params, task):
        slopes = jax.grad(loss)(params, task.support)
        return loss(jax.tree.map(lambda leaf, slope: leaf - step_size * slope, params, slopes), task.query)

    @jax.jit
    def meta_step(params, opt_state, step):
        tasks_key, _ = jax.random.split(jax.random.fold_in(run_key, step))
        tasks = sinusoid.sample_tasks(tasks_key, TASKS)
        mean_loss, slopes = jax.value_and_grad(lambda params: jax.vmap(query_loss, (None, 0))(params, tasks).mean())(
            params
        )
        updates, opt_state = outer.update(slopes, opt_state)
        return optax.apply_updates(params, updates), opt_state, mean_loss

    losses = []
    for step in range(STEPS):
        params, opt_state, mean_loss = meta_step(params, opt_state, step)
        losses.append(float(mean_loss))
    return params, losses


@pytest.mark.slow
def test_a_network_of_the_grid_is_the_one_trained_alone_by_hand(grid, trained):
    params, losses = trained
    assert losses.shape == (SEEDS, 2, 3, STEPS)
    for place in ((0, 0, 0), (1, 1, 1)):
        seed, row, column = place
        expected, expected_losses = by_hand(grid.keys[seed], RATES[0][row], RATES[1][column])
        np.testing.assert_allclose(losses[place], expected_losses, rtol=1e-10)
        for leaf, value in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(leaf[place], value, rtol=0, atol=1e-10)


def test_rates_are_arguments_of_one_program(grid, monkeypatch):
    traces = []
    monkeypatch.setattr(sinusoid, "sample_tasks", lambda *inputs: traces.append(inputs) or SAMPLE(*inputs))
    train_one = jax.jit(partial(networks.train_network, steps=STEPS, num_tasks=TASKS))
    key, outer, inner = grid.keys[0], grid.outer_learning_rates, grid.step_sizes
    before = train_one(key, outer[0], inner[0])[1]
    traced = len(traces)
    after = [train_one(key, outer[0], inner[1])[1], train_one(key, outer[1], inner[0])[1]]
    assert len(traces) == traced > 0
    assert all(not np.allclose(losses[1:], before[1:], rtol=1e-6) for losses in after)


@pytest.mark.slow
def test_networks_of_a_seed_start_alike_and_differ_between_seeds(trained):
    """The first and the last step size are the same."""
    _, losses = trained
    np.testing.assert_allclose(losses[:, :, 0], losses[:, :, 2], rtol=1e-12)
    np.testing.assert_allclose(losses[:, 0, :, 0], losses[:, 1, :, 0], rtol=1e-12)
    assert (losses[0, :, :, 0] != losses[1, :, :, 0]).all()


@pytest.mark.slow
def test_each_network_is_evaluated_with_its_own_step_size(grid, trained):
    params, _ = trained
    step_sizes = grid.step_sizes
    errors = networks.evaluate_grid(params, grid, test_tasks=7)
    assert errors.shape == (SEEDS, 2, 3, networks.LAST_STEP + 1)
    tasks = sinusoid.sample_tasks(jax.random.split(jax.random.key(networks.TEST_KEY))[0], 7)

    def query_error(params, task):
        return networks.LOSS_FN(params, task.query, None)[0]

    def stepped(params, task, step_size):
        slopes = jax.grad(lambda params: networks.LOSS_FN(params, task.support, None)[0])(params)
        return jax.tree.map(lambda leaf, slope: leaf - step_size * slope, params, slopes)

    for place in ((0, 0, 0), (1, 1, 1)):
        mine = jax.tree.map(lambda leaf, place=place: leaf[place], params)
        none = jax.vmap(lambda task, mine=mine: query_error(mine, task))(tasks).mean()
        size = step_sizes[place[2]]
        one = jax.vmap(lambda task, mine=mine, size=size: query_error(stepped(mine, task, size), task))(tasks).mean()
        np.testing.assert_allclose(errors[place][:2], [none, one], rtol=1e-10)


def test_bands_are_those_of_estimate_and_a_diverged_seed_leaves_a_gap():
    errors = np.random.default_rng(0).uniform(1, 2, (5, 1, 2, 11))
    errors[3, 0, 1, 4:] = np.nan
    errors[3, 0, 1, 4] = 1e9  # finite, and diverged all the same
    losses = np.ones((5, 1, 2, 7))
    losses[3, 0, 1, 6] = np.inf
    grid = networks.make_grid(5, [1e-3], [0.01, 0.5])
    whole, broken = results.describe_grid(grid, losses, errors)
    expected = jax_meta.estimate(errors[:, 0, 0])
    np.testing.assert_allclose(whole["mean"], expected.mean, rtol=1e-4)
    np.testing.assert_allclose(whole["half_width"], expected.half_width, rtol=1e-4)
    assert (whole["seeds_with_finite_training"], broken["seeds_with_finite_training"]) == (5, 4)
    assert broken["seeds_not_diverged"] == [5] * 4 + [4] * 7
    np.testing.assert_allclose(broken["mean"][:4], errors[:, 0, 1, :4].mean(axis=0), rtol=1e-4)
    assert broken["mean"][4:] == broken["half_width"][4:] == [None] * 7
    assert broken["seed_means"][3][4:] == [1e9] + [None] * 6
    assert results.interval(broken, 10) == "—"
    axes = results.draw([whole, broken], 5).axes[0]
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[], [0.5], [0.5]]
    after_one, after_five, _ = (line.get_ydata() for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(after_one, [whole["mean"][1], broken["mean"][1]])
    assert np.isnan(after_five[1])


def test_a_sweep_that_was_cut_says_so():
    told = json.loads((index.BENCHMARKS / "results" / "sweep" / "results.json").read_text())
    whole, cut = results.table(told), results.table({**told, "meta_steps": 20})
    assert whole.startswith(
        "Trained for 20,000 meta-steps of 4 tasks; errors on 1,000 new sines.\n\n| inner step size |"
    )
    assert cut.startswith("Trained for 20 meta-steps of 4 tasks, cut: by default it is 20,000; errors on")


def test_rounding_is_told_from_a_real_difference():
    one_by_one = [np.linspace(1, 2, 20), np.linspace(3, 4, 20)]
    together = np.stack(one_by_one).reshape(1, 2, 20)
    assert networks.largest_difference(together, one_by_one) == 0
    shifted = together + np.array([0.0, 0.4])[None, :, None]
    most = max(one_by_one[1][: networks.COMPARED_STEPS])
    assert networks.largest_difference(shifted, one_by_one) == pytest.approx(0.4 / most)
    shifted[0, 0, 0] = np.nan
    assert np.isnan(networks.largest_difference(shifted, one_by_one))


@pytest.mark.slow
def test_a_small_sweep_writes_what_networks_trained_alone_give(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "TEST_TASKS", 5)
    monkeypatch.setattr(sweep, "NUM_TASKS", TASKS)
    words = f"--seeds 2 --step-sizes 0.02 0.05 --steps {STEPS} --timed-steps 3 --repeats 1 --output {tmp_path}"
    sweep.main(words.split())
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["throughput"]["networks"] == 4
    assert told["throughput"]["largest_relative_difference"] < 1e-10
    assert [row["step_size"] for row in told["settings"]] == [0.02, 0.05]
    train_one = jax.jit(partial(networks.train_network, steps=STEPS, num_tasks=TASKS))
    evaluate_one = jax.jit(partial(networks.evaluate_network, test_tasks=5))
    rates = jnp.array(1e-3), jnp.array(0.05)
    params = [train_one(key, *rates)[0] for key in jax.random.split(jax.random.key(0))]
    errors = [evaluate_one(each, rates[1]) for each in params]
    np.testing.assert_allclose(told["settings"][1]["seed_means"], errors, rtol=1e-4)
    shown = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() in shown
    assert "4 networks at once, and in turn: finished, 7 in " in shown
    assert "4 networks, 6 meta-steps: finished, 3 in " in shown
    assert (tmp_path / "sweep.png").stat().st_size > 1_000


@pytest.mark.parametrize("words", ["--seeds 1", "--step-sizes 0", "--step-sizes nan", "--outer-learning-rates -1"])
def test_wrong_options_stop_with_usage(words, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        sweep.main([*words.split(), "--output", str(tmp_path)])
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err
