"""Starts for transfer: equal budgets, the same tasks for all, rates from one grid, paired differences, the table."""

import json
from argparse import Namespace
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jax_meta
from benchmarks.harness import rates
from benchmarks.harness.results import write_json
from benchmarks.transfer import __main__ as transfer
from benchmarks.transfer import differences, figures, fine_tuning, kept, results, starts
from benchmarks.transfer.network import HEAD, WAYS, with_head
from benchmarks.transfer.starts import METHODS, PART, STARTS, bare, parts_of, random_start
from jax_meta.datasets import ClassImages, Splits
from jax_meta.datasets.images import published_split
from tests.tiers import each

ALL = tuple(name for part in fine_tuning.SUPERCLASSES.values() for names in part.values() for name in names)


def marked(names, examples=600):
    """Images whose first pixel tells the number of the image, and whose second the class."""
    images = np.zeros((len(names), examples, 1, 3, 1), np.uint8)
    images[:, :, 0, 0, 0], images[:, :, 0, 1, 0] = np.arange(examples) // 3, np.arange(examples) % 3
    images[..., 0, 2, 0] = np.arange(len(names))[:, None]
    return ClassImages(images, np.full(len(names), examples, np.int32), tuple(names))


def numbers(images):
    """Pairs of a class and the number of an image in it."""
    return list(
        zip(
            images[:, 0, 2, 0].tolist(), (3 * images[:, 0, 0, 0].astype(int) + images[:, 0, 1, 0]).tolist(), strict=True
        )
    )


def test_superclasses_are_those_of_the_split_and_have_each_class_once():
    rest = tuple(f"training {number}" for number in range(60))
    for part, others in (("val", "test"), ("test", "val")):
        named = [name for names in fine_tuning.SUPERCLASSES[part].values() for name in names]
        assert len(set(named)) == 20
        assert not set(named) & {name for names in fine_tuning.SUPERCLASSES[others].values() for name in names}
    path = published_split.__globals__["Path"](published_split.__code__.co_filename).parent / "splits" / "fc100.json"
    lists = json.loads(path.read_text())
    for part in ("val", "test"):
        assert {name for names in fine_tuning.SUPERCLASSES[part].values() for name in names} == set(lists[part])
    assert len(rest) == len(lists["train"])


def test_a_task_has_the_same_images_for_every_start_and_fewer_shots_are_the_first_of_more():
    images = marked(ALL[20:])
    options = {"count": 6, "draws": 2, "spare": 50}
    few, again, many = (fine_tuning.tasks_of(images, "test", shots, **options) for shots in (5, 5, 100))
    assert [task[0].kind for task in few] == [*fine_tuning.SUPERCLASSES["test"], "mixed", "mixed"]
    for task, same, more in zip(few, again, many, strict=True):
        for draw, other, larger in zip(task, same, more, strict=True):
            jax.tree.map(assert_array_equal, draw[1:], other[1:])
            by_class = np.array(numbers(larger.support[0])).reshape(WAYS, 100, 2)[:, :5].reshape(-1, 2).tolist()
            assert [list(pair) for pair in numbers(draw.support[0])] == by_class
        assert numbers(task[0].support[0]) != numbers(task[1].support[0])


def test_queries_are_the_test_images_and_some_that_are_not_fitted():
    images = marked(ALL[20:])
    for shots, spare, expected in ((5, 50, 150), (480, 50, 120), (500, 400, 100)):
        task = fine_tuning.tasks_of(images, "test", shots, count=1, draws=1, spare=spare)[0][0]
        support, query = set(numbers(task.support[0])), numbers(task.query[0])
        assert not support & set(query)
        assert len(set(query)) == len(query) == WAYS * expected
        assert {pair for pair in query if pair[1] >= 500} == {(row, i) for row, _ in support for i in range(500, 600)}
        for found, labels in (task.support, task.query):
            rows = [images.names.index(name) for name in fine_tuning.SUPERCLASSES["test"]["people"]]
            assert [rows[label] for label in labels] == [row for row, _ in numbers(found)]


def test_every_start_costs_as_much():
    for start in STARTS.values():
        for budget in (150_000, 1_500_000):
            for method, part in start.methods:
                call = PART * METHODS[method].cost  # of which there is a whole number
                assert abs(parts_of(METHODS[method], part * budget) * call - part * budget) <= call / 2
    assert METHODS["reptile"].cost == 32 * 25
    assert METHODS["fomaml"].cost == 16 * 25 + 75


