"""A program is found again where its functions are made of the same parts, and not where anything differs."""

import gc
import sys
import weakref
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.programs.compiled import MOST_PROGRAMS, call, program, settled_behaviour
from jax_meta.programs.known import Known
from jax_meta.programs.parts import take_apart

SCALE = 2.0
SIGN = 1.0
SETTINGS: dict[str, float] = {}
this_module = sys.modules[__name__]
NOTEBOOK = """
import flax.linen as nn

SCALE = 1.0

class Net(nn.Module):
    def __call__(self, inputs):
        return SCALE * inputs
"""


class Record(NamedTuple):
    left: float
    right: float


@dataclass(frozen=True, init=False)
class Scaled:
    """A module as Equinox has them: a frozen dataclass with an initialiser of its own, and an array."""

    weight: jax.Array

    def __init__(self, size):
        object.__setattr__(self, "weight", jnp.arange(size, dtype=float))

    def __call__(self, x):
        return x * self.weight.sum()


class Doubled(nn.Module):
    factor: float = 2.0
    offset = 0.0

    def __call__(self, inputs):
        return self.factor * inputs + SIGN * self.offset


def adder(amount, *, also=0):
    return lambda x: x + amount + also


def loss_fn(params, batch, key):
    return ((params - batch) ** 2).mean(), {}


def apply_to(function, x):
    return function(x)


def loss_of(loss_fn, params, x):
    return loss_fn(params, (x, x), jax.random.key(0))[0]


def squared_error(loss_fn, x):
    return loss_fn({}, (x, jnp.zeros_like(x)), jax.random.key(0))[0]


def update(optimizer, gradient):
    return optimizer.update(gradient, optimizer.init(gradient))[0]


def error_of(loss_fn):
    return float(call(squared_error, (loss_fn,), (jnp.ones((1, 1)),)))


def scaled_by(array, params, x):
    return array.sum() * x


def run(function, x=1.0):
    return float(call(apply_to, (function,), (jnp.asarray(x),)))


def equal(left, right):
    return take_apart(left).key == take_apart(right).key


def twice(make):
    return make(), make()


SAME = {
    "closure": lambda: adder(1.0),
    "no closure": lambda: lambda x: x,
    "partial": lambda: partial(adder, 1.0, also=2),
    "bound method of a module": lambda: Doubled(3.0).apply,
    "loss": lambda: jax_meta.regression(jax_meta.models.MLP((3,)).apply),
    "learner": lambda: jax_meta.maml(jax_meta.regression(Doubled().apply), optax.adam(0.1, eps_root=1e-8), num_steps=2),
    "schedule": lambda: optax.sgd(optax.cosine_decay_schedule(1.0, 10), momentum=0.9),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
    "mask": lambda: optax.masked(optax.sgd(0.1), {"a": True, "b": False}),
    "named tuple": lambda: Record(1.0, 2.0),
    "NumPy array": lambda: adder(np.ones(2)),
    "list, dictionary and set": lambda: adder([{"a": {1, 2}}]),
}
DIFFERENT = {
    "value": (adder(1.0), adder(2.0)),
    "type of a value": (adder(1), adder(1.0)),
    "truth": (adder(1), adder(True)),
    "sign of zero": (adder(0.0), adder(-0.0)),
    "keyword": (adder(1.0, also=1), adder(1.0, also=2)),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "default": (lambda x, y=1: x + y, lambda x, y=2: x + y),
    "module": (Doubled(2.0).apply, Doubled(3.0).apply),
    "decay of Adam": (optax.adam(0.1, b2=0.9), optax.adam(0.1, b2=0.99)),
    "momentum and none": (optax.sgd(0.1), optax.sgd(0.1, momentum=0.9)),
    "inner steps": tuple(jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=steps) for steps in (1, 2)),
    "learner": (
        jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=1),
        jax_meta.fomaml(loss_fn, optax.sgd(0.1), num_steps=1),
    ),
    "NumPy arrays": (adder(np.zeros(2)), adder(np.ones(2))),
    "lists": (adder([1.0]), adder([2.0])),
    "classes": tuple(adder(type("Net", (), {"scale": 1.0})) for _ in range(2)),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_made_twice_is_the_same(name):
    left, right = twice(SAME[name])
    assert left is not right
    assert equal(left, right)


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_not_the_same(name):
    assert not equal(*DIFFERENT[name])


def test_arrays_are_arguments_and_floats_are_not():
    assert equal(adder(jnp.float32(1)), adder(jnp.float32(2)))
    assert [run(adder(jnp.asarray(value))) for value in (1.0, 2.0)] == [2.0, 3.0]
    assert [run(adder(value)) for value in (1.0, 2.0)] == [2.0, 3.0]


def test_numbers_that_only_multiply_are_arguments():
    learning_rates = [take_apart(optax.adam(rate)) for rate in (0.1, 0.2)]
    assert learning_rates[0].key == learning_rates[1].key
    assert [parts.arguments for parts in learning_rates] == [(-0.1,), (-0.2,)]
    assert equal(optax.sgd(0.1, momentum=0.9), optax.sgd(0.2, momentum=0.8))
    assert not equal(optax.adam(0.1, b1=0.8), optax.adam(0.1, b1=0.9))


def test_an_optimizer_that_is_put_together_again_takes_the_same_steps():
    params, gradient = jnp.linspace(-1, 1, 5, dtype=jnp.float32), jnp.linspace(0.1, 3, 5, dtype=jnp.float32)

    def steps(optimizer, params, gradient):
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    for optimizer in (optax.sgd(0.3), optax.adamw(0.013), optax.rmsprop(0.07, momentum=0.3), optax.lion(0.11)):
        found = call(steps, (optimizer,), (params, gradient))
        np.testing.assert_allclose(
            found, jax.jit(partial(steps, optimizer))(params, gradient), rtol=1e-6
        )  # of rounding


