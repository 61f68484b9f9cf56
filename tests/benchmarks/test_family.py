"""The table of all learners: its budget, its intervals, what is left out, and the command as a user meets it."""

import json
import os
import re
from argparse import Namespace
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import jax_meta
from benchmarks.family import __main__ as family
from benchmarks.family import images, measure, optimizers, results, sines
from benchmarks.family.entries import PROBLEMS, TRIED, multi_step_weights
from benchmarks.family.learners import classifiers, for_values
from benchmarks.harness.processes import start
from benchmarks.harness.results import estimated
from jax_meta.datasets import ClassImages
from tests.learners import LEARNERS

RESULTS = Path(family.__file__).parents[1] / "results" / "family"
OF_NO_CLASSES = {"carried_reptile", "meta_optimizer"}  # the one is Reptile, the other any of its users


def test_every_learner_has_a_row_somewhere():
    told = set(family.LEARNERS) | OF_NO_CLASSES
    assert {name for name in jax_meta.__all__ if name in LEARNERS} - told == set()
    assert len(LEARNERS) > 15


@pytest.mark.parametrize("problem", ["omniglot-5way-1shot", "omniglot-20way-1shot", "cifar_fs-5way-5shot"])
def test_the_papers_step_size_is_tried_first_and_beside_it_a_smaller_and_a_larger(problem):
    entries = classifiers(PROBLEMS[problem])
    for entry in entries.values():
        first, *others = entry.trials
        assert len(others) == 2
        if entry.rate:
            assert first[0] == entry.rate
            assert sorted(rate / entry.rate for rate, _ in entry.trials) == pytest.approx(sorted(TRIED))
        else:
            assert len({outer for _, outer in entry.trials}) == 3
    curvature = {"omniglot-5way-1shot": 2.0, "omniglot-20way-1shot": 8.0}  # 0.4, of a loss that is summed over classes
    assert entries["meta_curvature"].rate == pytest.approx(curvature.get(problem, 0.05))


def test_prototypes_say_nothing_about_sines():
    assert not {"protonet", "proto_maml"} & for_values().keys()
    assert {"protonet", "proto_maml"} <= classifiers(PROBLEMS["omniglot-5way-1shot"]).keys()


def fake_cell(monkeypatch, losses, seconds_a_part):
    """A cell whose parts take so many seconds of a clock of its own; what it was asked for."""
    clock, asked = [0.0], []
    monkeypatch.setattr(images.time, "process_time", lambda: clock[0])

    def advance(state, sampler, rate, outer_rate, weights):
        clock[0] += seconds_a_part
        asked.append((rate, outer_rate, weights))
        return state._replace(step=state.step + images.PART), {"loss": np.full(images.PART, losses[len(asked) - 1])}

    start = jax_meta.TrainState(np.zeros(()), (), None, 0)
    return images.Cell(lambda: start, advance, None, {"train": None}, 0.0, 0), asked


def test_a_budget_of_seconds_is_spent_whole_and_the_outer_rate_falls_with_it(monkeypatch):
    cell, asked = fake_cell(monkeypatch, [1.0] * 9, 2.0)
    _, meta_steps, spent = images.train(cell, 0.5, 0.1, 8.0)
    assert (meta_steps, spent) == (4 * images.PART, 8.0)
    assert [outer for _, outer, _ in asked] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert_allclose(asked[0][2], multi_step_weights(0.0))


def test_a_trial_that_diverges_ends_at_once(monkeypatch):
    cell, asked = fake_cell(monkeypatch, [1.0, np.nan, 1.0, 1.0], 2.0)
    images.train(cell, 0.5, 0.1, 8.0)
    assert len(asked) == 2


def test_the_losses_of_all_steps_count_alike_at_first_and_the_last_alone_after_a_tenth():
    assert_allclose(multi_step_weights(0.0), np.full(5, 0.2))
    assert_allclose(multi_step_weights(0.05), [0.1, 0.1, 0.1, 0.1, 0.6])
    assert_allclose(multi_step_weights(0.1), [0, 0, 0, 0, 1])


def test_a_difference_is_between_the_same_tasks():
    """Two learners whose accuracies vary alike differ by a certain amount, though each is uncertain."""
    first = np.array([0, 1, 2, 3, 4, 3])
    other = {"inductive": (first + 1).tolist()}
    found = results.difference(other, {"inductive": first.tolist()}, 5)["inductive"]
    assert found == {"mean": pytest.approx(0.2), "half_width": pytest.approx(0, abs=1e-9)}


def test_an_error_that_overflows_diverges_and_another_has_both_intervals():
    errors = np.array([[1.0, 3.0], [3.0, 5.0], [2.0, 7.0]])
    told = sines.describe(errors)
    by_hand = jax_meta.estimate(np.array([2.0, 4.0, 4.5]))
    assert told["mean"] == pytest.approx(3.5)
    assert told["half_width_over_seeds"] == pytest.approx(float(by_hand.half_width), rel=1e-3)
    assert sines.describe(np.array([[1.0, np.inf], [1.0, 2.0]])) is None
    assert results.error_cell(None) == "diverges"


