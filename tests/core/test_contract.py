"""Every learner has every property that a user of its three functions counts on."""

import inspect
from functools import cache, partial

import jax
import jax.numpy as jnp
import optax
import pytest

import jax_meta
from jax_meta.meta_step import step_keys
from tests.learners import (
    LEARNERS,
    NUM_STEPS,
    STEP_SIZE,
    assert_close,
    assert_equal,
    first_task,
    outer_for,
    quadratics,
    sines,
)

KEY = jax.random.key(7)
OUTER = optax.sgd(0.01, momentum=0.9)
PROBLEM = quadratics()
TASKS = PROBLEM.sample_tasks(KEY, 4)
TASK = first_task(TASKS)
SINES = sines()
SINE_TASKS = SINES.sample_tasks(KEY, 2)
FACTORIES = {
    name: function
    for name, function in inspect.getmembers(jax_meta, inspect.isfunction)
    if inspect.signature(function).return_annotation is jax_meta.MetaLearner
}


@pytest.fixture(scope="module", params=LEARNERS)
def build(request):
    return LEARNERS[request.param]


@pytest.fixture(scope="module")
def traces(build):
    """One entry for each time that the learner's loss was traced or called."""
    del build
    return []


@pytest.fixture(scope="module")
def learner(build, traces):
    def loss_fn(params, batch, key):
        traces.append(1)
        return PROBLEM.loss_fn(params, batch, key)

    return build(loss_fn)


@pytest.fixture(scope="module")
def meta_params(learner):
    return learner.init(PROBLEM.params)


@pytest.fixture(scope="module")
def compiled(learner, meta_params):
    return jax.jit(partial(jax_meta.meta_gradient, learner))(meta_params, TASKS, KEY)


@cache
def outer(learner):
    return outer_for(learner, PROBLEM.params, OUTER)


def start(learner, key=KEY):
    return jax_meta.init(learner, outer(learner), PROBLEM.params, key)


def fit(learner, state, num_steps=4):
    return jax_meta.fit(learner, outer(learner), PROBLEM.sample_tasks, state, num_meta_steps=num_steps, num_tasks=2)


def test_every_learner_is_listed():
    assert FACTORIES.keys() == {name.split(",")[0] for name in LEARNERS}


@pytest.mark.parametrize("factory", FACTORIES)
def test_factory_takes_options_by_keyword(factory):
    parameters = inspect.signature(FACTORIES[factory]).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    assert positional in (["loss_fn", "optimizer"], ["loss_fn"])


def test_argument_names(learner):
    def positional(function):
        parameters = inspect.signature(function).parameters.values()
        return [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]

    assert positional(learner.init) == ["params"]
    assert positional(learner.adapt)[1:] == ["batch", "key"]
    assert {"num_steps", "observe"} <= inspect.signature(learner.adapt).parameters.keys()
    assert positional(learner.gradient)[1:] in (["task", "key"], ["args", "kwargs"])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradient_has_the_types_of_the_meta_parameters(build, dtype):
    params, tasks = optax.tree.cast((SINES.params, SINE_TASKS), dtype)
    learner = build(SINES.loss_fn)
    meta_params = learner.init(params)
    gradient, metrics = jax.eval_shape(partial(jax_meta.meta_gradient, learner), meta_params, tasks, KEY)
    assert jax.tree.map(jax.typeof, gradient) == jax.tree.map(jax.typeof, meta_params)
    assert metrics["loss"].dtype == dtype


def test_gradient_is_finite_with_a_relu_network_in_single_precision(build):
    learner = build(SINES.loss_fn)
    meta_params, tasks = optax.tree.cast((learner.init(SINES.params), SINE_TASKS), jnp.float32)
    gradient, metrics = jax.jit(partial(jax_meta.meta_gradient, learner))(meta_params, tasks, KEY)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, metrics)))
    assert optax.tree.norm(gradient) > 0


def test_metrics_are_scalars_by_name(compiled):
    _, metrics = compiled
    assert {name: value.shape for name, value in metrics.items()} == {"loss": ()}


def test_jit_equals_eager(learner, meta_params, compiled):
    assert_close(jax_meta.meta_gradient(learner, meta_params, TASKS, KEY), compiled)


