"""Which inner optimizers MAML can be differentiated through, and that the check tells the truth about each."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jax_meta
from jax_meta.inner import check_second_derivative
from learners import first_task, sines

PROBLEM = sines(hidden=(4, 4))
KEY = jax.random.key(11)
TASK = first_task(PROBLEM.sample_tasks(KEY, 1))
NUM_STEPS = 2
FINITE = {
    "sgd": optax.sgd(0.01),
    "momentum": optax.sgd(0.01, momentum=0.9),
    "nesterov": optax.sgd(0.01, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop(0.01),
    "adagrad": optax.adagrad(0.01),
    "lion": optax.lion(0.01),
    "adabelief": optax.adabelief(0.01),
    "yogi": optax.yogi(0.01),
    "adam, eps_root": optax.adam(0.01, eps_root=1e-8),
    "adamw, eps_root": optax.adamw(0.01, eps_root=1e-8),
    "schedule and clipping": optax.chain(optax.clip(0.5), optax.sgd(optax.linear_schedule(0.1, 0.0, 5))),
}
NOT_FINITE = {
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01),
    "nadam": optax.nadam(0.01),
    "amsgrad": optax.amsgrad(0.01),
    "lamb": optax.lamb(0.01),
}
OPTIMIZERS = FINITE | NOT_FINITE | {"radam": optax.radam(0.01), "adafactor": optax.adafactor(0.01)}


def with_a_dead_unit(params):
    """The parameters with the first hidden unit of each layer off for every input, so that its gradients are zero."""
    return jax.tree.map_with_path(
        lambda path, leaf: leaf.at[0].set(-100.0) if "bias" in jax.tree_util.keystr(path) else leaf, params
    )


def true_gradient_is_finite(optimizer):
    """MAML's gradient without the check, in the single precision that people train in."""
    params, task = optax.tree.cast((with_a_dead_unit(PROBLEM.params), TASK), jnp.float32)

    @jax.jit
    @jax.grad
    def gradient(params):
        adapted = jax_meta.adapt(PROBLEM.loss_fn, optimizer, params, task.support, KEY, num_steps=NUM_STEPS)
        return PROBLEM.loss_fn(adapted, task.query, KEY)[0]

    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient(params)))


def is_accepted(optimizer):
    try:
        check_second_derivative(optimizer, optax.tree.cast(PROBLEM.params, jnp.float32), num_steps=NUM_STEPS)
    except ValueError as error:
        assert "eps_root" in str(error)  # noqa: PT017 - the remedy is part of the verdict
        return False
    return True


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_check_tells_the_truth(name):
    assert is_accepted(OPTIMIZERS[name]) == true_gradient_is_finite(OPTIMIZERS[name])


@pytest.mark.parametrize("name", FINITE)
def test_maml_can_be_differentiated_through(name):
    assert true_gradient_is_finite(FINITE[name])


@pytest.mark.parametrize("name", NOT_FINITE)
def test_maml_refuses_and_names_the_remedy(name):
    learner = jax_meta.maml(PROBLEM.loss_fn, NOT_FINITE[name], num_steps=NUM_STEPS)
    with pytest.raises(ValueError, match="Give it a positive eps_root"):
        jax.eval_shape(learner.gradient, PROBLEM.params, TASK, KEY)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_first_order_learners_take_any_optimizer(name):
    def gradients(params):
        learners = (factory(PROBLEM.loss_fn, OPTIMIZERS[name], num_steps=2) for factory in FIRST_ORDER)
        return [learner.gradient(params, TASK, KEY)[0] for learner in learners]

    for gradient in jax.jit(gradients)(with_a_dead_unit(PROBLEM.params)):
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
        assert optax.tree.norm(gradient) > 0


FIRST_ORDER = (jax_meta.fomaml, jax_meta.reptile)


def test_a_traced_learning_rate_cannot_be_tried_and_is_let_pass():
    def passes(rate):
        check_second_derivative(optax.adam(rate), PROBLEM.params, num_steps=1)
        return rate

    assert jax.vmap(passes)(jnp.ones(2)).shape == (2,)
