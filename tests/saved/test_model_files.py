"""Model files: what was saved comes back to the bit, PyTorch reads it."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from flax import linen as nn

import jax_meta
from jax_meta.networks.models import MLP, SIREN, Conv4, ResNet, ResNet12
from jax_meta.saved.files import load_model
from jax_meta.saved.names import LEARNERS, MODELS, OPTIMIZERS, TRANSFORMS
from jax_meta.saved.settings import build, build_model
from tests.learners import LEARNERS as FAMILY
from tests.saved.model_file_cases import KEY, MODEL, PARAMS, SGD, SUPPORT, saved
from tests.tiers import each

OPTIONS = {
    "transfer": {"batch_size": 3},
    "maml": {"remat": "steps", "mixed_mode": True},
    "fomaml": {},
    "anil": {"is_head": "params/Dense_0/*"},
    "reptile": {"batch_size": 2, "order": jax_meta.shuffled},
    "carried_reptile": {"optimizer": ("adam", {"learning_rate": 0.1, "b1": 0.0})},
    "meta_sgd": {"optimizer": None, "step_size": np.float32(0.5)},
    "imaml": {"strength": 2.0, "cg_steps": 3, "damping": 0.1, "neumann_terms": 2},
    "boil": {"is_head": "*/Dense_1/*"},
    "cavia": {"is_context": "params/Dense_0/kernel", "first_order": True},
    "maml_plus_plus": {"optimizer": None, "step_size": 0.5, "weights": (0.25, 0.75)},
    "meta_curvature": {"optimizer": None, "step_size": 0.5},
    "kfo": {"optimizer": None, "step_size": 0.5},
    "lstm_optimizer": {"optimizer": None, "units": 2, "seed": 3, "truncate": 1},
    "leap": {"energy": True, "include_loss": False},
    "warpgrad": {"is_warp": "*/Dense_1/*", "initialization": jax_meta.reptile},
    "es_maml": {"sigma": 0.5, "inner_pairs": 2},
}
FAST = ("maml", "anil", "reptile", "carried_reptile", "imaml", "maml_plus_plus", "lstm_optimizer", "warpgrad")
HEADS = {
    "protonet": {"ways": 2},
    "proto_maml": {"ways": 2, "num_steps": 2, "optimizer": SGD, "first_order": True},
    "r2d2": {"ways": 2, "penalty": 2.0, "mean": False},
    "r2d2, regression": {"ways": None, "use_bias": False, "learn_penalty": True},
}


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


@pytest.mark.parametrize("name", each(OPTIONS, FAST))
def test_a_loaded_learner_adapts_as_the_one_that_was_saved(tmp_path, name):
    options = {"optimizer": SGD, **OPTIONS[name]}
    optimizer = options.pop("optimizer")
    positional = [] if optimizer is None else [getattr(optax, optimizer[0])(**optimizer[1])]
    learner = getattr(jax_meta, name)(jax_meta.regression(MODEL.apply), *positional, num_steps=2, **options)
    meta_params = learner.init(PARAMS)
    loaded = load_model(saved(tmp_path / "model", meta_params, learner=name, optimizer=optimizer, **options))
    assert_same(loaded.meta_params, meta_params)
    adapted = learner.adapt(meta_params, SUPPORT, KEY)
    assert not np.array_equal(adapted["params"]["Dense_0"]["kernel"], PARAMS["params"]["Dense_0"]["kernel"])
    assert_same(loaded.learner.adapt(loaded.meta_params, SUPPORT, KEY), adapted)
    assert build("learner", loaded.settings["learner"], LEARNERS).keywords == {"num_steps": 2, **options}


@pytest.mark.parametrize("name", HEADS)
def test_a_loaded_learner_writes_the_head_as_the_one_that_was_saved(tmp_path, name):
    options: dict = {"optimizer": None, **HEADS[name]}
    loss = "regression" if name == "r2d2, regression" else "classification"
    make, name = getattr(jax_meta, loss), name.split(",")[0]
    optimizer = options.pop("optimizer")
    features, head = jax_meta.models.split_head(MODEL)
    positional = [] if optimizer is None else [optax.sgd(0.1)]
    learner = getattr(jax_meta, name)(make(MODEL.apply), *positional, features=features, head=head, **options)
    support = SUPPORT if loss == "regression" else (SUPPORT[0], jnp.arange(6) % 2)
    meta_params = learner.init(PARAMS)
    path = tmp_path / "model"
    given = {"model": MODEL, "input_shape": (5,), "loss": loss, "learner": name, "optimizer": optimizer, **options}
    jax_meta.save_model(path, meta_params, **given)
    loaded = load_model(path)
    assert_same(loaded.meta_params, meta_params)
    assert_same(loaded.learner.adapt(loaded.meta_params, support, KEY), learner.adapt(meta_params, support, KEY))
    assert loaded.settings["learner"] == {"name": name, **options}


def test_every_learner_is_saved_here_by_its_name():
    assert {name.split(",")[0] for name in (*OPTIONS, *HEADS)} == LEARNERS.keys()
    others = {name.split(",")[0] for name in FAMILY} - LEARNERS.keys()
    assert others == {"meta_optimizer"}  # whose functions a file cannot hold


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_comes_back_with_its_settings(tmp_path, name):
    keywords = keywords_of(OPTIMIZERS[name])
    loaded = load_model(saved(tmp_path / "model", learner="fomaml", optimizer=(name, keywords)))
    expected = jax_meta.fomaml(jax_meta.regression(MODEL.apply), getattr(optax, name)(**keywords), num_steps=2)
    assert_same(loaded.learner.adapt(PARAMS, SUPPORT, KEY), expected.adapt(PARAMS, SUPPORT, KEY))


def keywords_of(entry):
    return {key: {"number": 0.3, "flag": True}[check.__name__] for key, check in entry.checks.items()}


def test_a_chain_comes_back_with_every_transformation(tmp_path):
    parts = [(name, keywords_of(entry)) for name, entry in TRANSFORMS.items()]
    optimizer = ("chain", [("chain", parts), ("adam", {"learning_rate": 0.1})])
    made = optax.chain(optax.chain(*(getattr(optax, name)(**keywords) for name, keywords in parts)), optax.adam(0.1))
    loaded = load_model(saved(tmp_path / "model", learner="fomaml", optimizer=optimizer))
    expected = jax_meta.fomaml(jax_meta.regression(MODEL.apply), made, num_steps=2)
    assert_same(loaded.learner.adapt(PARAMS, SUPPORT, KEY), expected.adapt(PARAMS, SUPPORT, KEY))


def test_a_loss_of_ones_own_is_given_to_the_reader(tmp_path):
    def loss_fn(params, batch, key):
        loss = jnp.abs(MODEL.apply(params, batch[0]) - batch[1]).mean()
        return loss, {"loss": loss}

    path = saved(tmp_path / "model", loss=None)
    loaded = load_model(path, loss=loss_fn)
    expected = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=2).adapt(PARAMS, SUPPORT, KEY)
    assert loaded.loss_fn is loss_fn
    assert_same(loaded.learner.adapt(loaded.meta_params, SUPPORT, KEY), expected)
    assert_same(loaded.apply(expected, SUPPORT[0]), MODEL.apply(expected, SUPPORT[0]))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (MLP(), (1,)),
        (MLP(hidden=(), outputs=3), ()),
        (MLP(hidden=(2,), activation=nn.gelu, normalise=True), (2, 3)),
        (MLP(hidden=(2,), context=3), (2,)),
        (Conv4(5, 2), (16, 19, 1)),
        (Conv4(5, 2, context=3), (16, 16, 1)),
        (Conv4(2, 3, "stride", "mean", use_scale=True), (9, 9, 3)),
        (ResNet12(3, (2, 3, 2, 4)), (16, 16, 3)),
        (SIREN((4, 3), 2, 10.0), (2,)),
        (ResNet(3, (4, 6), groups=2, zero_head=True), (8, 8, 3)),
    ],
    ids=str,
)
def test_every_model_comes_back_with_its_settings(tmp_path, model, shape):
    shapes = jax.eval_shape(model.init, KEY, jnp.zeros((4, *shape)))
    params = jax.tree.map(lambda leaf: np.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape), shapes)
    loaded = load_model(saved(tmp_path / "model", params, model=model, input_shape=shape, loss="classification"))
    assert_same(loaded.meta_params, params)
    rebuilt = build_model(loaded.settings)
    assert type(rebuilt) is type(model)
    for name in MODELS[type(model).__name__].checks:
        assert getattr(rebuilt, name) == getattr(model, name)


def test_numbers_of_every_kind_come_back_to_the_bit(tmp_path):
    smallest = np.finfo(np.float64).smallest_subnormal
    params = {
        "bfloat16": jnp.array([[1.5, -0.0, jnp.nan]], jnp.bfloat16),
        "float16": jnp.array([jnp.inf, 6e-8], jnp.float16),
        "float64": jnp.array([1 / 3, 1e300, smallest]),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "big_endian": np.arange(3, dtype=">i2"),
        "integers": {"signed": jnp.array(-(2**63)), "unsigned": jnp.array([2**64 - 1], jnp.uint64)},
        "none": jnp.zeros((0, 3), jnp.int8),
    }
    path = saved(tmp_path / "model", params, model=None, input_shape=None)
    found = load_model(path, model=lambda params, inputs: inputs).meta_params
    assert_same(found, jax.tree.map(lambda leaf: np.asarray(leaf, leaf.dtype.newbyteorder("="), order="C"), params))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_64_bits_in_a_program_of_32_are_rounded_with_a_warning(tmp_path):
    path = saved(tmp_path / "model", jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS))
    with jax.enable_x64(False):
        with pytest.warns(UserWarning, match="64 bits.*jax_enable_x64"):
            loaded = load_model(path)
        assert_same(loaded.meta_params, PARAMS)


def test_names_and_settings_are_there_for_any_reader(tmp_path):
    path = saved(
        tmp_path / "model", jax_meta.MetaSGDParams(PARAMS, PARAMS), learner="meta_sgd", step_size=1, optimizer=None
    )
    arrays = safetensors.numpy.load_file(path)
    kernel = PARAMS["params"]["Dense_1"]["kernel"]
    assert len(arrays) == 8
    np.testing.assert_array_equal(arrays["params.params.Dense_1.kernel"], kernel)
    np.testing.assert_array_equal(arrays["step_sizes.params.Dense_1.kernel"], kernel)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["jax_meta"]) == {
            "format": 1,
            "jax_meta": jax_meta.__version__,
            "model": {"name": "MLP", "hidden": [4], "outputs": 2, "activation": "tanh", "normalise": False},
            "input_shape": [5],
            "loss": "regression",
            "learner": {"name": "meta_sgd", "num_steps": 2, "step_size": 1},
            "optimizer": None,
        }


def test_pytorch_makes_the_same_predictions_of_an_mlp(tmp_path):
    tensors = safetensors.torch.load_file(saved(tmp_path / "model"))
    outputs = torch.tensor(np.asarray(SUPPORT[0], np.float32))
    for layer in range(2):
        weight, bias = tensors[f"params.Dense_{layer}.kernel"].T, tensors[f"params.Dense_{layer}.bias"]
        outputs = torch.nn.functional.linear(outputs, weight, bias)
        outputs = torch.tanh(outputs) if layer < 1 else outputs
    np.testing.assert_allclose(outputs, MODEL.apply(PARAMS, SUPPORT[0]), rtol=1e-5, atol=1e-6)


def test_pytorch_makes_the_same_predictions_of_a_conv4(tmp_path):
    model, images = Conv4(3, 4, head="mean"), jax.random.normal(KEY, (5, 16, 16, 2))
    params = jax.tree.map(lambda leaf: leaf + 0.1, model.init(KEY, images))
    path = saved(tmp_path / "model", params, model=model, input_shape=(16, 16, 2), loss="classification")
    tensors = {name: tensor.double() for name, tensor in safetensors.torch.load_file(path).items()}
    features = torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)
    for block in range(4):
        kernel = tensors[f"params.ConvBlock_{block}.Convolution_0.kernel"].permute(3, 2, 0, 1)
        features = torch.nn.functional.conv2d(features, kernel, padding=1)
        bias = tensors[f"params.ConvBlock_{block}.BatchNorm_0.bias"]
        features = torch.nn.functional.batch_norm(features, None, None, bias=bias, training=True)
        features = torch.nn.functional.max_pool2d(torch.relu(features), 2)
    logits = features.mean((2, 3)) @ tensors["params.Dense_0.kernel"] + tensors["params.Dense_0.bias"]
    np.testing.assert_allclose(logits, model.apply(params, images), rtol=1e-8)


def test_another_model_is_given_to_the_reader(tmp_path):
    module = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
    params = module.init(KEY, SUPPORT[0])
    path = saved(tmp_path / "model", params, model=None)
    with pytest.raises(ValueError, match=r"has no model of its own: give load_model\(path, model=...\)"):
        load_model(path)
    for model in (module, module.apply):
        loaded = load_model(path, model=model)
        assert_same(loaded.meta_params, params)
        assert_same(loaded.apply(params, SUPPORT[0]), module.apply(params, SUPPORT[0]))
    with pytest.raises(ValueError, match="where the model has float32"):
        load_model(path, model=nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)]))


def test_a_write_that_fails_leaves_the_older_file_whole(tmp_path, monkeypatch):
    path = saved(tmp_path / "model")
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        saved(path, jax.tree.map(jnp.zeros_like, PARAMS))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r"no folder .*: create it first"):
        saved(tmp_path / "nowhere" / "model")
