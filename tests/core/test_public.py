"""What the package offers: its names, and of each what it takes, gives and raises, with an example that runs."""

import inspect
from types import ModuleType

import pytest

import jax_meta

CORE = ("algorithms", "base", "checks", "evaluation", "fine_tuning", "inner", "meta_step", "outer")
PUBLIC = {name: getattr(jax_meta, name) for name in jax_meta.__all__}
FUNCTIONS = [
    name for name, value in PUBLIC.items() if inspect.isfunction(value) and value.__module__.split(".")[1] in CORE
]


def test_completion_offers_the_public_names_alone():
    assert sorted(dir(jax_meta)) == sorted([*jax_meta.__all__, "__version__"])
    modules = {name for name, value in PUBLIC.items() if isinstance(value, ModuleType)}
    assert modules == {"datasets", "layers", "models", "tasks"}


@pytest.mark.parametrize("module", [jax_meta.layers, jax_meta.models, jax_meta.networks])
def test_so_it_does_within_the_modules_of_networks(module):
    assert dir(module) == sorted(module.__all__)


def test_the_types_of_public_signatures_are_public():
    assert {"AdaptFn", "GradientFn", "LossFn", "Sampler"} <= PUBLIC.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_they_take_and_show_how(name):
    function = PUBLIC[name]
    words = inspect.getdoc(function)
    assert "Example:\n    >>> " in words
    assert "Args:\n" in words
    for parameter in inspect.signature(function).parameters:
        assert f"    {parameter}: " in words
    assert ("Returns:\n" in words) == (inspect.signature(function).return_annotation is not None)
