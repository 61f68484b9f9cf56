"""Every learner has every property that a user of its three functions counts on."""

import inspect
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.meta_step import step_keys
from tests.compiling import compiling
from tests.learners import (
    FAST,
    LEARNERS,
    NUM_STEPS,
    OF_CLASSES,
    STEP_SIZE,
    Problem,
    assert_close,
    assert_equal,
    blobs,
    first_task,
    outer_for,
    quadratics,
    sines,
    start_of,
)
from tests.tiers import each

KEY = jax.random.key(7)
OUTER = optax.sgd(0.01, momentum=0.9)
SINES = sines()
SINE_TASKS = SINES.sample_tasks(KEY, 2)
FACTORIES = {
    name: function
    for name, function in inspect.getmembers(jax_meta, inspect.isfunction)
    if inspect.signature(function).return_annotation is jax_meta.MetaLearner
}


BLOBS, QUADRATICS = blobs(), quadratics()


@pytest.fixture(scope="module", params=each(LEARNERS, FAST))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def build(name):
    return LEARNERS[name]


@pytest.fixture(scope="module")
def problem(name):
    return BLOBS if name in OF_CLASSES else QUADRATICS


@pytest.fixture(scope="module")
def network(name):
    """A problem of a ReLU network."""
    return BLOBS if name in OF_CLASSES else SINES


@pytest.fixture(scope="module")
def tasks(problem):
    return problem.sample_tasks(KEY, 4)


@pytest.fixture(scope="module")
def task(tasks):
    return first_task(tasks)


@pytest.fixture(scope="module")
def learner(build, problem):
    return build(problem.loss_fn)


@pytest.fixture(scope="module")
def meta_params(learner, problem):
    return learner.init(problem.params)


@pytest.fixture(scope="module")
def start(learner, problem, task, name):
    """The parameters before the first step."""
    return start_of(name, learner, problem.params, task.support)


@pytest.fixture(scope="module")
def compiled(learner, meta_params, tasks):
    return jax.jit(partial(jax_meta.meta_gradient, learner))(meta_params, tasks, KEY)


@pytest.fixture(scope="module")
def in_single_precision(build, network):
    """Meta-parameters of a ReLU network, their gradient and metrics."""
    learner = build(network.loss_fn)
    params, tasks = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        (network.params, network.sample_tasks(KEY, 2)),
    )
    meta_params = learner.init(params)
    return meta_params, *jax.jit(partial(jax_meta.meta_gradient, learner))(meta_params, tasks, KEY)


@pytest.fixture(scope="module")
def adaptations(learner, task):
    """`(meta_params, key) -> ` the model and what was observed on the way, the model after no steps, and unobserved,
    after as many steps and after its own number."""

    @jax.jit
    def run(meta_params, key):
        def adapt(**options):
            return learner.adapt(meta_params, task.support, key, **options)

        observed = adapt(num_steps=NUM_STEPS, observe=lambda params: params)
        return observed, adapt(num_steps=0), adapt(num_steps=NUM_STEPS), adapt()

    return run


class Training(NamedTuple):
    """A learner on its problem."""

    learner: jax_meta.MetaLearner
    problem: Problem
    outer: optax.GradientTransformation

    def start(self, key=KEY):
        return jax_meta.init(self.learner, self.outer, self.problem.params, key)

    def fit(self, state, num_steps=4):
        options = {"num_meta_steps": num_steps, "num_tasks": 2}
        return jax_meta.fit(self.learner, self.outer, self.problem.sample_tasks, state, **options)


@pytest.fixture(scope="module")
def training(learner, problem):
    return Training(learner, problem, outer_for(learner, problem.params, OUTER))


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


def assert_types(meta_params, gradient, metrics, dtype):
    assert jax.tree.map(jax.typeof, gradient) == jax.tree.map(jax.typeof, meta_params)
    assert metrics["loss"].dtype == dtype


def test_gradient_has_the_types_of_the_meta_parameters(build, network, in_single_precision):
    learner = build(network.loss_fn)
    meta_params, tasks = learner.init(network.params), network.sample_tasks(KEY, 2)
    double = jax.eval_shape(partial(jax_meta.meta_gradient, learner), meta_params, tasks, KEY)
    assert_types(meta_params, *double, jnp.float64)
    assert_types(*in_single_precision, jnp.float32)


def test_gradient_is_finite_with_a_relu_network_in_single_precision(in_single_precision):
    _, gradient, metrics = in_single_precision
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, metrics)))
    assert optax.tree.norm(gradient) > 0