def test_a_global_that_changes_is_seen(monkeypatch):
    def scaled(x):
        return SCALE * x

    assert run(scaled) == 2.0
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert run(scaled) == 5.0


def test_a_list_or_a_dictionary_that_changes_is_seen():
    SETTINGS["scale"] = 2.0
    assert run(lambda x: SETTINGS["scale"] * x) == 2.0
    SETTINGS["scale"] = 3.0
    assert run(lambda x: SETTINGS["scale"] * x) == 3.0


def test_an_attribute_of_an_object_or_of_a_module_that_changes_is_seen(monkeypatch):
    record = SimpleNamespace(scale=2.0)

    def scaled(x):
        return record.scale * this_module.SCALE * x

    assert run(scaled) == 4.0
    record.scale = 3.0
    assert run(scaled) == 6.0
    monkeypatch.setattr(this_module, "SCALE", 5.0)
    assert run(scaled) == 15.0


def test_a_method_or_a_constant_of_a_class_that_changes_is_seen(monkeypatch):
    apply = Doubled(1.0).apply
    assert run(partial(apply, {})) == 1.0
    monkeypatch.setattr(Doubled, "offset", 2.0)
    assert run(partial(apply, {})) == 3.0
    monkeypatch.setitem(globals(), "SIGN", -1.0)
    assert run(partial(apply, {})) == -1.0


def test_so_it_is_of_a_module_that_only_a_function_of_the_library_holds(monkeypatch):
    """`jax_meta.regression(module.apply)` cannot change; the class of the module can."""
    loss_fn = jax_meta.regression(Doubled(1.0).apply)
    assert error_of(loss_fn) == 1.0
    monkeypatch.setattr(Doubled, "offset", 2.0)
    assert error_of(loss_fn) == 9.0
    monkeypatch.setitem(globals(), "SIGN", -1.0)
    assert error_of(loss_fn) == 1.0


def test_so_it_is_in_a_notebook_whose_module_has_no_file(monkeypatch):
    notebook = ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    exec(NOTEBOOK, vars(notebook))
    loss_fn = jax_meta.regression(notebook.Net().apply)
    assert error_of(loss_fn) == 1.0
    notebook.SCALE = 3.0
    assert error_of(loss_fn) == 9.0


def test_an_array_of_numpy_that_changes_is_seen_within_a_function_of_a_library():
    factor = np.full(1, 2.0)
    optimizer = optax.scale(factor)

    def scaled():
        return call(update, (optimizer,), (jnp.ones(1),)).item()

    assert scaled() == 2.0
    factor[0] = 3.0
    assert scaled() == 3.0


def test_a_function_that_looks_at_an_array_it_holds_is_called_as_it_is():
    count = jnp.asarray(3)
    assert run(lambda x: x * len(range(int(count)))) == 3.0
    with pytest.raises(jax.errors.ConcretizationTypeError):
        call(apply_to, (jax.jit(int),), (1.0,))


def test_equal_parts_are_compiled_once_and_other_ones_again():
    before = program.cache_info().misses
    for factor in (2.5, 2.5, 3.5):
        assert run(partial(Doubled(factor).apply, {})) == factor
    assert program.cache_info().misses == before + 2


def test_what_cannot_change_is_taken_apart_once_and_what_can_each_time():
    """A loss of the library's network is the same as long as it lives; that of a module of this file is looked at."""
    x = (jnp.ones((1, 1)),)
    for network, looks in ((jax_meta.models.MLP((3,)), 1), (Doubled(), 3)):
        loss_fn = jax_meta.regression(network.apply)
        params = network.init(jax.random.key(0), *x)
        settled_behaviour.cache_clear()
        for _ in range(3):
            call(loss_of, (loss_fn,), (params, *x))
        assert settled_behaviour.cache_info().misses == looks


def test_inside_a_transformation_the_function_is_called_as_it_is():
    assert float(jax.grad(lambda x: call(apply_to, (lambda x: x**2,), (x,)))(3.0)) == 6.0
    rates = jnp.arange(3.0)
    np.testing.assert_array_equal(
        jax.vmap(lambda rate: call(apply_to, (adder(rate),), (jnp.ones(()),)))(rates), 1 + rates
    )
    with jax.disable_jit():
        assert run(adder(1.0)) == 2.0


def test_a_frozen_dataclass_is_put_together_without_its_initialiser():
    assert [run(Scaled(size)) for size in (3, 4)] == [3.0, 6.0]
    assert equal(Scaled(3), Scaled(3))
    assert take_apart(Scaled(3)).make((jnp.ones(2),))(2.0) == 4.0


def test_recursion_ends():
    def factorial(x, n=3):
        return x if n == 0 else n * factorial(x, n - 1)

    assert run(factorial) == 6.0


def test_what_was_forgotten_is_freed_and_no_array_is_kept():
    program.cache_clear()
    array = jnp.arange(5.0)
    kept = weakref.ref(array)
    call(apply_to, (lambda x, array=array: x + array.sum(),), (jnp.ones(()),))
    del array
    gc.collect()
    assert kept() is None
    array = jnp.arange(5.0)
    kept = weakref.ref(array)
    assert error_of(jax_meta.regression(partial(scaled_by, array))) == 100.0  # which a function of the library holds
    del array
    gc.collect()
    assert kept() is None
    for value in range(MOST_PROGRAMS + 5):
        program(Known(value, (apply_to, lambda values: None, {})))
    assert program.cache_info().currsize == MOST_PROGRAMS
