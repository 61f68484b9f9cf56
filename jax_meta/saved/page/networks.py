"""What a page holds of a saved model: its numbers, and how they move in a step of gradient descent."""

import base64
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_meta.algorithms.parts import select_part
from jax_meta.networks.models import MLP
from jax_meta.saved.files import LoadedModel
from jax_meta.saved.names import ACTIVATIONS
from jax_meta.saved.settings import Settings, build_model
from jax_meta.saved.tensors import WRAPPED

MAX_NUMBERS = 10**6
"""Parameters of a network that a page takes: 4 MB of them, in a text of 5.3."""


TAUGHT = ("maml", "fomaml", "reptile", "carried_reptile", "transfer", "anil", "boil", "imaml", "meta_sgd")
"""The learners whose adaptation the page's script knows."""


class Network(NamedTuple):
    """A network of a page.

    Attributes:
        label: its name in the table.
        note: one sentence about it.
        loaded: the model, which `describe_network` must not refuse.
    """

    label: str
    note: str
    loaded: LoadedModel


def describe_network(network: Network) -> dict[str, Any]:
    """The network as the page's script reads it; raises ValueError for one that it cannot teach as `adapt` does.

    Its step is φ ← φ - α ∘ (∇L(φ) + λ (φ - θ)): `layers` are θ, `rates` are α, `pull` is λ, 0 but for iMAML.
    """
    settings, meta_params = network.loaded.settings, network.loaded.meta_params
    model = check_model(settings)
    params = meta_params.params if settings["learner"]["name"] in WRAPPED else meta_params
    return {
        "label": network.label,
        "note": network.note,
        "activation": next(name for name, function in ACTIVATIONS.items() if function is model.activation),
        "pull": settings["learner"].get("strength", 0.0),
        "layers": layers(params, model),
        "rates": layers(step_sizes(settings, meta_params, params), model),
    }


def check_model(settings: Settings) -> MLP:
    """The model of these settings; raises ValueError unless it is a regression from one number to another."""
    model = build_model(settings)
    if not isinstance(model, MLP):
        raise ValueError(f"a page takes an MLP of jax_meta.models, not {of(settings['model'])}.")
    if settings["loss"] != "regression":
        raise ValueError(f"a page takes a regression, and this is {of(settings['loss'], 'name')}.")
    if np.prod(settings["input_shape"], dtype=int) != 1 or model.outputs != 1:
        shape = tuple(settings["input_shape"])
        raise ValueError(f"a page takes one input and one output, not {shape} inputs and {model.outputs} outputs.")
    if model.normalise:
        raise ValueError("a page takes no MLP that normalises, whose curve would be another with each set of points.")
    return model


def of(setting: Any, key: str = "") -> str:
    """A setting for a message."""
    return "one of your own" if setting is None else str(setting if key else setting["name"])


def step_sizes(settings: Settings, meta_params: Any, params: Any) -> Any:
    """How far each parameter moves along its gradient, in the structure of `params`."""
    learner, optimizer = settings["learner"], settings["optimizer"]
    if learner["name"] not in TAUGHT:
        raise ValueError(
            f"a page takes models of {', '.join(TAUGHT)}, and this is {learner['name']}'s: use "
            "python -m jax_meta adapt, which takes any."
        )
    if learner["name"] == "meta_sgd":
        return meta_params.step_sizes
    if optimizer["name"] != "sgd" or optimizer.get("momentum"):
        raise ValueError(
            f"a page takes plain steps of SGD, and the inner optimizer is {optimizer['name']}"
            f"{' with momentum' if optimizer['name'] == 'sgd' else ''}: use python -m jax_meta adapt, which takes any."
        )
    rate = np.float32(optimizer["learning_rate"])
    if "is_head" not in learner:
        return jax.tree.map(lambda _: rate, params)
    moved = select_part(params, learner["is_head"], "is_head", inverse=learner["name"] == "boil")
    return jax.tree.map(lambda part, _: np.float32(0) if part is None else rate, moved, params, is_leaf=is_none)


def is_none(leaf: Any) -> bool:
    """Whether a leaf of the tree is None, as the body is in a head."""
    return leaf is None


def layers(tree: Any, model: MLP) -> list[dict[str, Any]]:
    """What the tree has for each layer, from the first to the last."""
    if sum(np.size(leaf) for leaf in jax.tree.leaves(tree)) > MAX_NUMBERS:
        raise ValueError(f"a page takes at most {MAX_NUMBERS:,} parameters: use python -m jax_meta adapt.")
    found = [tree["params"][f"Dense_{layer}"] for layer in range(len(model.hidden) + 1)]
    return [{name: encode(f"Dense_{index}.{name}", layer[name]) for name in layer} for index, layer in enumerate(found)]


def encode(name: str, array: Any) -> dict[str, Any]:
    """An array of floats as text: its shape, and its numbers as float32 in base64, little-endian."""
    array = np.asarray(array)
    if array.dtype.itemsize < 4:
        raise ValueError(f"a page computes in float32, and {name} is {array.dtype.name}: save it as float32.")
    with np.errstate(over="ignore"):
        numbers = array.astype("<f4")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} has numbers that are not finite in float32: train it again, or get the file anew.")
    return {"shape": list(numbers.shape), "values": base64.b64encode(numbers.tobytes()).decode()}