def test_the_search_goes_outwards_until_the_best_is_between_worse_ones():
    def peak(place):
        asked = []

        def score(rate):
            asked.append(rate)
            return [-abs(fine_tuning.RATES.index(rate) - place)]

        found = rates.search(score, fine_tuning.RATES, fine_tuning.FIRST_RATES)
        assert sorted(asked) == list(found)
        return found

    assert list(peak(3)) == [0.01, 0.03, 0.1, 0.3]
    assert list(peak(5)) == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert list(peak(0)) == [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    two_peaks = {0.01: 0.43, 0.03: 0.52, 0.1: 0.5, 0.3: 0.55, 1.0: 0.3}
    found = rates.search(lambda rate: [two_peaks[rate]], fine_tuning.RATES, fine_tuning.FIRST_RATES)
    assert rates.best_rate(found) == 0.3
    assert rates.best_rate({0.1: [1.0, 2.0], 0.03: [1.5, 1.5], 0.3: [0.0, 0.0]}) == 0.03


@pytest.mark.parametrize("name", each(["reptile", "fomaml", "leap"], ["reptile"]))
def test_meta_learning_leaves_the_head_at_zero(name):
    method = METHODS[name]
    params = with_head(random_start(0))
    optimizer = method.outer(jnp.float32(0.1), jnp.float32(10))
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    assert not any(leaf.any() for leaf in updates["params"].pop(HEAD).values())
    assert all((leaf < 0).all() for leaf in jax.tree.leaves(updates))


def test_a_probe_trains_the_head_alone():
    params = with_head(random_start(0))
    optimizer = starts.head_only(optax.sgd(1.0))
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    assert all((leaf == -1).all() for leaf in updates["params"].pop(HEAD).values())
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates))


def test_what_is_not_trained_belongs_to_each_budget():
    cells = [record("random", [0.1] * 3), record("random", [0.1] * 3, shots=5)]
    cells += [
        record(name, [right] * 3, budget=budget)
        for name, right, budget in (
            ("pretrain", 0.4, 100),
            ("reptile", 0.3, 100),
            ("pretrain", 0.6, 2_000),
            ("reptile", 0.7, 2_000),
        )
    ]
    found = results.by_budget(cells)
    assert list(found) == ["2000", "100"]
    for budget, lead, random in (("2000", 0.1, -0.5), ("100", -0.1, -0.3)):
        assert set(found[budget]["starts"]) == {"pretrain", "reptile", "random"}
        assert "5" not in found[budget]["starts"]["random"]  # of which no trained start is measured
        assert found[budget]["differences"]["reptile"]["100"]["200"]["mean"] == pytest.approx(lead)
        assert found[budget]["differences"]["random"]["100"]["200"]["mean"] == pytest.approx(random)


def test_a_rate_has_the_score_of_all_networks_that_tried_it():
    tried = {"0.01": [0.2, 0.4], "0.03": [0.5, 0.7]}, {"0.03": [0.8, 1.0], "0.1": [0.1, 0.1]}
    cells = [record("reptile", [0.1] * 3, seed=seed, rates={"200": one}) for seed, one in enumerate(tried)]
    cells.append(record("reptile", [0.1] * 3, shots=5, rates={"200": {"0.03": [0.0, 0.0]}}))
    found = results.summary(cells)["reptile"]
    assert found["100"]["200"]["tried"] == pytest.approx({"0.01": 0.3, "0.03": 0.75, "0.1": 0.1})
    assert found["5"]["200"]["tried"] == {"0.03": 0.0}


def test_a_random_start_is_measured_once_for_all_budgets(tmp_path):
    words = ["--budgets", "100", "2,000", "--seeds", "1", "--shots", "5", "--starts", "random", "reptile"]
    found = list(transfer.cells(transfer.parse_arguments(words)))
    assert [(cell.start, cell.budget) for cell in found] == [
        ("random", 0),
        ("reptile", 100),
        ("random", 0),
        ("reptile", 2_000),
    ]
    assert len({cell.path(tmp_path) for cell in found}) == 3


def test_a_body_is_kept_and_read_as_it_is():
    body = random_start(3)
    jax.tree.map(assert_array_equal, kept.unflat(kept.flat(body)), body)
    jax.tree.map(assert_array_equal, bare(with_head(body)), body)
    assert any(
        (left != right).any() for left, right in zip(*map(jax.tree.leaves, (body, random_start(4))), strict=True)
    )


def record(start, right, *, shots=100, seed=0, kinds=("people", "insects", "mixed"), **changes):
    budget = 0 if start == "random" else 1_000
    told = {
        "start": start,
        "budget": budget,
        "shots": shots,
        "seed": seed,
        "kinds": list(kinds),
        "spent": [],
        "seconds": 60.0,
    }
    told |= {"chosen": {"200": 0.03}, "rates": {"200": {"0.01": [0.4], "0.03": [0.5]}}}
    return told | {"test": {"200": [[value] for value in right]}} | changes


