"""The image benchmarks: protocols as published, runs that resume bit for bit, results that a program can read."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from benchmarks.few_shot import command, results, training
from benchmarks.few_shot.experiment import make_experiment, make_outer
from benchmarks.few_shot.protocol import make_protocol
from jax_meta.datasets import ClassImages, Splits

SMALL = ["--model", "dense", "--tasks", "2", "--test-tasks", "6"]


def synthetic(seed, classes=8, examples=16):
    """Classes that differ in the mean of their pixels."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 50, (classes, examples, 6, 6, 1)) + generator.integers(0, 200, (classes, 1, 6, 6, 1))
    names = tuple(f"{seed}-{index}" for index in range(classes))
    return ClassImages(images.astype(np.uint8), np.full(classes, examples, np.int32), names)


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    monkeypatch.setattr(command, "load", lambda *args, **options: Splits(*map(synthetic, range(3))))
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


def test_a_run_writes_its_results(tmp_path, capsys):
    command.main(["omniglot"], [*SMALL, "--steps", "6", "--output", str(tmp_path)])
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
    assert table in capsys.readouterr().out
    assert "| maml, maml, dense | omniglot 5-way 1-shot | 3 |" in table
    assert "89.7 ± 1.1" in table
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, capsys):
    arguments = [*SMALL, "--algorithm", "reptile", "--steps", "6", "--output"]
    finished = []

    def keep(experiment, params):
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

    monkeypatch.setattr(command, "test", keep)
    command.main(["omniglot"], [*arguments, str(tmp_path / "whole")])
    with monkeypatch.context() as patch:
        patch.setattr(training, "make_validation", stop_at_the_third_part)
        with pytest.raises(SystemExit) as stopped:
            command.main(["omniglot"], [*arguments, str(tmp_path / "parts")])
    assert stopped.value.code == 130
    command.main(["omniglot"], [*arguments, str(tmp_path / "parts")])
    assert "goes on at meta-step 4" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, *finished)
    whole, parts = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    arguments = [*SMALL, "--steps", "2", "--output", str(tmp_path)]
    command.main(["omniglot"], arguments)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(SystemExit, match=r"holds another run: .*settings\.protocol\.ways is 5 there and 3 here"):
        command.main(["omniglot"], [*arguments, "--ways", "3"])
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_missing_data_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(SystemExit, match=r"images_background.zip.*\nThe folder is --data, and --download"):
        command.main(["omniglot"], ["--data", str(tmp_path), "--output", str(tmp_path / "results")])


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile", "transfer"])
def test_every_algorithm_gets_its_tasks(algorithm):
    protocol = make_protocol("omniglot", "maml", algorithm="maml", ways=5, shots=2)._replace(model="dense")
    experiment = make_experiment(protocol, algorithm, Splits(*map(synthetic, range(3))), jax.random.key(0))
    task = experiment.samplers["test"](jax.random.key(1), 3)
    assert task.support[0].shape[:2] == (3, 10)
    assert experiment.learner.init(experiment.params) is experiment.params


def test_published_figures_stand_beside_the_step_they_are_of():
    protocol = make_protocol("omniglot", "reptile", algorithm="reptile", ways=5, shots=1)
    accuracies = {kind: np.full((4, 51), 0.5) for kind in ("transductive", "inductive")}
    lines = results.table(protocol, "reptile", accuracies).splitlines()
    assert [line.count("97.68") for line in lines] == [0] * (len(lines) - 1) + [1]
    assert "95.39" in lines[-1]
