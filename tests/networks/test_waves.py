"""The fast sine is the sine, and the networks of sines are those of their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jax_meta.networks.layers import FourierFeatures, sine
from jax_meta.networks.models import SIREN
from jax_meta.networks.waves import PI, cosine

KEY = jax.random.key(0)
WAVES = {"sine": (sine, np.sin), "cosine": (cosine, np.cos)}


@pytest.mark.parametrize(("fast", "exact"), WAVES.values(), ids=WAVES)
@pytest.mark.parametrize("farthest", [4.0, 100.0, 1e4])
def test_a_fast_wave_is_that_of_float64_to_two_units_in_the_last_place_of_one(fast, exact, farthest):
    inputs = np.linspace(-farthest, farthest, 200_001, dtype=np.float32)
    found = np.asarray(jax.jit(fast)(inputs))
    assert found.dtype == np.float32
    assert np.abs(found - exact(inputs.astype(np.float64))).max() < 2e-7
    assert np.abs(found).max() <= 1 + 1e-7


def test_pi_in_one_part_would_not_do():
    inputs = np.linspace(9e3, 1e4, 1_001, dtype=np.float32)
    half_turns = np.round(inputs / np.float32(np.pi))
    left = inputs - half_turns * np.float32(np.pi)
    careless = np.sin(left) * (1 - 2 * (half_turns % 2))
    assert np.abs(careless - np.sin(inputs.astype(np.float64))).max() > 1e-4
    assert abs(sum(PI) - np.pi) < 1e-14


def test_the_derivatives_are_waves_again():
    inputs = jnp.linspace(-50, 50, 101, dtype=jnp.float32)
    expected = np.asarray(inputs, np.float64)
    first, second, third = jax.grad(sine), jax.grad(jax.grad(sine)), jax.grad(jax.grad(jax.grad(sine)))
    for derivative, values in ((first, np.cos), (second, lambda x: -np.sin(x)), (third, lambda x: -np.cos(x))):
        assert_allclose(jax.jit(jax.vmap(derivative))(inputs), values(expected), atol=2e-7)


def test_other_dtypes_are_those_of_jax():
    for dtype in (jnp.float64, jnp.bfloat16):
        inputs = jnp.linspace(-9, 9, 50, dtype=dtype)
        assert_array_equal(sine(inputs), jnp.sin(inputs))
        assert_array_equal(cosine(inputs), jnp.cos(inputs))
    assert np.isnan(sine(jnp.float32(jnp.inf)))
    assert np.isnan(sine(jnp.float32(jnp.nan)))


def test_siren_is_sines_of_its_frequency_times_its_layers():
    model, places = SIREN((5, 4), 2, 7.0), np.random.default_rng(0).uniform(-1, 1, (6, 2))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.init(KEY, places))
    layers = [params["params"][f"Dense_{layer}"] for layer in range(3)]
    hidden = places
    for layer in layers[:-1]:
        hidden = np.sin(7.0 * (hidden @ layer["kernel"] + layer["bias"]))
    assert_allclose(model.apply(params, places), hidden @ layers[-1]["kernel"] + layers[-1]["bias"], rtol=1e-12)
    assert_allclose(model.clone(outputs=None).apply(params, places), hidden, rtol=1e-12)


def test_what_enters_the_sines_is_of_one_size_at_every_depth_as_the_paper_promises():
    widths, places = (256,) * 4, np.random.default_rng(0).uniform(-1, 1, (2_000, 2))
    params = SIREN(widths).init(KEY, places)["params"]
    hidden, deviations = places, []
    for layer in range(len(widths)):
        entering = 30 * (hidden @ np.asarray(params[f"Dense_{layer}"]["kernel"]))
        hidden = np.sin(entering)
        deviations.append(entering.std())
    assert_allclose(deviations[1:], 1, rtol=0.15)
    narrow = np.asarray(params["Dense_1"]["kernel"])
    assert np.abs(narrow).max() == pytest.approx((6 / 256) ** 0.5 / 30, rel=0.01)
    first = np.asarray(params["Dense_0"]["kernel"])
    assert np.abs(first).max() == pytest.approx(1 / 2, rel=0.02)


def test_fourier_features_are_a_fixed_map_of_the_scale_that_is_asked_for():
    layer, places = FourierFeatures(500, scale=3.0, seed=1), np.random.default_rng(0).uniform(-1, 1, (4, 2))
    outputs, params = layer.init_with_output(KEY, places)
    assert not jax.tree.leaves(params)
    waves = 2 * np.pi * places @ (3.0 * np.random.default_rng(1).normal(size=(2, 500)))
    assert_allclose(outputs, np.concatenate([np.cos(waves), np.sin(waves)], axis=1), atol=1e-9)
    assert_allclose((np.asarray(outputs) ** 2).sum(axis=1), 500)  # every place is on a sphere
    assert not np.allclose(outputs, FourierFeatures(500, scale=3.0, seed=2).apply({}, places))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FourierFeatures(0, 1.0).apply({}, np.ones((3, 2))), "features"),
        (lambda: FourierFeatures(4, 0.0).apply({}, np.ones((3, 2))), "scale"),
        (lambda: FourierFeatures(4, 1.0).apply({}, np.ones(3)), r"coordinates must be \[examples, coordinates\]"),
        (lambda: SIREN(frequency=-1.0).init(KEY, np.ones((3, 2))), "frequency"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