def test_differences_are_between_the_same_tasks_and_seeds():
    records = [
        record("pretrain", [0.1, 0.5, 0.9]),
        record("reptile", [0.2, 0.6, 1.0]),
        record("reptile", [0.0, 0.0, 0.0], seed=1),  # whose partner is not there yet
        record("pretrain", [0.1, 0.1, 0.1], shots=5),
    ]
    found = results.differences(records)
    expected = {"mean": 0.1, "half_width": pytest.approx(0, abs=1e-6), "tasks": 3, "of_seeds": [0.1]}
    assert found == {"reptile": {"100": {"200": expected}}}
    found = results.differences([*records, record("pretrain", [0.1, 0.1, 0.1], seed=1)])
    assert found["reptile"]["100"]["200"]["of_seeds"] == [0.1, -0.1]
    assert results.by_network(found["reptile"]["100"]["200"]) == "pairs of networks +10.0, -10.0"
    assert found["reptile"]["100"]["200"]["mean"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("other", [{"kinds": ["people", "x", "mixed"]}, {"test": {"200": [[0.1, 0.1]] * 3}}])
def test_a_difference_between_other_tasks_or_other_draws_is_refused(other):
    with pytest.raises(ValueError, match="reptile was tested on other tasks than pretrain"):
        results.differences([record("pretrain", [0.1] * 3), record("reptile", [0.1] * 3, **other)])


@pytest.mark.parametrize(
    ("mean", "half_width", "told"),
    [
        (0.02, 0.01, "Reptile is the better start"),
        (-0.02, 0.01, "pre-training is the better start"),
        (0.02, 0.03, "the two cannot be told apart"),
        (0.002, 0.001, "the two cannot be told apart"),
    ],
)
def test_the_verdict_needs_an_interval_without_zero_and_half_a_point(mean, half_width, told):
    assert results.verdict({"mean": mean, "half_width": half_width}) == told


def options_of(output):
    return Namespace(output=output, command="the command")


def test_the_table_has_the_endpoint_first_and_what_is_done(tmp_path):
    spent = {"method": "pretrain", "rate": 0.1, "trials": {"0.1": 0.5}, "meta_steps": 10, "gradients": 1_280}
    for name, right in (("pretrain", [0.5, 0.6, 0.7]), ("reptile", [0.61, 0.7, 0.79]), ("random", [0.3, 0.3, 0.3])):
        methods = [spent | {"seconds": 30.0}] if name == "pretrain" else []
        write_json(tmp_path / "cells" / "1000" / f"{name}-100-0.json", record(name, right, spent=methods))
    results.write(options_of(tmp_path))
    table = (tmp_path / "table.md").read_text()
    assert (
        "- 1,000 image gradients, 100 images a class: +10.0 ± 2.5 points, 3 tasks, one pair of networks: "
        "Reptile is the better start.\n" in table
    )
    assert "500 images" not in table
    assert "| Reptile | 1 | 70.0 ± 22.4 | +10.0 ± 2.5 | 65.5 | 0.03 |" in table
    assert "| 60-way pre-training | 1,280 | 10 | 30 | 0.1 | 0.1: 50.0 |" in table
    told = json.loads((tmp_path / "results.json").read_text())
    minutes, answer = results.row(told)
    assert minutes == pytest.approx((3 * 60 + 30) / 60 / 2)
    assert (
        "+10.0 ± 2.5 points with 100 images a class after 1,000 image gradients each (Reptile is the better start)"
        in answer
    )
    assert [path.name for path in tmp_path.glob("*.png")] == ["rates.png"]


def test_trials_go_beyond_the_rates_of_a_method_where_the_best_is_at_their_edge_and_are_kept(tmp_path, monkeypatch):
    scores, made = {0.01: 0.3, 0.03: 0.4, 0.1: 0.5, 0.3: 0.45}, []

    def trial(work, method, rate, gradients):
        made.append((method, rate, gradients))
        return scores[rate]

    monkeypatch.setattr(kept, "trial", trial)
    work = kept.Work(Namespace(output=tmp_path), None, {}, None)
    expected = 0.1, {"0.01": 0.3, "0.03": 0.4, "0.1": 0.5, "0.3": 0.45}
    assert kept.chosen_rate(work, "reptile-8", 1_000) == expected
    assert made == [("reptile-8", rate, 100.0) for rate in (0.01, 0.03, 0.1, 0.3)]
    assert kept.chosen_rate(work, "reptile-8", 1_000) == expected
    assert len(made) == 4


def test_a_figure_is_drawn_where_there_is_more_than_one_number_to_draw_it_against(tmp_path):
    for budget in (1_000, 50):
        for name, right in (("pretrain", [0.3, 0.5, 0.4]), ("reptile", [0.4, 0.6, 0.5])):
            for shots in (5, 100):
                told = record(name, right, shots=shots, budget=budget)
                for part in ("test", "rates", "chosen"):
                    told[part]["10"] = told[part]["200"]
                write_json(tmp_path / "cells" / str(budget) / f"{name}-{shots}-0.json", told)
    results.write(options_of(tmp_path))
    assert {path.stem for path in tmp_path.glob("*.png")} == {"rates", "shots", "differences", "steps", "budgets"}
    content = json.loads((tmp_path / "results.json").read_text())
    largest = content["budgets"]["1000"]
    for figure, across in ((figures.draw_shots(largest), [5, 100]), (figures.draw_steps(largest), [10, 200])):
        for panel in figure.axes:
            assert [list(line.get_xdata()) for line in panel.lines] == [across, across]
    for panel in figures.draw_differences(largest).axes:
        line = panel.containers[0].lines[0]
        assert list(line.get_xdata()) == [5, 100]
        assert_allclose(np.asarray(line.get_ydata(), float), 10)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("cells/*/*.json")]
    drawn = figures.draw_budgets(differences.gaps_by_budget(records), title="the gap").axes[0]
    assert [list(line.lines[0].get_xdata()) for line in drawn.containers] == [[50, 1_000]] * 2


