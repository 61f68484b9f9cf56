"""A small model file, as it should be and as somebody else may have left it."""

import json

import jax
import jax.numpy as jnp
import safetensors.numpy
from flax import linen as nn

from jax_meta.networks.models import MLP
from jax_meta.saved.files import save_model

KEY = jax.random.key(0)
MODEL = MLP(hidden=(4,), outputs=2, activation=nn.tanh)
PARAMS = MODEL.init(KEY, jnp.zeros((1, 5)))
SUPPORT = (jax.random.normal(jax.random.key(1), (6, 5)), jax.random.normal(jax.random.key(2), (6, 2)))
SGD = ("sgd", {"learning_rate": 0.1})
SETTINGS = {
    "model": MODEL,
    "input_shape": (5,),
    "loss": "regression",
    "learner": "maml",
    "num_steps": 2,
    "optimizer": SGD,
}


def saved(path, params=PARAMS, **changes):
    save_model(path, params, **{**SETTINGS, **changes})
    return path


def tampered(path, change, params=PARAMS):
    """A model file whose settings and tensors `change` has had in its hands."""
    saved(path, params)
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        settings = json.loads(file.metadata()["jax_meta"])
    text = change(settings, arrays)
    metadata = {"jax_meta": text if isinstance(text, str) else json.dumps(settings)}
    safetensors.numpy.save_file(arrays, path, metadata if text is not None else None)
    return path