def test_metrics_are_scalars_by_name(compiled, problem, task, start):
    _, metrics = compiled
    _, expected = jax.eval_shape(problem.loss_fn, start, task.query, KEY)
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(expected, ())
    assert "loss" in metrics


def test_jit_equals_eager(learner, meta_params, compiled, tasks):
    assert_close(jax_meta.meta_gradient(learner, meta_params, tasks, KEY), compiled)


def test_vmap_equals_loop(learner, meta_params, compiled, tasks):
    gradient = jax.jit(learner.gradient)
    keys = jax.random.split(KEY, 4)
    single = [gradient(meta_params, jax.tree.map(lambda leaf, i=i: leaf[i], tasks), keys[i]) for i in range(4)]
    assert_close(jax.tree.map(lambda *leaves: sum(leaves) / 4, *single), compiled)


def test_strict_dtype_promotion_changes_nothing(learner, meta_params, compiled, tasks):
    with jax.numpy_dtype_promotion("strict"):
        strict = jax.jit(partial(jax_meta.meta_gradient, learner, task_batch_size=2))(meta_params, tasks, KEY)
    assert_close(strict, compiled)


def test_task_batch_size_changes_nothing(learner, meta_params, compiled, tasks):
    split = jax.jit(partial(jax_meta.meta_gradient, learner, task_batch_size=2))
    assert_close(split(meta_params, tasks, KEY), compiled)


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


def test_fit_is_compiled_once(training, caplog):
    """Of a number of steps that no other test has; and not for the state that it returned."""
    compiled, state = [], training.start()
    for _ in range(2):
        with compiling(caplog) as messages:
            state, _ = training.fit(state, num_steps=7)
        compiled.append(sum("Compiling jit(steps_on_samples)" in message for message in messages))
    assert compiled == [1, 0]


def test_observations_start_before_the_first_step_and_end_after_the_last(adaptations, meta_params, start):
    (adapted, observed), unadapted, unobserved, own = adaptations(meta_params, KEY)
    assert_close(unadapted, start)
    assert_close(jax.tree.map(lambda leaf: leaf[0], observed), unadapted)
    assert_close(jax.tree.map(lambda leaf: leaf[-1], observed), adapted)
    assert_close(adapted, unobserved)
    assert_close(adapted, own)
    assert {len(leaf) for leaf in jax.tree.leaves(observed)} == {NUM_STEPS + 1}


def test_evaluation_ends_with_the_loss_of_the_adapted_model(
    learner, problem, meta_params, adaptations, tasks, task, start
):
    curves = jax_meta.evaluate(learner, problem.loss_fn, meta_params, tasks, KEY, num_steps=NUM_STEPS)
    adapt_key, loss_key = jax.random.split(jax.random.split(KEY, 4)[0])
    *_, adapted = adaptations(meta_params, adapt_key)
    assert curves["loss"].shape == (4, 3)
    assert_close(curves["loss"][0, 0], problem.loss_fn(start, task.query, loss_key)[0])
    assert_close(curves["loss"][0, -1], problem.loss_fn(adapted, task.query, loss_key)[0])


def test_fit_in_two_parts_equals_fit_in_one(training):
    whole, history = training.fit(training.start())
    middle, first = training.fit(training.start(), 2)
    end, second = training.fit(middle, 2)
    assert_equal(end._replace(key=0), whole._replace(key=0))
    assert_equal(jnp.concatenate([first["loss"], second["loss"]]), history["loss"])


def test_fit_equals_a_loop_of_train_steps(training, problem):
    step = jax.jit(partial(jax_meta.train_step, training.learner, training.outer))
    state = training.start()
    for _ in range(4):
        sample_key, _ = step_keys(KEY, state.step)
        state, metrics = step(state, problem.sample_tasks(sample_key, 2))
    fitted, history = training.fit(training.start())
    assert_close(fitted.params, state.params)
    assert_close(history["loss"][-1], metrics["loss"])


def test_fit_over_seeds_and_inner_learning_rates_equals_separate_fits(build, training, problem):
    def run(key, step_size):
        of_size = training._replace(learner=build(problem.loss_fn, step_size=step_size))
        state, history = of_size.fit(of_size.start(key))
        return state.params, history

    many = jax.vmap(run)(jnp.stack([jax.random.key(8), KEY]), jnp.array([0.05, STEP_SIZE]))
    state, history = training.fit(training.start())
    assert_close(jax.tree.map(lambda leaf: leaf[1], many), (state.params, history))
