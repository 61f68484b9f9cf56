"""`python -m jax_meta adapt`: what it prints and writes is what the library computes, and its errors are one line."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.__main__ import main
from jax_meta.networks.models import MLP
from tests.saved.model_file_cases import KEY, MODEL, PARAMS, saved

DRAW = np.random.default_rng(0)
ARRAYS = {
    "support_inputs": DRAW.normal(size=(6, 5)),
    "support_targets": DRAW.normal(size=(6, 2)),
    "query_inputs": DRAW.normal(size=(3, 5)),
    "query_targets": DRAW.normal(size=(3, 2)),
}
CLASSIFIER = MLP(hidden=(), outputs=3)
LABELS = {"support_targets": np.array([0, 1, 2, 0, 1, 2]), "query_targets": np.array([2, 1, 0], np.uint8)}


def task_file(path, **changes):
    arrays = {**ARRAYS, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def rows(printed):
    """The table that is printed, by the first words of its rows."""
    return {
        name: (float(before), float(after))
        for name, before, after in re.findall(r"(?m)^(\w+ \w+) +(\S+) +(\S+)$", printed)
    }


@pytest.mark.parametrize(("words", "steps"), [([], 2), (["--steps", "0"], 0), (["--steps", "5"], 5)])
def test_regression(tmp_path, capsys, words, steps):
    model, data, output = saved(tmp_path / "model"), task_file(tmp_path / "data.npz"), tmp_path / "made.npz"
    main(["adapt", str(model), str(data), "--output", str(output), *words])
    expected = np.array(MODEL.apply(adapt(MODEL, jax_meta.regression, PARAMS, steps, ARRAYS), ARRAYS["query_inputs"]))
    printed = capsys.readouterr().out
    with np.load(output) as made:
        assert made.files == ["predictions"]
        np.testing.assert_allclose(made["predictions"], expected, rtol=1e-6)
    before = float(np.mean((MODEL.apply(PARAMS, ARRAYS["query_inputs"]) - ARRAYS["query_targets"]) ** 2))
    after = float(np.mean((expected - ARRAYS["query_targets"]) ** 2))
    assert rows(printed)["query loss"] == pytest.approx((before, after), rel=1e-3)
    assert set(rows(printed)) == {"support loss", "query loss"}
    assert f"after {steps} steps" in printed
    assert f"{output} holds the predictions, [3, 2]." in printed


@pytest.mark.parametrize("name", ["protonet", "cavia"])
def test_learners_without_steps_and_those_of_a_part(tmp_path, capsys, name):
    features, head = jax_meta.models.split_head(CLASSIFIER)
    loss_fn, params = jax_meta.classification(CLASSIFIER.apply), CLASSIFIER.init(KEY, jnp.zeros((1, 5)))
    if name == "protonet":
        given: dict = {"ways": 3, "optimizer": None, "num_steps": None}
        learner = jax_meta.protonet(loss_fn, features=features, head=head, ways=3)
    else:
        given = {"is_context": "*/bias"}
        learner = jax_meta.cavia(loss_fn, optax.sgd(0.1), num_steps=2, is_context="*/bias")
    body = learner.init(params)
    model = saved(tmp_path / "model", body, model=CLASSIFIER, loss="classification", learner=name, **given)
    data, output = task_file(tmp_path / "data.npz", **LABELS), tmp_path / "made.npz"
    main(["adapt", str(model), str(data), "--output", str(output)])
    adapted = learner.adapt(body, (ARRAYS["support_inputs"].astype("float32"), LABELS["support_targets"]), KEY)
    with np.load(output) as made:
        np.testing.assert_allclose(
            made["predictions"], CLASSIFIER.apply(adapted, ARRAYS["query_inputs"].astype("float32")), rtol=1e-5
        )
    assert f"after {0 if name == 'protonet' else 2} steps" in capsys.readouterr().out


def test_a_class_without_an_example_is_refused(tmp_path):
    features, head = jax_meta.models.split_head(CLASSIFIER)
    learner = jax_meta.protonet(jax_meta.classification(CLASSIFIER.apply), features=features, head=head, ways=3)
    body = learner.init(CLASSIFIER.init(KEY, jnp.zeros((1, 5))))
    given = {"learner": "protonet", "ways": 3, "optimizer": None, "num_steps": None}
    model = saved(tmp_path / "model", body, model=CLASSIFIER, loss="classification", **given)
    data = task_file(tmp_path / "data.npz", **LABELS | {"support_targets": np.array([0, 1, 0, 1, 0, 1])})
    with pytest.raises(SystemExit, match="no example of class 2"):
        main(["adapt", str(model), str(data)])


def adapt(model, loss, params, steps, arrays):
    learner = jax_meta.maml(loss(model.apply), optax.sgd(0.1), num_steps=steps)
    return learner.adapt(params, (arrays["support_inputs"], arrays["support_targets"]), KEY)


def test_classification_without_query_targets(tmp_path, capsys):
    params = CLASSIFIER.init(KEY, jnp.zeros((1, 5)))
    model = saved(tmp_path / "model", params, model=CLASSIFIER, loss="classification")
    data, output = (
        task_file(tmp_path / "data.npz", **LABELS, query_inputs=ARRAYS["query_inputs"]),
        tmp_path / "made.npz",
    )
    main(["adapt", str(model), str(data), "--steps", "40", "--output", str(output)])
    found = rows(capsys.readouterr().out)
    adapted = adapt(CLASSIFIER, jax_meta.classification, params, 40, {**ARRAYS, **LABELS})
    for inputs, targets, name in (
        ("support_inputs", "support_targets", "support"),
        ("query_inputs", "query_targets", "query"),
    ):
        hits = [
            (CLASSIFIER.apply(it, ARRAYS[inputs]).argmax(1) == LABELS[targets]).mean().item()
            for it in (params, adapted)
        ]
        assert found[f"{name} accuracy"] == pytest.approx(tuple(hits), rel=1e-3)
    with np.load(output) as made:
        np.testing.assert_array_equal(made["labels"], CLASSIFIER.apply(adapted, ARRAYS["query_inputs"]).argmax(1))
        assert made["predictions"].shape == (3, 3)
    task_file(data, **{**LABELS, "query_targets": None})
    main(["adapt", str(model), str(data), "--steps", "0"])
    assert set(rows(capsys.readouterr().out)) == {"support loss", "support accuracy"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"support_inputs": None},
            "has no array 'support_inputs': it needs support_inputs, support_targets, query_inputs",
        ),
        ({"support_inputs": np.ones((6, 4))}, r"support_inputs is \[6, 4\] and the model takes \[examples, 5\]"),
        ({"query_inputs": np.ones((0, 5))}, "query_inputs is .* without examples"),
        ({"query_targets": np.float64(1)}, "query_targets is .* without examples"),
        ({"support_targets": np.ones((5, 2))}, "support has 6 inputs and 5 targets"),
        ({"support_targets": np.ones(6)}, r"predictions \(6, 2\) and targets \(6,\) must have the same shape"),
        ({"query_inputs": np.full((3, 5), np.nan)}, "query_inputs must hold finite numbers"),
        ({"query_inputs": np.full((3, 5), "a")}, "query_inputs must hold finite numbers"),
        ({"query_inputs": np.full((3, 5), 1e39)}, "query_inputs has numbers that float32 cannot hold: scale them"),
        ({"query_inputs": np.full((3, 5), 2**63, np.uint64)}, "query_inputs has numbers that uint32 cannot hold"),
        ({"support_targets": np.full((6, 2), -(2**31) - 1)}, "support_targets has numbers that int32 cannot hold"),
        ({"support_inputs": np.ones((6, 5), np.longdouble)}, "support_inputs must hold finite numbers"),
        ({"support_targets": np.full((6, 2), 1e30)}, "what the model makes of it, with 2 inner steps, is not finite"),
        ({"query_inputs": np.array([main] * 3, object)}, "is no npz file of plain arrays: write it with numpy.savez"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_one_line(tmp_path, changes, message):
    model, data = saved(tmp_path / "model"), task_file(tmp_path / "data.npz", **changes)
    with jax.enable_x64(False), pytest.raises(SystemExit, match=message) as error:
        main(["adapt", str(model), str(data), "--output", str(tmp_path / "made.npz")])
    assert str(error.value).startswith(f"python -m jax_meta adapt: {data}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made.npz").exists()


@pytest.mark.parametrize("labels", [np.array([0, 1, 2, 3, 0, 1]), np.array([0, -1, 2, 0, 1, 2])])
def test_labels_that_the_model_has_no_output_for(tmp_path, labels):
    params = CLASSIFIER.init(KEY, jnp.zeros((1, 5)))
    model = saved(tmp_path / "model", params, model=CLASSIFIER, loss="classification")
    data = task_file(tmp_path / "data.npz", **{**LABELS, "support_targets": labels})
    with pytest.raises(SystemExit, match="support_targets must be labels from 0 to 2, got"):
        main(["adapt", str(model), str(data)])


def test_files_that_are_none(tmp_path):
    model, data = saved(tmp_path / "model"), task_file(tmp_path / "data.npz")
    np.save(tmp_path / "array.npy", np.ones(2))
    for given, message in (
        ((data, data), "no safetensors file"),
        ((model, model), "is no npz file"),
        ((model, tmp_path / "array.npy"), "is no npz file"),
        ((model, tmp_path / "none.npz"), "there is no file"),
        ((tmp_path, data), "there is no file"),
        ((model, data, "--output", tmp_path / "none" / "made.npz"), "there is no folder"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["adapt", *map(str, given)])


@pytest.mark.parametrize("output", ["made.csv", "made", "made.npz.txt"])
def test_an_output_that_would_be_none_is_refused_before_any_work(capsys, output):
    with pytest.raises(SystemExit) as error:
        main(["adapt", "model", "data.npz", "--output", output])
    assert error.value.code == 2
    assert f"must end in .npz, which is what is written, got {output!r}" in capsys.readouterr().err


def test_a_chain_is_described_as_it_would_be_called(tmp_path, capsys):
    chain = ("chain", [("clip_by_global_norm", {"max_norm": 1.0}), ("sgd", {"learning_rate": 0.1})])
    model = saved(tmp_path / "model", optimizer=chain, learner="anil", is_head="*/Dense_1/*")
    main(["adapt", str(model), str(task_file(tmp_path / "data.npz"))])
    told = capsys.readouterr().out
    assert (
        "anil(num_steps=2, is_head=*/Dense_1/*), chain(clip_by_global_norm(max_norm=1.0), sgd(learning_rate=0.1))"
        in told
    )


@pytest.mark.parametrize("steps", ["-1", "1.5", "ten", "9" * 5000, "²"])
def test_steps_that_are_none(tmp_path, capsys, steps):
    with pytest.raises(SystemExit) as error:
        main(["adapt", "model", "data.npz", "--steps", steps])
    assert error.value.code == 2
    assert "must be an integer from 0 to 1000000" in capsys.readouterr().err


def test_as_a_program_it_ends_with_status_1_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "jax_meta", "adapt", str(tmp_path / "model"), "data.npz"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("python -m jax_meta adapt: there is no file")
    assert ended.stderr.count("\n") == 1