def record(label, right, **changes):
    values = np.array(right) / 5
    accuracy = {kind: estimated(values) for kind in ("inductive", "transductive")}
    told = {"problem": "omniglot-5way-1shot", "label": label, "rate": 0.1, "outer_rate": 1e-3, "accuracy": accuracy}
    told |= {"meta_steps": 10, "tasks": 4, "milliseconds_a_meta_step": 1.5, "temporary_mebibytes": 2.0, "steps": 1}
    told |= {"meta_parameters": 7, "test_steps": 1, "right": dict.fromkeys(accuracy, right), "budget_seconds": 60.0}
    return told | {"seconds": {"train": 60.0}, "trials": []} | changes


def put(folder, problem, learner, told):
    """A cell that is there."""
    path = family.path_of(folder, problem, learner)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"learner": learner, **told}))


def found(folder, problem):
    """The cells of a problem that are there."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "cells" / problem).glob("*.json")}


def test_the_table_has_what_is_done_best_first_and_says_what_failed(tmp_path):
    put(tmp_path, "omniglot-5way-1shot", "maml", record("MAML", [1, 2, 3]))
    put(tmp_path, "omniglot-5way-1shot", "protonet", record("ProtoNet", [3, 4, 5]))
    put(tmp_path, "omniglot-5way-1shot", "anil", {"failed": "why"})
    results.write(Namespace(output=tmp_path, command="the command", seconds=60.0))
    lines = (tmp_path / "table.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith(("| MAML", "| ProtoNet"))]
    assert [row.split(" | ")[0] for row in rows] == ["| ProtoNet", "| MAML"]
    assert rows[0].split(" | ")[3:5] == ["+40.0 ± 0.0", "98.8"]
    assert "- anil, omniglot-5way-1shot: why" in lines
    told = json.loads((tmp_path / "results.json").read_text())
    assert "right" not in told["problems"]["omniglot-5way-1shot"]["maml"]
    assert "ProtoNet 80.0%" in results.row(told)[1]


def test_a_problem_of_which_nothing_came_says_so_and_has_no_table(tmp_path):
    for problem in ("sines-5", "omniglot-5way-1shot", "inner-steps"):
        put(tmp_path, problem, "maml", {"failed": "no memory"})
    results.write(Namespace(output=tmp_path, command="the command", seconds=60.0))
    told = (tmp_path / "table.md").read_text()
    assert told.count("no memory") == 3
    assert "|" not in told


def test_the_learned_optimizer_is_told_after_some_steps_and_drawn(tmp_path):
    curve = {"mean": [float(300 - step) for step in range(201)], "half_width": [0.1] * 201}
    told = {"label": "LSTM optimizer", "curves": {"LSTM": curve, "SGD, 0.1": curve}, "with_relu": curve, "rates": [0.1]}
    put(tmp_path, "quadratics", "lstm_optimizer", told | {"meta_steps": 7, "tasks": 2})
    results.write(Namespace(output=tmp_path, command="the command", seconds=60.0))
    lines = (tmp_path / "table.md").read_text().splitlines()
    for label in ("LSTM", "SGD, 0.1", "LSTM, on ReLU"):
        assert f"| {label} | 2.8e+02 | 2.5e+02 | 2e+02 | 1e+02 |" in lines
    assert "curves" not in (tmp_path / "results.json").read_text()
    assert (tmp_path / "learned_optimizer.png").read_bytes().startswith(b"\x89PNG")


def test_small_images_are_means_of_blocks():
    pixels = np.arange(14 * 14, dtype=np.uint8).reshape(1, 1, 14, 14, 1)
    found = optimizers.small(ClassImages(np.repeat(pixels, 20, axis=1), np.array([20]), ("a",))).images
    assert found.shape == (1, 20, 7, 7, 1)
    assert found[0, 0, 0, 1, 0] == int(pixels[0, 0, :2, 2:4].mean())


def test_the_curve_of_gradient_descent_on_a_quadratic_is_the_closed_form():
    """θ ← θ - 2 α Wᵀ(W θ - y)."""
    functions = optimizers.quadratics(None)._replace(draw=lambda key: jnp.full(10, 0.5))
    tasks, rate = functions.test(jax.random.key(0), 2), 1e-3
    curves = optimizers.curve_of(functions, optax.sgd, rate, tasks)
    assert curves.shape == (2, optimizers.LONGER + 1)
    for (matrix, target), curve in zip(zip(*tasks.support, strict=True), curves, strict=True):
        matrix, target, point = np.asarray(matrix), np.asarray(target), np.full(10, 0.5)
        for step in range(4):
            assert_allclose(curve[step], ((matrix @ point - target) ** 2).sum(), rtol=1e-5)
            point = point - 2 * rate * matrix.T @ (matrix @ point - target)


def test_a_cell_goes_where_its_problem_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(sines, "run", lambda *given: ("sines", *given))
    monkeypatch.setattr(images, "run", lambda *given: ("images", *given))
    monkeypatch.setattr(images, "memory", lambda *given: ("memory", *given))
    monkeypatch.setattr(optimizers, "run", lambda *given: ("optimizers", *given))
    cell = partial(measure.cell, tmp_path, 2.0)
    assert cell("sines-5", "maml") == ("sines", "sines-5", "maml")
    assert cell("omniglot-5way-1shot", "anil") == ("images", "omniglot-5way-1shot", "anil", tmp_path, 2.0)
    assert cell("inner-steps", "imaml") == ("memory", "imaml", tmp_path)
    assert cell("quadratics", "lstm_optimizer") == ("optimizers", "quadratics", tmp_path)


def test_more_jobs_than_cores_are_refused_before_any_work(tmp_path, capsys):
    with pytest.raises(SystemExit):
        family.main(["--jobs", "100000", "--output", str(tmp_path / "out")])
    assert "cores" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_help_tells_the_minutes_that_the_committed_cells_took():
    minutes = float(re.search(r"(\d+) minutes on two CPU cores", family.__doc__)[1])
    told = json.loads((RESULTS / "results.json").read_text())
    assert results.row(told)[0] == pytest.approx(minutes, rel=0.1)


def test_cells_of_another_budget_are_refused_before_any_work(tmp_path, capsys):
    put(tmp_path, "omniglot-5way-1shot", "maml", record("MAML", [1, 2, 3]))
    put(tmp_path, "omniglot-5way-1shot", "anil", {"failed": "which has no budget"})
    put(tmp_path, "sines-5", "maml", {"problem": "sines-5"})  # nor has this
    chosen = ["--problems", "sines-5", "--output", str(tmp_path)]
    with pytest.raises(SystemExit):
        family.parse_arguments([*chosen, "--seconds", "75"])
    told = capsys.readouterr().err
    assert "75 s" in told
    assert f"trained for 60 s: give --seconds 60, or another --output than {tmp_path}" in told
    assert family.parse_arguments([*chosen, "--seconds", "60"]).seconds == 60


def test_the_committed_cells_of_images_have_the_budget_that_the_table_tells():
    told = json.loads((RESULTS / "results.json").read_text())
    budgets = {record["budget_seconds"] for name in PROBLEMS for record in found(RESULTS, name).values()}
    assert budgets == {told["seconds_to_train"]}


def test_a_cell_that_failed_is_done_again_and_one_that_is_done_is_not(tmp_path, monkeypatch):
    put(tmp_path, "inner-steps", "anil", {"failed": "no memory"})
    put(tmp_path, "inner-steps", "maml", {"label": "MAML", "mebibytes_by_steps": {"5": 1.0}})
    monkeypatch.setattr(family, "work", lambda cells, *others: asked.extend(cells))
    asked: list[tuple[str, str]] = []
    family.main(["--problems", "inner-steps", "--learners", "maml", "anil", "imaml", "--output", str(tmp_path)])
    assert asked == [("inner-steps", "anil"), ("inner-steps", "imaml")]
    assert "- anil, inner-steps: no memory" in (tmp_path / "table.md").read_text()


def test_a_process_that_ends_takes_one_cell_with_it_and_the_others_go_on(tmp_path, monkeypatch):
    def start_other(function, *given, **options):
        return start("tests.benchmarks.served:serve_cells", *given, **options)

    monkeypatch.setattr(family, "start", start_other)
    monkeypatch.setattr(family, "write", lambda options: None)
    options = Namespace(output=tmp_path, data=tmp_path, seconds=1.0, jobs=1)
    learners = ["maml", "fomaml", "anil", "imaml", "reptile"]
    family.work([("inner-steps", learner) for learner in learners], options, lambda *part: nullcontext(), [])
    told = found(tmp_path, "inner-steps")
    assert told.keys() == set(learners)
    assert told["fomaml"]["failed"] == "failed: ValueError: no such thing"
    assert told["anil"]["failed"] == "failed: exit code 7. out of everything"
    assert told["imaml"]["process"] == told["reptile"]["process"] != told["maml"]["process"]


@pytest.mark.slow
def test_a_cell_is_measured_once_and_a_second_call_only_writes(tmp_path, monkeypatch, capsys):
    chosen = ["--problems", "inner-steps", "--learners", "anil", "imaml", "--output", str(tmp_path), "--jobs", "1"]
    if "JAX_META_DATA" not in os.environ:
        pytest.skip("set JAX_META_DATA to the folder that has omniglot/images_background.zip to test the real data")
    family.main(chosen)
    cells = sorted(path.stem for path in (tmp_path / "cells" / "inner-steps").iterdir())
    assert cells == ["anil", "imaml"]
    told = json.loads((tmp_path / "results.json").read_text())["problems"]["inner-steps"]
    few, many = (told["imaml"]["mebibytes_by_steps"][steps] for steps in ("5", "100"))
    assert many < 1.1 * few  # it keeps nothing of the way
    assert "| iMAML |" in capsys.readouterr().out
    monkeypatch.setattr(family, "start", None)  # no process is needed any more
    family.main(chosen)
