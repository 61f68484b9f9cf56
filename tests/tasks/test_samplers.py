"""What `fit` asks of a sampler: that it draws by its key, and how many meta-steps' tasks may be drawn at once."""

import functools
import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

import jax_meta
from jax_meta import sampling
from jax_meta.sampling import Blocks, check_sampler, follow, in_blocks, steps_ahead
from jax_meta.tasks import sinusoid
from tests.tasks.numbers import KEY, LEARNER, NUM_TASKS, OUTER, as_task, distance, start

ROWS = np.random.default_rng(0).normal(size=(20, 3, 1))


def by_key(key, num_tasks):
    return as_task(jax.random.normal(key, (num_tasks, 3, 1)))


def by_numpy(key, num_tasks):
    return as_task(np.random.normal(size=(num_tasks, 3, 1)))


def by_python(key, num_tasks):
    return as_task(jnp.full((num_tasks, 3, 1), random.random()))


def by_seed(key, num_tasks):
    return by_key(jax.random.key(np.random.randint(100)), num_tasks)


def constant(key, num_tasks):
    return as_task(jnp.asarray(ROWS[:num_tasks]))


def by_callback(key, num_tasks):
    shape = jax.ShapeDtypeStruct((num_tasks, 3, 1), ROWS.dtype)
    return as_task(jax.pure_callback(lambda: np.random.normal(size=shape.shape), shape))


def key_beside(key, num_tasks):
    """The key is used, compiled and in loops, but not for the tasks."""

    def body(carry, _):
        key, rows = carry
        return (jax.random.split(key)[0], rows * 2), None

    (key, rows), _ = jax.lax.scan(body, (key, jnp.asarray(ROWS[:num_tasks])), length=2)
    _, rows = jax.lax.while_loop(
        lambda carry: carry[1].sum() < 0, lambda carry: (jax.random.split(carry[0])[0], carry[1] + 1.0), (key, rows)
    )
    rows = jax.lax.cond(rows.sum() > 0, lambda key, rows: rows, lambda key, rows: -rows, key, rows)
    return as_task(jax.nn.relu(jax.checkpoint(lambda key, rows: rows + 1)(key, rows)))


FROZEN = [by_numpy, by_python, by_seed, constant, by_callback, key_beside, jax.jit(by_numpy, static_argnums=1)]


@pytest.mark.parametrize("sampler", [*FROZEN, jax.tree_util.Partial(by_numpy)])
def test_tasks_that_do_not_depend_on_the_key_are_refused(sampler):
    with pytest.raises(ValueError, match=r"does not depend on its key.*jax\.random.*jax_meta\.host_tasks.*fit_tasks"):
        check_sampler(sampler, KEY, NUM_TASKS)


def classes_by_numpy(key, num_tasks):
    """Classes drawn on the host, and examples by the key: half frozen."""
    rows = jnp.asarray(ROWS)[np.random.permutation(20)[:num_tasks]]
    return as_task(jax.random.permutation(key, rows, axis=1))


def scale_by_python(key, num_tasks):
    return as_task(by_key(key, num_tasks).support[0] * random.random())


def window_by_numpy(key, num_tasks):
    """A slice whose place is drawn on the host is a parameter of an operation, and no constant."""
    start = np.random.randint(1000)
    return as_task(jax.random.normal(key, (num_tasks, 1003, 1))[:, start : start + 3])


def branch_by_python(key, num_tasks):
    scale = random.random()
    return as_task(jax.lax.cond(jax.random.bernoulli(key), lambda: scale, lambda: 0.0) * jnp.ones((num_tasks, 3, 1)))


def inner_seed(key, num_tasks):
    """The number is an argument of what is compiled inside."""
    return as_task(jax.random.uniform(key, (num_tasks, 3, 1), maxval=np.random.uniform()))


def decorated(sampler):
    @functools.wraps(sampler)
    def wrapper(key, num_tasks):
        return by_key(key, num_tasks)

    return wrapper


@partial(jax.jit, static_argnums=1)
def compiled_inside(key, num_tasks):
    return jax.random.normal(key, (num_tasks, 3, 1)) * np.random.uniform()


def by_what_was_compiled(key, num_tasks):
    """What was compiled before, and is not traced again by itself."""
    return as_task(compiled_inside(key, num_tasks))


HALF_FROZEN = [by_what_was_compiled, classes_by_numpy, scale_by_python, window_by_numpy, branch_by_python, inner_seed]


@pytest.mark.parametrize("sampler", [*HALF_FROZEN, jax.jit(classes_by_numpy, static_argnums=1)])
def test_draws_on_the_host_beside_the_key_are_refused(sampler):
    with pytest.raises(ValueError, match=r"other tasks when it is traced again.*jax\.random.*jax_meta\.host_tasks"):
        check_sampler(sampler, KEY, NUM_TASKS)


def by_cond(key, num_tasks):
    return as_task(jnp.where(jax.random.bernoulli(key), jnp.asarray(ROWS[:num_tasks]), 0.0))


def by_branch(key, num_tasks):
    return as_task(
        jax.lax.cond(jax.random.bernoulli(key), lambda: jnp.ones((num_tasks, 3, 1)), lambda: -as_ones(num_tasks))
    )


def as_ones(num_tasks):
    return jnp.ones((num_tasks, 3, 1))


def by_while(key, num_tasks):
    """Only how often the loop runs depends on the key."""
    end = jax.random.randint(key, (), 0, 5)
    _, value = jax.lax.while_loop(lambda carry: carry[0] < end, lambda carry: (carry[0] + 1, carry[1] * 2), (0, 1.0))
    return as_task(as_ones(num_tasks) * value)


