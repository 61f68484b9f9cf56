"""What a model file cannot hold is not written, and a file that does not fit is refused with the remedy."""

import os
import pickle

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jax_meta
from jax_meta.networks.models import MLP, Conv4
from jax_meta.saved.files import load_model
from tests.saved.model_file_cases import KEY, PARAMS, SGD, saved, tampered


def nested(depth):
    """Chains within chains."""
    optimizer = SGD
    for _ in range(depth):
        optimizer = ("chain", [optimizer])
    return optimizer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": nn.Dense(2)}, "whose code a file cannot hold: save with model=None"),
        ({"model": MLP(activation=jnp.sin)}, "activation must be one of 'relu', .*'tanh', got"),
        ({"model": MLP((4,), 1)}, r"'params.Dense_1.bias' is float32\[2\] where the model has float32\[1\]"),
        ({"model": MLP((), 2)}, "'params.Dense_1.bias' is not the model's: save it again"),
        ({"model": Conv4(2)}, r"Conv4 cannot take inputs of shape \(5,\).*give the model and the input_shape"),
        ({"input_shape": (4,)}, r"Dense_0.kernel' is float32\[5, 4\] where the model has float32\[4, 4\]"),
        ({"input_shape": None}, "input_shape is needed with a model"),
        ({"input_shape": 5}, "input_shape must be a list"),
        ({"loss": "mse"}, "loss must be one of 'regression', 'classification', got 'mse'"),
        ({"learner": "leo"}, "learner must be one of 'transfer', 'maml', .*, got 'leo'"),
        ({"learner": "anil"}, "anil needs the setting 'is_head'"),
        ({"learner": "anil", "is_head": max}, r"is_head must be a pattern .* such as '\*/Dense_2/\*', got <built-in"),
        ({"learner": "anil", "is_head": "*" * 1000}, "is_head must be a pattern of parameters' paths"),
        (
            {"learner": "anil", "is_head": "Dense_1"},
            "is_head 'Dense_1' selects none of the parameters .'params/Dense_0/",
        ),
        ({"learner": "anil", "is_head": "*"}, r"is_head '\*' selects all of the parameters .'params/Dense_0/"),
        ({"learner": "boil", "is_head": "x"}, "is_head 'x' selects none of the parameters"),
        ({"learner": "cavia"}, r"is_context '\*context' selects none of the parameters"),
        ({"learner": "protonet", "ways": 2}, "a setting of protonet must be one of 'ways', got 'num_steps'"),
        (
            {"learner": "proto_maml", "ways": 2, "model": None},
            "which a file knows of MLP, SIREN, Conv4, ResNet and ResNet12 with a head",
        ),
        ({"learner": "meta_optimizer"}, "learner must be one of 'transfer', 'maml', .*, got 'meta_optimizer'"),
        (
            {"learner": "maml_plus_plus", "step_size": 0.1, "optimizer": None, "weights": [1]},
            r"\[num_steps\], got shape",
        ),
        ({"learner": "warpgrad", "is_warp": "*/Dense_1/*", "initialization": jax_meta.imaml}, "initialization must be"),
        ({"model": MLP}, r"model is the class MLP: give an instance, such as MLP\(...\)"),
        ({"learner": "meta_sgd", "step_size": 0.1}, "takes no optimizer: leave it out"),
        ({"learner": "meta_sgd", "step_size": 0.1, "optimizer": None}, "'params.Dense_0.bias' is not the model's"),
        ({"learner": "imaml"}, "imaml needs the setting 'strength'"),
        ({"learner": "imaml", "strength": -1.0}, "strength must be above 0"),
        ({"steps": 3}, "a setting of maml must be one of 'num_steps'.*, got 'steps'"),
        ({"num_steps": True}, "num_steps must be an integer from 0"),
        ({"optimizer": optax.sgd(0.1)}, r"such as \('sgd', \{'learning_rate': 0.01\}\), got Gradient"),
        ({"optimizer": None}, "optimizer must be a name and its settings, got None"),
        ({"optimizer": ("sgd", {})}, "sgd needs the setting 'learning_rate'"),
        ({"optimizer": ("sgd", {"learning_rate": np.nan})}, "learning_rate must be a finite number, got nan"),
        ({"optimizer": ("sgd", {"learning_rate": 0.1, "name": "adam"})}, "'sgd' has no setting 'name'"),
        ({"optimizer": ("sgd", {"learning_rate": 0.1, "nesterov": 1})}, "nesterov must be true or false, got 1"),
        ({"optimizer": ("clip", {"max_delta": 1.0})}, "optimizer must be one of 'sgd'"),
        ({"optimizer": ("chain", [])}, "a chain must have 1 to 20 transforms and no other setting, got"),
        ({"optimizer": ("chain", [SGD] * 21)}, "a chain must have 1 to 20 transforms"),
        ({"optimizer": ("chain", [("masked", {})])}, "optimizer must be one of 'sgd', .*'clip'"),
        ({"optimizer": ("chain", [("clip", {})])}, "clip needs the setting 'max_delta'"),
        ({"optimizer": ("chain", [optax.sgd(0.1)])}, "got Gradient.*; or 'chain' and a list of such pairs"),
        ({"optimizer": nested(5)}, "a chain may hold chains 4 deep: write them as one"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_it_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        saved(tmp_path / "model", **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layers": [jnp.ones(1)]}, "give plain dicts within dicts"),
        ({"a.b": jnp.ones(1)}, "give plain dicts within dicts"),
        ({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, "a name of its own"),
        ({"a": {"b": jnp.ones(1)}, "a.b.c": jnp.ones(1)}, "within another tensor"),
        ({"__metadata__": jnp.ones(1)}, "a name of its own"),
        ({"flag": jnp.array(True)}, "flag must be an array of floats or integers"),
        ({"key": KEY}, "key must be an array of floats or integers"),
        ({"rate": 0.1}, "rate must be an array of floats or integers, got 0.1"),
    ],
)
def test_parameters_that_would_not_come_back_are_refused(tmp_path, params, message):
    with pytest.raises(ValueError, match=message):
        saved(tmp_path / "model", params, model=None)


def put(*place, value):
    """A change of one setting."""

    def change(settings, arrays):
        *outer, last = place
        for key in outer:
            settings = settings[key]
        settings[last] = value
        return settings

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda settings, arrays: None, "without settings of jax_meta: write it with jax_meta.save_model"),
        (lambda settings, arrays: "", "settings are damaged: get it anew"),
        (lambda settings, arrays: "[" * 60_000, "settings are damaged: get it anew"),
        (lambda settings, arrays: '{"format": 1' + " " * 70_000 + "}", "settings are damaged: get it anew"),
        (lambda settings, arrays: "[1]", "settings are damaged: get it anew"),
        (put("format", value=2), "format 2, and this version reads format 1: upgrade jax-metalearn"),
        (put("format", value=True), "format True, and this version reads"),
        (put("jax_meta", value=1), "jax_meta must be the version"),
        (put("more", value=1), "look at 'more'"),
        (lambda settings, arrays: [settings.pop("loss")], "look at 'loss'"),
        (put("model", value="MLP"), "model must be a name and its settings, got 'MLP'"),
        (
            put("model", "name", value="os.system"),
            "model must be one of 'MLP', 'SIREN', 'Conv4', 'ResNet', 'ResNet12', got 'os.system'",
        ),
        (put("model", "name", value=["MLP"]), r"model must be one of .* got \['MLP'\]"),
        (put("model", "parent", value=None), "a setting of MLP must be one of .* got 'parent'"),
        (put("model", "activation", value="__class__"), "activation must be one of"),
        (put("model", "hidden", value=[4, -3]), "hidden must be an integer from 1"),
        (put("model", "hidden", value=[4, 10**400]), "hidden must be an integer from 1"),
        (put("model", "hidden", value=[4] * 10_000), "hidden must be a list of at most 100"),
        (put("model", "hidden", value=[3]), r"Dense_0.bias' is float32\[4\] where the model has float32\[3\]"),
        (put("model", "outputs", value=2.0), "outputs must be an integer from 1"),
        (put("model", value=None), "has no model of its own"),
        (put("input_shape", value=[2**24, 2**24]), "input_shape must be the shape of one example"),
        (put("input_shape", value=None), "input_shape is needed"),
        (put("learner", "name", value="leo"), "learner must be one of"),
        (put("learner", "name", value="anil"), "anil needs the setting 'is_head'"),
        (put("learner", value={"name": "anil", "num_steps": 1, "is_head": "x"}), "is_head 'x' selects none of"),
        (put("optimizer", value={"name": "chain", "transforms": {}}), "a chain must have 1 to 20 transforms"),
        (put("optimizer", value={"name": "chain", "transforms": [], "eps": 1}), "a chain must have 1 to 20 transforms"),
        (put("optimizer", value={"name": "chain", "transforms": ["sgd"]}), "optimizer must be a name and its settings"),
        (put("loss", value=None), r"has no loss of its own: give load_model\(path, loss=...\)"),
        (put("learner", "num_steps", value=10**9), "num_steps must be an integer from 0 to 1000000"),
        (put("learner", "remat", value="all"), "remat must be one of 'none', 'steps', 'blocks', 'updates', got 'all'"),
        (put("optimizer", "name", value="masked"), "optimizer must be one of 'sgd'"),
        (put("optimizer", "learning_rate", value="0.1"), "learning_rate must be a finite number, got '0.1'"),
        (put("optimizer", "learning_rate", value=float("inf")), "learning_rate must be a finite number"),
        (lambda settings, arrays: arrays.pop("params.Dense_0.bias").size, "'params.Dense_0.bias' is missing"),
        (lambda settings, arrays: arrays.update(x=np.ones(2)) or 1, "'x' is not the model's"),
        (
            lambda settings, arrays: arrays.update({"params.Dense_0.bias": np.ones(4, np.int32)}) or 1,
            r"'params.Dense_0.bias' is int32\[4\] where the model has float32\[4\]",
        ),
        (
            lambda settings, arrays: arrays.update({"params.Dense_0.bias": np.ones(4, np.complex64)}) or 1,
            r"no parameter can be as tensor 'params.Dense_0.bias', C64 \(4,\)",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_remedy(tmp_path, change, message):
    path = tampered(tmp_path / "model", change)
    with pytest.raises(ValueError, match=message) as error:
        load_model(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": nn.Dense}, r"model is the class Dense: give an instance, such as Dense\(...\)"),
        ({"model": PARAMS}, "model must be a Flax module or a function"),
        (
            {"loss": "regression"},
            r"loss must be a function \(params, batch, key\) -> \(loss, metrics\), got 'regression'",
        ),
        ({"loss": jax_meta.regression}, r"make it of a model, as in jax_meta\.regression\(model\.apply\)"),
    ],
)
def test_what_is_no_model_or_no_loss_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_model(saved(tmp_path / "model"), **options)


def test_what_is_no_model_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*: check the path"):
        load_model(tmp_path / "nothing")
    with pytest.raises(OSError, match=r"there is no file .*: check the path"):
        load_model(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # which nobody will ever write to
    with pytest.raises(OSError, match="there is no file"):
        load_model(tmp_path / "pipe")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Evil(tmp_path / "executed")))
    with pytest.raises(ValueError, match=r"pickle is damaged, or no safetensors file .*: get it anew"):
        load_model(tmp_path / "pickle")
    assert not (tmp_path / "executed").exists()


class Evil:
    """Pickles as a call that leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)
