"""`python -m jax_meta page`: its numbers move as the library moves them, and what it cannot teach it refuses."""

import base64

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_meta.__main__ import main
from jax_meta.networks.models import MLP, Conv4
from jax_meta.saved.files import load_model
from jax_meta.saved.names import ACTIVATIONS
from jax_meta.saved.page.html import Page, make_page
from jax_meta.saved.page.networks import MAX_NUMBERS, Network, describe_network
from jax_meta.saved.settings import build_learner
from tests.saved.model_file_cases import KEY, SGD, saved
from tests.saved.pages import assert_loads_nothing, data_of

MODEL = MLP(hidden=(4, 3), activation=nn.tanh)
PARAMS = MODEL.init(KEY, jnp.zeros((1, 1), jnp.float32))
POINTS = (np.array([[-1.0], [0.5], [2.0]], np.float32), np.array([[1.0], [0.3], [-1.0]], np.float32))
LEARNERS = {
    "transfer": {},
    "maml": {"batch_size": None},
    "fomaml": {"optimizer": ("sgd", {"learning_rate": 0.1, "momentum": 0.0})},
    "reptile": {},
    "carried_reptile": {},
    "anil": {"is_head": "*/Dense_2/*"},
    "boil": {"is_head": "*/Dense_2/*"},
    "imaml": {"strength": 3.0},
    "meta_sgd": {"optimizer": None, "step_size": 0.1},
}


def page_model(path, params=PARAMS, **changes):
    return saved(path, params, **{"model": MODEL, "input_shape": (1,), **changes})


def described(path):
    return describe_network(Network("name", "note", load_model(path)))


def decode(array):
    return np.frombuffer(base64.b64decode(array["values"]), "<f4").reshape(array["shape"])


def as_params(layers):
    return {
        "params": {
            f"Dense_{index}": {name: decode(array) for name, array in layer.items()}
            for index, layer in enumerate(layers)
        }
    }


def meta_params(learner):
    """Step sizes that differ, for the learner that has them, so that a mistaken order or sign would show."""
    if learner == "meta_sgd":
        return load_learner(learner).init(PARAMS)._replace(step_sizes=jax.tree.map(lambda p: 0.1 + p / 5, PARAMS))
    return load_learner(learner).init(PARAMS)


def load_learner(name):
    options = {"optimizer": SGD, **LEARNERS[name]}
    optimizer = options.pop("optimizer")
    inner = None if optimizer is None else {"name": optimizer[0], **optimizer[1]}
    settings = {"learner": {"name": name, "num_steps": 1, **options}, "optimizer": inner}
    return build_learner(settings, lambda params, batch, key: (jnp.zeros(()), {}), MODEL)


@jax.jit
def step(params, start, rates, pull):
    """φ - α ∘ (∇L(φ) + λ (φ - θ)), as the page's script takes it."""
    slopes = jax.grad(lambda params: jnp.mean((MODEL.apply(params, POINTS[0]) - POINTS[1]) ** 2))(params)
    return jax.tree.map(lambda p, a, g, s: p - a * (g + pull * (p - s)), params, rates, slopes, start)


@pytest.mark.parametrize("learner", LEARNERS)
def test_steps_with_the_numbers_of_the_page_are_those_of_the_learner(tmp_path, learner):
    path = page_model(tmp_path / "model", meta_params(learner), learner=learner, **LEARNERS[learner])
    loaded, network = load_model(path), described(path)
    start, rates, pull = as_params(network["layers"]), as_params(network["rates"]), network["pull"]

    expected = loaded.learner.adapt(loaded.meta_params, POINTS, KEY, num_steps=3)
    found = start
    for _ in range(3):
        found = step(found, start, rates, pull)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(start), strict=True)
    assert not all(np.allclose(moved, unmoved) for moved, unmoved in pairs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_named(tmp_path, activation):
    path = page_model(tmp_path / "model", model=MODEL.clone(activation=ACTIVATIONS[activation]))
    assert described(path)["activation"] == activation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": MLP(hidden=(2,), outputs=2)}, r"takes one input and one output, not \(1,\) inputs and 2 outputs"),
        ({"input_shape": (2,)}, r"takes one input and one output, not \(2,\) inputs and 1 outputs"),
        ({"model": MODEL.clone(normalise=True)}, "takes no MLP that normalises"),
        ({"loss": "classification"}, "takes a regression, and this is classification"),
        ({"model": Conv4(ways=1, filters=1), "input_shape": (16, 16, 1)}, "takes an MLP of jax_meta.models, not Conv4"),
        ({"optimizer": ("adam", {"learning_rate": 0.1})}, "plain steps of SGD, and the inner optimizer is adam: use"),
        ({"optimizer": ("sgd", {"learning_rate": 0.1, "momentum": 0.9})}, "the inner optimizer is sgd with momentum"),
        ({"learner": "leap"}, "takes models of maml, .*and this is leap's"),
        ({"optimizer": ("chain", [SGD])}, "the inner optimizer is chain"),
        ({"model": MLP(hidden=(1000, 1000))}, f"takes at most {MAX_NUMBERS:,} parameters"),
        ({"model": None, "input_shape": None}, "it has no model of its own"),
    ],
)
def test_other_models_are_refused_in_one_line(tmp_path, changes, message):
    model, shape = changes.get("model", MODEL), changes.get("input_shape", (1,)) or (1,)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(model or MODEL, shape))
    path = page_model(tmp_path / "model.safetensors", params, **changes)
    with pytest.raises(SystemExit, match=message) as error:
        main(["page", str(path), "--output", str(tmp_path / "page.html")])
    assert str(error.value).startswith(f"python -m jax_meta page: {path}: ")
    assert not (tmp_path / "page.html").exists()


