"""The page "Draw five characters": what it holds is the model, and what it says of it is measured."""

import base64
import json

import jax
import numpy as np
import pytest

from jax_meta.networks.models import Conv4
from jax_meta.saved.files import load_model
from tests.saved.model_file_cases import KEY, saved
from tests.saved.pages import DEMO, assert_loads_nothing, data_of, demo

characters, train = demo("characters"), demo("train_characters")
PAGE = characters.characters_page()
TOLD = json.loads((DEMO / "characters.json").read_text("utf-8"))


def decode(array):
    return np.frombuffer(base64.b64decode(array["values"]), "<f4").reshape(array["shape"])


def test_a_page_holds_the_network_and_loads_nothing():
    params = load_model(DEMO / "networks" / "characters.safetensors").meta_params["params"]
    network = data_of(PAGE)["network"]
    assert_loads_nothing(PAGE)
    assert "{{" not in PAGE.split("<script", 1)[0]
    assert len(network["layers"]) == len(network["rates"]) == 5
    kernel = decode(network["layers"][2]["kernel"])
    assert kernel[5, 3, 0, 1] == params["ConvBlock_2"]["Convolution_0"]["kernel"][0, 1, 3, 5]
    np.testing.assert_array_equal(decode(network["layers"][3]["bias"]), params["ConvBlock_3"]["BatchNorm_0"]["bias"])
    np.testing.assert_array_equal(decode(network["layers"][4]["kernel"]), params["Dense_0"]["kernel"])
    rate = load_model(DEMO / "networks" / "characters.safetensors").settings["optimizer"]["learning_rate"]
    assert {decode(of).item() for layer in network["rates"] for of in layer.values()} == {rate}


def test_figures_on_the_page_are_those_that_were_measured():
    for accuracies in TOLD["accuracy_after_inner_steps"].values():
        assert f"<b>{accuracies[1]:.1f}%</b>" in PAGE


def test_sets_are_five_pairs_of_different_drawings():
    drawings = [drawing for taken in TOLD["sets"] for part in ("support", "query") for drawing in taken[part]]
    assert len(drawings) == len(set(drawings)) == 10 * len(TOLD["sets"])
    for drawing in drawings:
        ink = np.unpackbits(np.frombuffer(base64.b64decode(drawing), np.uint8))[: train.SIDE**2]
        assert 100 < ink.sum() < 2000


@pytest.mark.parametrize(
    "model",
    [Conv4(5, 8, "pool", "mean"), Conv4(5, 8, "stride", "flatten"), Conv4(5, 8, "stride", "mean", use_scale=True)],
)
def test_other_networks_are_refused(tmp_path, model):
    params = jax.jit(model.init)(KEY, np.zeros((1, 28, 28, 1), np.float32))
    settings = {"model": model, "input_shape": (28, 28, 1), "loss": "classification", "learner": "maml"}
    path = saved(tmp_path / "model", params, **settings)
    with pytest.raises(ValueError, match="knows Conv4 with strides and the mean over space, not Conv4"):
        characters.describe_characters(load_model(path))


@pytest.mark.parametrize("corner", [(0, 0), (6, 1), (2, 4)])
def test_a_drawing_is_moved_to_the_middle(corner):
    ink = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    drawing = np.full((9, 9), 255, np.uint8)
    drawing[corner[0] : corner[0] + 2, corner[1] : corner[1] + 3] = ink
    expected = np.full((9, 9), 255, np.uint8)
    expected[3:5, 3:6] = ink
    np.testing.assert_array_equal(train.centred(drawing), expected)