def test_budgets_are_compared_by_the_networks_that_all_of_them_have():
    seeds = [(0, 50, 0.4), (0, 1_000, 0.5), (1, 1_000, 0.9), (2, 50, 0.8)]
    pairs = [
        [
            record("reptile", [right] * 3, seed=seed, budget=budget),
            record("pretrain", [0.3] * 3, seed=seed, budget=budget),
        ]
        for seed, budget, right in seeds
    ]
    alone = [record("reptile", [0.9] * 3, seed=0, budget=200), record("reptile", [0.9] * 3, seed=0, budget=50, shots=5)]
    found = differences.gaps_by_budget([*chain(*pairs), *alone])
    assert list(found) == ["100"]
    assert {budget: one["mean"] for budget, one in found["100"].items()} == pytest.approx({"50": 0.1, "1000": 0.2})
    apart = differences.gaps_by_budget([*pairs[0], *pairs[2]])
    assert apart == {}


def test_no_two_starts_look_alike_in_a_figure():
    looks = [tuple(figures.look(place).values()) for place in range(len(starts.STARTS))]
    assert len(set(looks)) == len(looks)


def test_without_the_two_starts_there_is_no_endpoint(tmp_path):
    write_json(tmp_path / "cells" / "0" / "random-100-0.json", record("random", [0.3, 0.3, 0.3]))
    results.write(options_of(tmp_path))
    assert "Not measured." in (tmp_path / "table.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("single_precision")
def test_a_run_is_whole_and_a_second_call_only_writes(tmp_path, monkeypatch, capsys):
    """A tiny one on coloured noise, where each class has its own mean colour."""
    generator = np.random.default_rng(0)

    def noise(names):
        colours = generator.integers(40, 216, (len(names), 1, 1, 1, 3))
        images = np.clip(colours + generator.normal(0, 20, (len(names), 160, 32, 32, 3)), 0, 255).astype(np.uint8)
        return ClassImages(images, np.full(len(names), 160, np.int32), tuple(names))

    splits = Splits(noise([str(name) for name in range(60)]), noise(ALL[:20]), noise(ALL[20:]))
    monkeypatch.setattr(jax_meta.datasets, "load_cifar100", lambda folder, *, split: splits)
    monkeypatch.setattr(fine_tuning, "TRAINING", 150)
    monkeypatch.setattr(fine_tuning, "EVERY", 160)
    monkeypatch.setattr(fine_tuning, "CHUNK", 50)
    monkeypatch.setattr(starts, "PART", 1)
    for part in fine_tuning.SPARE:
        monkeypatch.setitem(fine_tuning.SPARE, part, 0)
    monkeypatch.setattr(kept, "TRIAL_SHOTS", 5)
    monkeypatch.setattr(kept, "TRIAL_STEPS", 2)
    words = ["--budgets", "1", "--seeds", "1", "--shots", "5", "--steps", "2", "--validation-tasks", "1"]
    words += ["--test-tasks", "5", "--output", str(tmp_path)]
    words += ["--starts", "random", "pretrain", "pretrain-averaged", "pretrain-probe"]
    transfer.main(words)
    told = json.loads((tmp_path / "results.json").read_text())["budgets"]["1"]
    assert set(told["starts"]) == {"random", "pretrain", "pretrain-averaged", "pretrain-probe"}
    assert told["starts"]["pretrain"]["methods"][0]["gradients"] == METHODS["pretrain"].cost
    assert told["starts"]["random"]["methods"] == []
    assert told["starts"]["pretrain"]["5"]["2"]["tasks"] == 5
    before = (tmp_path / "table.md").read_text()
    monkeypatch.setattr(transfer, "measured", None)  # nothing is measured any more
    transfer.main(words)
    assert (tmp_path / "table.md").read_text() == before
    assert "Pre-training, averaged" in capsys.readouterr().out