def shapes(model, shape):
    return jax.eval_shape(model.init, KEY, jnp.zeros((1, *shape), jnp.float32))


@pytest.mark.parametrize(
    ("cast", "message"),
    [
        (lambda leaf: leaf.astype(jnp.float16), "computes in float32, and Dense_0.* is float16: save it as float32"),
        (lambda leaf: leaf.astype(jnp.bfloat16), "computes in float32, and Dense_0.* is bfloat16: save it as float32"),
        (lambda leaf: leaf.astype(jnp.float64) * 1e300, "Dense_0.* has numbers that are not finite in float32"),
        (lambda leaf: leaf * np.float32(np.nan), "Dense_0.* has numbers that are not finite in float32"),
    ],
)
def test_numbers_that_the_page_would_change_are_refused(tmp_path, cast, message):
    path = page_model(tmp_path / "model", jax.tree.map(cast, PARAMS))
    with pytest.raises(ValueError, match=message):
        described(path)


def test_the_command_writes_a_page_with_the_models_and_points_of_the_files(tmp_path, capsys):
    first, second = page_model(tmp_path / "one.safetensors"), page_model(tmp_path / "two.safetensors", batch_size=2)
    np.savez(tmp_path / "task.npz", support_inputs=POINTS[0], support_targets=POINTS[1])
    output = tmp_path / "page.html"
    main(["page", str(first), str(second), "--data", str(tmp_path / "task.npz"), "--output", str(output)])
    page = output.read_text(encoding="utf-8")
    data = data_of(page)
    assert "page.html holds 2 models in " in capsys.readouterr().out
    assert [network["label"] for network in data["networks"]] == ["one", "two"]
    assert data["points"] == np.concatenate(POINTS, axis=1).tolist()
    assert data["xRange"] == [-1.75, 2.75]
    assert data["yRange"] == [-1.5, 1.5]
    assert data["steps"] == 32
    assert not data["sines"]
    told = [
        "every step takes all points, where meta-training took 2" in network["note"] for network in data["networks"]
    ]
    assert told == [False, True]
    assert (
        as_params(data["networks"][0]["layers"])["params"]["Dense_1"]["kernel"].tolist()
        == np.asarray(PARAMS["params"]["Dense_1"]["kernel"], np.float32).tolist()
    )


def test_a_page_loads_nothing_and_no_name_leaves_its_place(tmp_path):
    name = "</script><img src=x onerror=alert(1)>{{DATA}}"
    network = Network(name, name, load_model(page_model(tmp_path / "model")))
    page = make_page(Page(name, "lead", "about", [network]))
    assert data_of(page)["networks"][0]["label"] == name
    assert "<img" not in page
    assert "{{TITLE}}" not in page
    assert_loads_nothing(page)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--x", "1", "1"], "--x must be a range, FROM below TO, got 1 1"),
        (["--y", "nan", "1"], "--y must be a range"),
        (["--data", "task.npz", "--x", "0", "5"], "--x 0 5 leaves out the point at -1: make it wider"),
        (["--data", "two.npz"], r"support_inputs and support_targets are \[3, 2\] and \[3, 1\]"),
        (["--data", "many.npz"], "it has 65 points, and a page takes at most 64"),
        (["--data", "none.npz"], "there is no file"),
        (["--data", "targets.npz"], "has no array 'support_inputs': it needs support_inputs, support_targets"),
        (["model"] * 6, "a page takes at most 6 models, got 7"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    page_model(tmp_path / "model")
    np.savez("task.npz", support_inputs=POINTS[0], support_targets=POINTS[1])
    np.savez("two.npz", support_inputs=np.ones((3, 2)), support_targets=POINTS[1])
    np.savez("many.npz", support_inputs=np.ones((65, 1)), support_targets=np.ones((65, 1)))
    np.savez("targets.npz", support_targets=POINTS[1])
    with pytest.raises(SystemExit, match=message):
        main(["page", "model", *words, "--output", "page.html"])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "page.txt"], "must end in .html, which is what is written, got 'page.txt'"),
        (["--output", "page.html", "--steps", "0"], "must be an integer from 1 to 1000, got '0'"),
        (["--output", "page.html", "--sines", "--data", "task.npz"], "not allowed with argument"),
    ],
)
def test_commands_that_are_none(capsys, words, message):
    with pytest.raises(SystemExit) as error:
        main(["page", "model", *words])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
