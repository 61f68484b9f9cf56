"""Learners that must agree with one another, or with a gradient taken by hand."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jax_meta
from tests.learners import assert_close, first_task, is_head, quadratics, sines

KEY = jax.random.key(3)
STEP_SIZE = 0.1
PROBLEMS = {"quadratics": quadratics(), "sines": sines(activation=jnp.tanh)}
SGD = optax.sgd(STEP_SIZE)


@pytest.fixture(params=PROBLEMS)
def problem(request):
    return PROBLEMS[request.param]


def gradient(learner, problem, meta_params=None):
    task = first_task(problem.sample_tasks(KEY, 1))
    return jax.jit(learner.gradient)(learner.init(problem.params) if meta_params is None else meta_params, task, KEY)[0]


def loss_gradient(problem, params, kind):
    task = first_task(problem.sample_tasks(KEY, 1))
    return jax.grad(lambda params: problem.loss_fn(params, getattr(task, kind), KEY)[0])(params)


@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_without_inner_steps_it_is_transfer(problem, name):
    learner = getattr(jax_meta, name)(problem.loss_fn, SGD, num_steps=0)
    assert_close(gradient(learner, problem), loss_gradient(problem, problem.params, "query"))


def test_transfer_is_the_query_gradient(problem):
    learner = jax_meta.transfer(problem.loss_fn, SGD, num_steps=4)
    assert_close(gradient(learner, problem), loss_gradient(problem, problem.params, "query"))


def test_reptile_of_one_sgd_step_is_the_support_gradient_times_the_step_size(problem):
    learner = jax_meta.reptile(problem.loss_fn, SGD, num_steps=1)
    expected = optax.tree.scale(STEP_SIZE, loss_gradient(problem, problem.params, "support"))
    assert_close(gradient(learner, problem), expected, atol=1e-12)


def test_reptile_without_inner_steps_stays(problem):
    learner = jax_meta.reptile(problem.loss_fn, SGD, num_steps=0)
    assert optax.tree.norm(gradient(learner, problem)) == 0


def test_first_order_maml_is_the_query_gradient_where_adaptation_ends(problem):
    learner = jax_meta.fomaml(problem.loss_fn, SGD, num_steps=3)
    task = first_task(problem.sample_tasks(KEY, 1))
    adapted = learner.adapt(problem.params, task.support, KEY)
    assert_close(gradient(learner, problem), loss_gradient(problem, adapted, "query"))


def test_first_order_maml_ignores_the_jacobian_of_weight_decay():
    """Its Jacobian is the identity whatever the optimizer; stopping inner gradients alone would leave (1 - α λ)^k."""
    problem = PROBLEMS["quadratics"]
    decay = optax.chain(optax.add_decayed_weights(2.0), SGD)
    learner = jax_meta.fomaml(problem.loss_fn, decay, num_steps=2)
    task = first_task(problem.sample_tasks(KEY, 1))
    adapted = learner.adapt(problem.params, task.support, KEY)
    assert_close(gradient(learner, problem), loss_gradient(problem, adapted, "query"))


def test_first_order_is_second_order_for_a_linear_loss():
    def linear(params, batch, key):
        del key
        loss = jnp.mean(batch @ params)
        return loss, {"loss": loss}

    task = jax_meta.Task(jnp.eye(3), 2 * jnp.eye(3))
    params = jnp.arange(3.0)
    first, second = (
        learner(linear, SGD, num_steps=3).gradient(params, task, KEY)[0] for learner in (jax_meta.fomaml, jax_meta.maml)
    )
    assert_close(first, second)
    assert_close(second, jnp.full(3, 2 / 3))


def test_first_order_differs_from_second_order_for_a_curved_loss(problem):
    first, second = (
        gradient(learner(problem.loss_fn, SGD, num_steps=2), problem) for learner in (jax_meta.fomaml, jax_meta.maml)
    )
    assert optax.tree.norm(optax.tree.sub(first, second)) > 1e-2 * optax.tree.norm(second)


def test_anil_with_everything_in_the_head_is_maml(problem):
    everything = jax_meta.anil(problem.loss_fn, SGD, is_head=lambda path: True, num_steps=2)
    head = jax_meta.anil(problem.loss_fn, SGD, is_head=is_head, num_steps=2)
    maml = gradient(jax_meta.maml(problem.loss_fn, SGD, num_steps=2), problem)
    assert_close(gradient(everything, problem), maml)
    assert optax.tree.norm(optax.tree.sub(gradient(head, problem), maml)) > 1e-3 * optax.tree.norm(maml)


def test_anil_leaves_the_body_alone(problem):
    learner = jax_meta.anil(problem.loss_fn, SGD, is_head=is_head, num_steps=2)
    adapted = learner.adapt(problem.params, first_task(problem.sample_tasks(KEY, 1)).support, KEY)

    def moved(path, before, after):
        assert (before == after).all() != is_head(jax.tree_util.keystr(path, simple=True, separator="/"))

    jax.tree.map_with_path(moved, problem.params, adapted)


def test_anil_without_a_head_names_the_parameters():
    problem = PROBLEMS["quadratics"]
    learner = jax_meta.anil(problem.loss_fn, SGD, is_head=lambda path: "tail" in path, num_steps=1)
    with pytest.raises(
        ValueError, match=r"is_head selects none of the parameters \['body', 'head'\].*true of at least one"
    ):
        gradient(learner, problem)


def test_meta_sgd_with_one_step_size_is_maml(problem):
    learner = jax_meta.meta_sgd(problem.loss_fn, step_size=STEP_SIZE, num_steps=2)
    maml = gradient(jax_meta.maml(problem.loss_fn, SGD, num_steps=2), problem)
    assert_close(gradient(learner, problem).params, maml)


def test_reptile_into_sgd_is_interpolation(problem):
    learner = jax_meta.reptile(problem.loss_fn, SGD, num_steps=3)
    outer = optax.sgd(0.25)
    tasks = problem.sample_tasks(KEY, 3)
    state = jax_meta.init(learner, outer, problem.params, KEY)
    stepped, _ = jax_meta.train_step(learner, outer, state, tasks)
    adapted = jax.vmap(lambda support: learner.adapt(problem.params, support, KEY))(tasks.support)
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), adapted)
    assert_close(stepped.params, jax_meta.interpolate(problem.params, mean, 0.25))
    assert_close(jax_meta.interpolate(problem.params, mean, 1.0), mean)
    assert_close(jax_meta.interpolate(problem.params, mean, 0.0), problem.params)


def test_implicit_maml_held_at_its_start_is_the_query_gradient_there(problem):
    """λ → ∞ holds φ at θ and turns (I + H/λ) into the identity; the difference falls as 1/λ."""
    expected = loss_gradient(problem, problem.params, "query")

    def gap(strength):
        learner = jax_meta.imaml(problem.loss_fn, optax.sgd(1 / strength), num_steps=20, strength=strength)
        return optax.tree.norm(optax.tree.sub(gradient(learner, problem), expected)) / optax.tree.norm(expected)

    assert gap(1e6) < 1e-4
    assert 5 < gap(1e4) / gap(1e5) < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.0}, "strength must be above 0"),
        ({"damping": -1.0}, "damping must be 0 or more"),
        ({"cg_steps": 0}, "cg_steps must be an integer of 1 or more"),
    ],
)
def test_implicit_maml_refuses_a_system_without_solution(options, message):
    with pytest.raises(ValueError, match=message):
        jax_meta.imaml(PROBLEMS["sines"].loss_fn, SGD, num_steps=1, **({"strength": 1.0} | options))