def test_vmap_equals_loop(learner, meta_params, compiled):
    gradient = jax.jit(learner.gradient)
    keys = jax.random.split(KEY, 4)
    single = [gradient(meta_params, jax.tree.map(lambda leaf, i=i: leaf[i], TASKS), keys[i]) for i in range(4)]
    assert_close(jax.tree.map(lambda *leaves: sum(leaves) / 4, *single), compiled)


def test_task_batch_size_changes_nothing(learner, meta_params, compiled):
    split = jax.jit(partial(jax_meta.meta_gradient, learner, task_batch_size=2))
    assert_close(split(meta_params, TASKS, KEY), compiled)


@pytest.mark.parametrize("at_once", [True, False])
def test_the_gradient_of_a_loss_is_summed_over_tasks_in_the_products(at_once):
    learner = jax_meta.transfer(SINES.loss_fn, optax.sgd(STEP_SIZE), num_steps=1)
    if not at_once:
        of_one_task = learner.gradient
        learner = learner._replace(gradient=lambda *inputs: of_one_task(*inputs))
    kernels = [leaf.shape for leaf in jax.tree.leaves(SINES.params) if leaf.ndim == 2]
    program = str(jax.make_jaxpr(partial(jax_meta.meta_gradient, learner))(SINES.params, SINE_TASKS, KEY))
    of_each_task = [f"[2,{inputs},{outputs}]" in program for inputs, outputs in kernels]
    assert not any(of_each_task) if at_once else all(of_each_task)


def test_fit_is_compiled_once(learner, traces):
    state, _ = fit(learner, start(learner))
    first = len(traces)
    fit(learner, state)
    assert len(traces) == first > 0


def test_observations_start_before_the_first_step_and_end_after_the_last(learner, meta_params):
    adapted, observed = learner.adapt(meta_params, TASK.support, KEY, observe=lambda params: params)
    unadapted = learner.adapt(meta_params, TASK.support, KEY, num_steps=0)
    assert_close(unadapted, PROBLEM.params)
    assert_close(jax.tree.map(lambda leaf: leaf[0], observed), unadapted)
    assert_close(jax.tree.map(lambda leaf: leaf[-1], observed), adapted)
    assert_close(adapted, learner.adapt(meta_params, TASK.support, KEY))
    assert {len(leaf) for leaf in jax.tree.leaves(observed)} == {NUM_STEPS + 1}


def test_evaluation_ends_with_the_loss_of_the_adapted_model(learner, meta_params):
    curves = jax_meta.evaluate(learner, PROBLEM.loss_fn, meta_params, TASKS, KEY, num_steps=2)
    adapt_key, loss_key = jax.random.split(jax.random.split(KEY, 4)[0])
    adapted = learner.adapt(meta_params, TASK.support, adapt_key, num_steps=2)
    assert curves["loss"].shape == (4, 3)
    assert_close(curves["loss"][0, 0], PROBLEM.loss_fn(PROBLEM.params, TASK.query, loss_key)[0])
    assert_close(curves["loss"][0, -1], PROBLEM.loss_fn(adapted, TASK.query, loss_key)[0])


def test_fit_in_two_parts_equals_fit_in_one(learner):
    whole, history = fit(learner, start(learner))
    middle, first = fit(learner, start(learner), 2)
    end, second = fit(learner, middle, 2)
    assert_equal(end._replace(key=0), whole._replace(key=0))
    assert_equal(jnp.concatenate([first["loss"], second["loss"]]), history["loss"])


def test_fit_equals_a_loop_of_train_steps(learner):
    step = jax.jit(partial(jax_meta.train_step, learner, outer(learner)))
    state = start(learner)
    for _ in range(4):
        sample_key, _ = step_keys(KEY, state.step)
        state, metrics = step(state, PROBLEM.sample_tasks(sample_key, 2))
    fitted, history = fit(learner, start(learner))
    assert_close(fitted.params, state.params)
    assert_close(history["loss"][-1], metrics["loss"])


def test_fit_over_seeds_and_inner_learning_rates_equals_separate_fits(build, learner):
    def run(key, step_size):
        learner = build(PROBLEM.loss_fn, step_size=step_size)
        state, history = fit(learner, start(learner, key))
        return state.params, history

    many = jax.vmap(run)(jnp.stack([jax.random.key(8), KEY]), jnp.array([0.05, STEP_SIZE]))
    state, history = fit(learner, start(learner))
    assert_close(jax.tree.map(lambda leaf: leaf[1], many), (state.params, history))