def by_scan(key, num_tasks):
    """The key reaches the tasks in the third turn of the loop."""

    def body(carry, _):
        first, second, third = carry
        return (first, first, second), third

    start = jax.random.uniform(key)
    _, values = jax.lax.scan(body, (start, 0 * start.dtype.type(0), jnp.zeros_like(start) * 0), length=4)
    return as_task(as_ones(num_tasks) * values.sum())


def by_bits(key, num_tasks):
    return as_task(as_ones(num_tasks) * jax.random.key_data(key)[0].astype(jnp.int8))


def by_key_callback(key, num_tasks):
    shape = jax.ShapeDtypeStruct((num_tasks, 3, 1), ROWS.dtype)
    return as_task(jax.pure_callback(lambda key: np.ones(shape.shape), shape, jax.random.key_data(key)))


@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(0), jax.random.key(0, impl="rbg")], ids=["key", "raw", "rbg"])
@pytest.mark.parametrize(
    "sampler",
    [
        by_key,
        by_cond,
        by_branch,
        by_while,
        by_scan,
        by_bits,
        by_key_callback,
        jax.jit(decorated(by_numpy), static_argnums=1),
    ],
)
def test_what_depends_on_the_key_in_any_way_passes(sampler, key):
    check_sampler(sampler, key, NUM_TASKS)


@pytest.mark.parametrize("sampler", [by_numpy, classes_by_numpy])
def test_fit_and_train_refuse_them(sampler, tmp_path):
    learner = jax_meta.transfer(lambda params, batch, key: (params * batch[0].mean(), {}), optax.sgd(0.1), num_steps=0)
    state = jax_meta.init(learner, optax.sgd(0.1), jnp.ones(()), KEY)
    for call in (jax_meta.fit, partial(jax_meta.train, folder=tmp_path / "run")):
        with pytest.raises(ValueError, match=r"jax_meta\.host_tasks"):
            call(learner, optax.sgd(0.1), sampler, state, num_meta_steps=3, num_tasks=NUM_TASKS)
    assert not (tmp_path / "run").exists()


def test_the_errors_of_tracing_name_host_tasks():
    def by_generator(key, num_tasks):
        return as_task(np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=(num_tasks, 3, 1)))

    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        check_sampler(by_generator, KEY, NUM_TASKS)
    assert any("jax_meta.host_tasks" in note for note in caught.value.__notes__)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"got a list.*jax_meta\.host_tasks"):
        jax_meta.fit(LEARNER, OUTER, [by_key(KEY, 2)], start(), num_meta_steps=1)


def test_follow_tells_which_outputs_depend_and_the_room_they_take():
    def function(key, data):
        order = jax.random.permutation(key, 1_000)
        return data[order[0]], data.sum()

    data = jnp.zeros((1_000, 500), jnp.float32)
    jaxpr = jax.make_jaxpr(function)(KEY, data).jaxpr
    outputs, most = follow(jaxpr, [True, False])
    assert outputs == [True, False]
    assert most == 1_000 * (4 + jnp.arange(1).dtype.itemsize)  # random bits and places, which are sorted together


def test_a_large_draw_of_small_tasks_is_not_made_for_many_steps_at_once():
    rows = jnp.zeros((100_000, 1))

    def sampler(key, num_tasks):
        chosen = jax.vmap(lambda key: jax.random.choice(key, 100_000, (3,), replace=False))(
            jax.random.split(key, num_tasks)
        )
        return as_task(rows[chosen])

    assert steps_ahead(partial(sampler, num_tasks=4), KEY) == 1
    task_bytes = 4 * 20 * 2 * 8
    assert steps_ahead(partial(sinusoid.sample_tasks, num_tasks=4), KEY) == sampling.SAMPLE_AHEAD_BYTES // task_bytes


def test_blocks_hold_every_step_once_and_are_as_large_whatever_the_number():
    for most in (1, 2, 3, 7, 16, 100):
        for steps in range(300):
            count, size = in_blocks(steps, most)
            assert 1 <= size <= most
            assert size >= min(most, steps) // 2
            assert steps <= count * size < steps + max(count, 1)
    assert in_blocks(5_000, 1638) == Blocks(4, 1250)
    assert in_blocks(9_973, 1638) == Blocks(7, 1425)


def fit_of(monkeypatch, most):
    """`fit` of numbers to those of the tasks, of which at most so many meta-steps' are drawn at once."""
    monkeypatch.setattr(jax_meta.outer, "steps_ahead", lambda *_: most)
    learner = jax_meta.transfer(distance, optax.sgd(0.2), num_steps=1)
    return partial(jax_meta.fit, learner, OUTER, by_key, num_tasks=2)


def test_a_prime_number_of_steps_gives_the_bits_of_single_steps(monkeypatch):
    fit = fit_of(monkeypatch, 4)
    whole, history = fit(start(), num_meta_steps=11)
    one, losses = start(), []
    for _ in range(11):
        one, last = fit(one, num_meta_steps=1)
        losses.append(last["loss"][0])
    jax.tree.map(assert_array_equal, whole._replace(key=0), one._replace(key=0))
    assert_array_equal(history["loss"], losses)


def test_a_prime_number_of_steps_can_be_mapped_and_differentiated(monkeypatch):
    def slopes(most):
        fit = fit_of(monkeypatch, most)
        last_loss = jax.grad(lambda params, key: fit(start(params, key), num_meta_steps=11)[1]["loss"][-1])
        return jax.vmap(last_loss, (None, 0))(3.0, jax.random.split(KEY, 2))

    in_three_blocks, in_one = slopes(4), slopes(11)
    np.testing.assert_allclose(in_three_blocks, in_one, rtol=1e-12)
    assert (in_one != 0).all()
