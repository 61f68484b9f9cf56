"""The image benchmarks: protocols as published, runs that resume bit for bit, results that a program can read."""

import json
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from benchmarks.few_shot import __main__ as few_shot
from benchmarks.few_shot import experiment as training
from benchmarks.few_shot import results
from benchmarks.few_shot.experiment import make_experiment, make_outer
from benchmarks.few_shot.protocol import make_protocol
from jax_meta.datasets import ClassImages, Splits
from tests.tiers import each

SMALL = ["--model", "dense", "--tasks", "2", "--test-tasks", "6"]


def synthetic(seed, classes=8, examples=16):
    """Classes that differ in the mean of their pixels."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 50, (classes, examples, 6, 6, 1)) + generator.integers(0, 200, (classes, 1, 6, 6, 1))
    names = tuple(f"{seed}-{index}" for index in range(classes))
    return ClassImages(images.astype(np.uint8), np.full(classes, examples, np.int32), names)


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    monkeypatch.setattr(few_shot, "load", lambda *args, **options: Splits(*map(synthetic, range(3))))
    monkeypatch.setattr(training, "VALIDATIONS", 3)
    monkeypatch.setattr(training, "PART", 2)


@pytest.mark.parametrize(
    ("dataset", "name", "ways", "shots", "expected"),
    [
        ("omniglot", "maml", 5, 1, {"inner_learning_rate": 2.0, "inner_steps": 1, "tasks": 32, "queries": 1}),
        ("omniglot", "maml", 20, 5, {"inner_learning_rate": 2.0, "inner_steps": 5, "tasks": 16, "queries": 5}),
        ("miniimagenet", "maml", 5, 1, {"inner_learning_rate": 0.05, "clip": 2.0, "tasks": 4, "queries": 15}),
        ("miniimagenet", "maml", 5, 5, {"tasks": 2, "size": 84, "filters": 32, "downsample": "pool"}),
        ("omniglot", "reptile", 5, 1, {"inner_steps": 5, "inner_batch": 10, "train_shots": 10, "steps": 100_000}),
        ("omniglot", "reptile", 20, 1, {"inner_steps": 10, "inner_batch": 20, "steps": 200_000, "tasks": 5}),
        ("miniimagenet", "reptile", 5, 5, {"inner_steps": 8, "inner_batch": 10, "train_shots": 15, "test_steps": 50}),
        ("cifar_fs", "maml", 5, 5, {"split": "cifar_fs", "size": 32, "inner_learning_rate": 0.05}),
    ],
)
def test_protocols_are_the_papers(dataset, name, ways, shots, expected):
    protocol = make_protocol(dataset, name, algorithm=name, ways=ways, shots=shots)._asdict()
    assert expected.items() <= protocol.items()


def test_reptile_interpolates_by_a_step_that_falls_to_zero():
    protocol = make_protocol("omniglot", "reptile", algorithm="reptile", ways=5, shots=1)._replace(steps=4)
    optimizer = make_outer(protocol, "reptile")
    one, taken = jax_meta.ReptileParams(jnp.ones(()), ()), []
    state = optimizer.init(one)
    for _ in range(5):
        update, state = optimizer.update(one, state, one)
        taken.append(-float(update.params))
    np.testing.assert_allclose(taken, [1, 0.75, 0.5, 0.25, 0])


def test_the_clip_is_before_adam():
    optimizer = make_outer(make_protocol("miniimagenet", "maml", algorithm="maml", ways=5, shots=1), "maml")
    slopes = jnp.array([2.0, 1.0]), jnp.array([200.0, 1.0])
    states = []
    for slope in slopes:
        states.append(optimizer.update(slope, optimizer.init(slope))[1])
    jax.tree.map(np.testing.assert_array_equal, *states)
    adam = optax.adam(1e-3)
    _, expected = adam.update(slopes[0], adam.init(slopes[0]))
    jax.tree.map(np.testing.assert_array_equal, states[0][1], expected)


@pytest.fixture
def untrained(monkeypatch):
    """Instead of training, records of six meta-steps; instead of a test, an accuracy of one half."""

    def train(experiment, state, folder, settings, begin):
        (folder / "times.jsonl").write_text('{"step": 6, "seconds": 90.0}\n')
        return state, [{"step": step, "accuracy": 0.5, "val_accuracy": 0.25} for step in (2, 4, 6)]

    accuracies = {kind: np.full((6, 11), 0.5) for kind in ("transductive", "inductive")}
    monkeypatch.setattr(few_shot, "train", train)
    monkeypatch.setattr(few_shot, "test", lambda experiment, params, begin: accuracies)


def test_results_tell_what_was_measured(untrained, tmp_path, capsys):
    few_shot.main(["omniglot", *SMALL, "--steps", "6", "--output", str(tmp_path)])
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["command"].startswith("python -m benchmarks.few_shot omniglot --model dense --tasks 2")
    assert content["protocol"]["model"] == "dense"
    assert content["seconds"]["training"] == 90.0
    for accuracy in content["test_accuracy_after_inner_steps"].values():
        assert accuracy == {"mean": [0.5] * 11, "half_width": [0.0] * 11, "tasks": 6}
    table = (tmp_path / "table.md").read_text()
    assert table == results.table(content)
    told = capsys.readouterr().out
    assert table in told
    assert "| maml, maml, dense | omniglot 5-way 1-shot | 3 | 50.00 ± 0.00 | 89.7 ± 1.1 |" in table
    assert "steps 6," in told
    assert f"{tmp_path} holds benchmark.log, curves.png, results.json, table.md, times.jsonl." in told
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from the newest checkpoint in {}\n"),
        (ValueError("{} holds another run"), "{} holds another run\nThe folder is --output.", ""),
        (FloatingPointError("NaN"), "NaN\nthe same command goes on from the newest checkpoint in {}", ""),
    ],
)
def test_a_run_that_ends_early_says_what_to_do(tmp_path, monkeypatch, capsys, error, code, told):
    def train(*inputs):
        raise type(error)(str(error).format(tmp_path))

    monkeypatch.setattr(few_shot, "train", train)
    with pytest.raises(SystemExit) as stopped:
        few_shot.main(["omniglot", *SMALL, "--output", str(tmp_path)])
    assert stopped.value.code == (code.format(tmp_path) if isinstance(code, str) else code)
    assert capsys.readouterr().out.endswith(told.format(tmp_path))


def test_all_but_the_test_tasks_makes_a_run():
    def settings(*words):
        options = few_shot.parse_arguments(["omniglot", *words])
        return few_shot.run_settings(options, few_shot.choose_protocol(options))

    assert settings("--test-tasks", "7") == settings()
    for words in ("--ways 3", "--steps 2", "--seed 1", "--augment", "--algorithm fomaml", "--tasks 5"):
        assert settings(*words.split()) != settings()


@pytest.mark.slow
def test_a_run_writes_its_results(tmp_path, capsys):
    few_shot.main(["omniglot", *SMALL, "--steps", "6", "--output", str(tmp_path)])
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["protocol"]["model"] == "dense"
    records = jax_meta.read_records(tmp_path)
    assert [record["step"] for record in records if "val_accuracy" in record] == [2, 4, 6]
    assert content["seconds"]["training"] == pytest.approx(
        jax_meta.read_records(tmp_path / "times.jsonl")[-1]["seconds"], rel=1e-3
    )
    for kind in ("transductive", "inductive"):
        accuracy = content["test_accuracy_after_inner_steps"][kind]
        assert len(accuracy["mean"]) == len(accuracy["half_width"]) == 11
        assert accuracy["tasks"] == 6
    table = (tmp_path / "table.md").read_text()
    told = capsys.readouterr().out
    assert table in told
    assert "steps 6," in told
    assert "maml on omniglot: finished, 6 in " in told
    assert "test tasks: finished, 6 in " in told
    assert "| maml, maml, dense | omniglot 5-way 1-shot | 3 |" in table
    assert "89.7 ± 1.1" in table
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, capsys):
    arguments = [*SMALL, "--algorithm", "reptile", "--steps", "6", "--output"]
    finished = []

    def keep(experiment, params, begin):
        finished.append(params)
        return {kind: np.zeros((6, 51)) for kind in ("transductive", "inductive")}

    def stop_at_the_third_part(experiment, make_validation=training.make_validation):
        validations = []

        def validate(params):
            validations.append(params)
            if len(validations) == 3:
                raise KeyboardInterrupt
            return make_validation(experiment)(params)

        return validate

    monkeypatch.setattr(few_shot, "test", keep)
    few_shot.main(["omniglot", *arguments, str(tmp_path / "whole")])
    with monkeypatch.context() as patch:
        patch.setattr(training, "make_validation", stop_at_the_third_part)
        with pytest.raises(SystemExit) as stopped:
            few_shot.main(["omniglot", *arguments, str(tmp_path / "parts")])
    assert stopped.value.code == 130
    few_shot.main(["omniglot", *arguments, str(tmp_path / "parts")])
    assert "goes on at meta-step 4" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, *finished)
    whole, parts = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.slow
def test_another_run_in_the_same_folder_is_refused(tmp_path):
    arguments = [*SMALL, "--steps", "2", "--output", str(tmp_path)]
    few_shot.main(["omniglot", *arguments])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(SystemExit, match=r"holds another run: .*settings\.protocol\.ways is 5 there and 3 here"):
        few_shot.main(["omniglot", *arguments, "--ways", "3"])
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_missing_data_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(SystemExit, match=r"images_background.zip.*\nThe folder is --data, and --download"):
        few_shot.main(["omniglot", "--data", str(tmp_path), "--output", str(tmp_path / "results")])


@pytest.mark.parametrize("algorithm", each(["maml", "fomaml", "reptile", "transfer"], ["reptile"]))
def test_every_algorithm_gets_its_tasks(algorithm):
    protocol = make_protocol("omniglot", "maml", algorithm="maml", ways=5, shots=2)._replace(model="dense")
    experiment = make_experiment(protocol, algorithm, Splits(*map(synthetic, range(3))), jax.random.key(0))
    task = experiment.samplers["test"](jax.random.key(1), 3)
    assert task.support[0].shape[:2] == (3, 10)
    assert experiment.learner.init(experiment.params) is experiment.params


def content(algorithm="maml", name="maml", **changes):
    """What results.json holds of a run whose accuracy is one half."""
    protocol = make_protocol("omniglot", name, algorithm=algorithm, ways=5, shots=1)._replace(**changes)
    accuracies = results.describe(np.full((4, 51), 0.5))
    return {
        "algorithm": algorithm,
        "protocol": protocol._asdict(),
        "seconds": {"training": 90.0, "test": 3.0},
        "test_accuracy_after_inner_steps": dict.fromkeys(("transductive", "inductive"), accuracies),
    }


def test_published_figures_stand_beside_the_step_they_are_of():
    lines = results.table(content("reptile", "reptile")).splitlines()
    assert [line.count("97.68") for line in lines] == [0] * (len(lines) - 1) + [1]
    assert "95.39" in lines[-1]
    assert "Cut" not in lines[0]
    assert "| Published |" in lines[2]


def test_a_run_that_was_cut_says_so_beside_the_published_figures():
    told, _, header, *_ = results.table(content(steps=20)).splitlines()
    assert told == (
        "Trained for 20 meta-steps of 32 tasks, in 1.5 min. Cut: the protocol has 60,000 meta-steps of 32 tasks. "
        "The papers' full budget is 60,000 meta-steps of 32 tasks."
    )
    assert header.count("| Published, of whole runs |") == 2
    told, *_ = results.table(content("reptile", "cpu")).splitlines()
    assert told == (
        "Trained for 9,000 meta-steps of 5 tasks, in 1.5 min. The papers' full budget is 100,000 meta-steps of 5 tasks."
    )


@pytest.mark.parametrize("steps", [1, 20])
def test_the_curves_of_a_short_run_can_be_seen(steps):
    records = [{"step": step, "accuracy": 0.5, "val_accuracy": 0.25} for step in range(1, steps + 1)]
    left, right = results.draw(content(), records).axes
    assert [list(line.get_ydata()) for line in left.lines] == [[50] * steps, [25] * steps]
    assert {line.get_marker() for line in left.lines} == ({"o"} if steps == 1 else {""})
    assert [len(line.get_xdata()) for line in right.lines] == [51, 51]


def test_curves_are_drawn_where_nothing_finite_was_recorded():
    left, _ = results.draw(content(), [{"step": 1, "accuracy": None}]).axes
    assert not left.lines


@pytest.mark.parametrize("steps", [1, 3, 20, 60])
def test_short_runs_are_validated_more_than_once(steps, monkeypatch):
    """With the part and validations of a real run: every so many meta-steps, at most 50 a call."""
    monkeypatch.undo()
    seen = {}
    monkeypatch.setattr(jax_meta, "train", lambda *args, **options: seen.update(options))
    monkeypatch.setattr(training, "make_validation", lambda experiment: None)
    experiment = make_experiment(
        make_protocol("omniglot", "maml", algorithm="maml", ways=5, shots=1)._replace(model="dense", steps=steps),
        "maml",
        Splits(*map(synthetic, range(3))),
        jax.random.key(0),
    )
    training.train(experiment, None, None, {}, lambda name, total: nullcontext(lambda *told: None))
    assert seen["validate_every"] == max(1, min(50, steps // 4))
    assert seen["validate_every"] % seen["record_every"] == 0
    assert seen["num_meta_steps"] == steps


def test_help_tells_the_full_budget(capsys):
    with pytest.raises(SystemExit):
        few_shot.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "The papers' full budget is 60,000 meta-steps of MAML and 100,000 of Reptile" in told
    assert make_protocol("omniglot", "maml", algorithm="maml", ways=5, shots=1).steps == 60_000
    assert make_protocol("omniglot", "reptile", algorithm="reptile", ways=5, shots=1).steps == 100_000
    assert "about 3.5 and 2 hours on Omniglot" in told


def test_the_dataset_is_the_first_argument_and_a_split_is_omniglot_s(capsys):
    options = few_shot.parse_arguments(["fc100", "--shots", "5"])
    protocol = few_shot.choose_protocol(options)
    assert (protocol.dataset, protocol.split, protocol.shots, protocol.steps) == ("fc100", "fc100", 5, 60_000)
    assert few_shot.choose_protocol(few_shot.parse_arguments(["omniglot", "--split", "vinyals"])).split == "vinyals"
    for wrong in (["cifar_fs", "--split", "maml"], ["mnist"], []):
        with pytest.raises(SystemExit, match="2"):
            few_shot.main(wrong)
    assert "--split is of omniglot; cifar_fs has one split" in capsys.readouterr().err
