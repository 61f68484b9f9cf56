"""Fine-tuning: the steps of the inner loop, minibatches, augmentation, what is measured, and its memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jax_meta
from jax_meta.programs.compiled import program

KEY = jax.random.key(0)
DATA = (jnp.arange(12.0).reshape(6, 2), jnp.array([0, 1, 0, 1, 0, 1]))
START = jnp.ones((2, 2)) / 3
CLASSIFICATION = jax_meta.classification(lambda params, inputs: inputs @ params)


def seen(params, batch, key):
    """A loss whose gradient is the sum of the inputs of the minibatch, whatever the parameters."""
    del key
    loss = params * batch[0].sum()
    return loss, {"loss": loss}


def fine_tune(loss_fn=CLASSIFICATION, start=START, data=DATA, *, rate=0.1, num_steps=4, **options):
    return jax_meta.fine_tune(loss_fn, optax.sgd(rate), start, data, KEY, num_steps=num_steps, **options)


def test_on_all_of_the_data_it_is_adapt():
    fitted, history = fine_tune(rate=0.01, num_steps=9)
    options = {"num_steps": 9, "observe": lambda params: CLASSIFICATION(params, DATA, KEY)[0]}
    adapted, losses = jax_meta.adapt(CLASSIFICATION, optax.sgd(0.01), START, DATA, KEY, **options)
    assert_allclose(fitted, adapted, rtol=1e-6)
    assert_allclose(history.loss, losses[:-1], rtol=1e-6)
    assert history.loss[0] > history.loss[-1]
    assert history.measured == {}


def test_a_pass_has_every_example_once_and_the_next_has_another_order():
    data = (2.0 ** jnp.arange(6)[:, None], jnp.zeros(6, jnp.int32))
    _, history = fine_tune(seen, jnp.ones(()), data, rate=0.0, num_steps=12, batch_size=2)
    minibatches = [{bit for bit in range(6) if int(loss) >> bit & 1} for loss in history.loss]
    assert [len(minibatch) for minibatch in minibatches] == [2] * 12
    passes = [minibatches[first : first + 3] for first in range(0, 12, 3)]
    assert all(set.union(*found) == set(range(6)) for found in passes)
    assert len({tuple(map(frozenset, found)) for found in passes}) > 1


def test_each_example_is_augmented_by_itself_and_anew_in_every_step():
    def augment(key, inputs):
        return inputs + jax.random.normal(key, inputs.shape)

    def spread(params, batch, key):
        del key
        loss = params * batch[0].std()
        return loss, {"loss": loss}

    still = (jnp.zeros((500, 1)), jnp.zeros(500, jnp.int32))
    _, history = fine_tune(spread, jnp.ones(()), still, rate=0.0, augment=augment)
    assert_allclose(history.loss, 1, rtol=0.2)
    assert len(set(history.loss.tolist())) == 4


def test_what_is_measured_is_of_the_parameters_after_those_steps():
    def norm(params):
        return {"norm": jnp.sum(params**2)}

    _, everything = fine_tune(measure=norm)
    _, some = fine_tune(measure=norm, measure_after=(4, 0, 2))
    norms = [norm(fine_tune(num_steps=steps)[0])["norm"] for steps in range(5)]
    assert_allclose(everything.measured["norm"], norms, rtol=1e-6)
    assert_allclose(some.measured["norm"], [norms[4], norms[0], norms[2]], rtol=1e-6)


def test_nothing_is_computed_where_nothing_is_measured():
    calls = []

    def measure(params):
        jax.debug.callback(lambda: calls.append(1))
        return {"first": params[0, 0]}

    jax.jit(lambda start: fine_tune(start=start, measure=measure, measure_after=[3]))(START)
    jax.effects_barrier()
    assert len(calls) == 1


def test_no_steps_leave_the_start_as_it_is():
    fitted, history = fine_tune(num_steps=0, measure=lambda params: {"first": params[0, 0]})
    assert_array_equal(fitted, START)
    assert history.loss.shape == (0,)
    assert_array_equal(history.measured["first"], START[:1, 0])


def test_it_can_be_compiled_mapped_and_differentiated():
    def last_loss(start, key):
        options = {"num_steps": 5, "batch_size": 2, "measure": lambda params: {"first": params[0, 0]}}
        fitted, history = jax_meta.fine_tune(CLASSIFICATION, optax.sgd(0.01), start, DATA, key, **options)
        return CLASSIFICATION(fitted, DATA, key)[0], history

    keys, starts = jax.random.split(KEY, 3), jnp.stack([START, 2 * START, 3 * START])
    losses, histories = jax.jit(jax.vmap(last_loss))(starts, keys)
    for start, key, loss, first in zip(starts, keys, losses, histories.measured["first"], strict=True):
        alone, history = last_loss(start, key)
        assert_allclose(loss, alone, rtol=1e-5)
        assert_allclose(first, history.measured["first"], rtol=1e-5)
    of_start = partial(last_loss, key=KEY)
    slope = jax.grad(lambda start: of_start(start)[0])(START)
    step = 1e-3 * slope / jnp.linalg.norm(slope)
    rise = (of_start(START + step)[0] - of_start(START - step)[0]) / 2e-3
    assert_allclose(rise, jnp.linalg.norm(slope), rtol=1e-2)


def test_it_is_found_again_compiled():
    before = program.cache_info().misses
    for rate in (0.1, 0.2):
        loss_fn = jax_meta.classification(jax_meta.models.MLP((3,), 2).apply)
        start = jax_meta.models.MLP((3,), 2).init(KEY, DATA[0])
        fine_tune(loss_fn, start, rate=rate, batch_size=2, augment=lambda key, inputs: inputs)
    assert program.cache_info().misses == before + 1


def temporary_bytes(num_steps):
    """Of a program that takes so many steps on 2,500 images, beside its arguments and results."""
    model = jax_meta.models.ResNet(5, (8, 16))
    loss_fn = jax_meta.classification(model.apply)
    images = jax.ShapeDtypeStruct((2_500, 16, 16, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((2_500,), jnp.int32)
    start = jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32))

    def run(start, data, key):
        options = {"num_steps": num_steps, "batch_size": 64, "augment": jax_meta.tasks.flip}
        return jax_meta.fine_tune(loss_fn, optax.sgd(0.1, momentum=0.9), start, data, key, **options)

    return jax.jit(run).lower(start, (images, labels), KEY).compile().memory_analysis().temp_size_in_bytes


def test_two_hundred_steps_take_the_memory_of_one():
    assert temporary_bytes(200) < 1.1 * temporary_bytes(1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 7}, ValueError, "batch_size must be from 1 to the 6 examples"),
        ({"num_steps": -1}, ValueError, "num_steps must be an integer of 0 or more"),
        ({"measure_after": [1]}, ValueError, r"nothing says what: give measure=\(params\) -> metrics"),
        ({"measure": 3}, TypeError, "measure must be a function"),
        ({"measure": lambda params: {}, "measure_after": [5]}, ValueError, r"from 0 to num_steps, 4, got \(5,\)"),
        ({"measure": lambda params: {}, "measure_after": []}, ValueError, "one or more steps"),
        ({"measure": lambda params: params.sum()}, TypeError, "let measure return {'accuracy': accuracy}"),
        ({"measure": lambda params: {"all": params}}, ValueError, "must be a scalar"),
        ({"augment": lambda key, inputs: inputs[:1]}, ValueError, "it must keep their shape"),
        ({"augment": lambda key, inputs: inputs, "data": DATA[0]}, ValueError, r"a pair \(inputs, targets\)"),
        ({"data": (DATA[0], DATA[1] + 1)}, ValueError, "needs labels from 0 to 1, got labels from 1 to 2"),
        ({"data": (DATA[0], DATA[1][:3])}, ValueError, "every leaf of batch needs the same leading axis"),
        ({"start": 1.0}, TypeError, "parameters must be arrays"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_are_refused_with_the_remedy(options, error, message):
    with pytest.raises(error, match=message):
        fine_tune(**options)


def test_a_start_that_knows_the_task_is_better_after_few_steps():
    """What it is for: of two starts, the one of a like task is ahead."""
    draw = np.random.default_rng(0)
    inputs = jnp.asarray(draw.normal(size=(400, 8)))
    data = (inputs, (inputs @ draw.normal(size=8) > 0).astype(jnp.int32))

    def accuracy(params):
        return {"accuracy": CLASSIFICATION(params, data, KEY)[1]["accuracy"]}

    options = {"batch_size": 20, "measure": accuracy, "measure_after": (5,)}
    cold = jnp.zeros((8, 2))
    known, _ = fine_tune(start=cold, data=data, num_steps=100, batch_size=20)
    found = [
        fine_tune(start=start, data=data, num_steps=5, **options)[1].measured["accuracy"] for start in (cold, known)
    ]
    assert found[0] < found[1]
