"""Gradients of every learner on quadratics, against linear algebra.

One task: support loss ½ (θ - b)ᵀ A (θ - b), query loss ½ (θ - q)ᵀ B (θ - q). k steps θ ← θ - D ∇L_support(θ), with D
diagonal, lead to φ = b + M (θ - b), where M = (I - D A)ᵏ.
"""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import MetaSGDParams, Task
from tests.learners import LEARNERS, assert_close, flat, quadratic_loss, quadratics, random_quadratics
from tests.tiers import each

KEY = jax.random.key(0)
PARAMS = quadratics().params
TASK = jax.tree.map(lambda leaf: leaf[0], random_quadratics(KEY, 1, examples=1))
START = np.asarray(flat(PARAMS))
(A, SUPPORT_CENTER), (B, QUERY_CENTER) = jax.tree.map(lambda leaf: np.asarray(leaf[0]), TASK)
STEP = 0.1
NUM_STEPS = 4
STRENGTH = 2.0
STEP_SIZES = {"body": jnp.array([0.05, -0.1]), "head": jnp.array([0.2])}
DIAGONALS = {"maml": STEP * np.ones(3), "anil": np.array([0, 0, STEP]), "meta_sgd": np.asarray(flat(STEP_SIZES))}


def path(diagonal, num_steps=NUM_STEPS):
    """M after 0, 1, ..., `num_steps` steps."""
    return [np.linalg.matrix_power(np.eye(3) - diagonal[:, None] * A, step) for step in range(num_steps + 1)]


def adapted_by(jacobian):
    return SUPPORT_CENTER + jacobian @ (START - SUPPORT_CENTER)


def query_gradient(params):
    return B @ (params - QUERY_CENTER)


def meta_params_of(learner, name):
    return MetaSGDParams(PARAMS, STEP_SIZES) if name == "meta_sgd" else learner.init(PARAMS)


def gradient_of(learner, meta_params=PARAMS):
    return jax.jit(learner.gradient)(meta_params, TASK, KEY)[0]


@pytest.mark.parametrize("name", DIAGONALS)
@pytest.mark.parametrize("num_steps", [1, NUM_STEPS])
def test_gradient_through_adaptation_is_the_transposed_jacobian_times_the_query_gradient(name, num_steps):
    learner = LEARNERS[name](quadratic_loss, step_size=STEP, num_steps=num_steps)
    meta_params = meta_params_of(learner, name)
    jacobian = path(DIAGONALS[name])[num_steps]
    assert_close(flat(learner.adapt(meta_params, TASK.support, KEY)), adapted_by(jacobian))
    gradient = gradient_of(learner, meta_params)
    gradient = gradient.params if name == "meta_sgd" else gradient
    assert_close(flat(gradient), jacobian.T @ query_gradient(adapted_by(jacobian)))


def test_gradient_of_the_learned_step_sizes():
    """∂φ/∂αᵢ = -Σₜ (I - D A)ᵏ⁻¹⁻ᵗ eᵢ (A (θₜ - b))ᵢ: each step's gradient, carried to the end."""
    learner = LEARNERS["meta_sgd"](quadratic_loss, num_steps=NUM_STEPS)
    jacobians = path(DIAGONALS["meta_sgd"])
    end = query_gradient(adapted_by(jacobians[-1]))
    expected = sum(
        -(A @ (adapted_by(jacobians[step]) - SUPPORT_CENTER)) * (jacobians[NUM_STEPS - 1 - step].T @ end)
        for step in range(NUM_STEPS)
    )
    gradient = gradient_of(learner, MetaSGDParams(PARAMS, STEP_SIZES))
    assert_close(flat(gradient.step_sizes), expected)


def test_gradients_without_a_derivative_of_adaptation():
    adapted = adapted_by(path(DIAGONALS["maml"])[-1])
    expected = {"transfer": query_gradient(START), "fomaml": query_gradient(adapted), "reptile": START - adapted}
    for name, gradient in expected.items():
        learner = LEARNERS[name](quadratic_loss, step_size=STEP, num_steps=NUM_STEPS)
        assert_close(flat(gradient_of(learner)), gradient)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_implicit_gradient_solves_the_regularised_system(damping):
    """Steps on L_support + λ/2 ‖φ - θ‖² contract to φ* = (A + λI)⁻¹ (A b + λ θ) by I - α (A + λI)."""
    learner = jax_meta.imaml(
        quadratic_loss, optax.sgd(STEP), num_steps=NUM_STEPS, strength=STRENGTH, damping=damping, cg_steps=10
    )
    curvature = A + STRENGTH * np.eye(3)
    minimum = np.linalg.solve(curvature, A @ SUPPORT_CENTER + STRENGTH * START)
    contraction = np.linalg.matrix_power(np.eye(3) - STEP * curvature, NUM_STEPS)
    adapted = minimum + contraction @ (START - minimum)
    assert_close(flat(learner.adapt(PARAMS, TASK.support, KEY)), adapted)
    system = (1 + damping) * np.eye(3) + A / STRENGTH
    assert_close(flat(gradient_of(learner)), np.linalg.solve(system, query_gradient(adapted)))


def test_the_converged_implicit_gradient_is_the_derivative_of_the_minimum():
    """φ*(θ) = (A + λI)⁻¹ (A b + λ θ) has the Jacobian λ (A + λI)⁻¹: no truncation, no path."""
    learner = jax_meta.imaml(quadratic_loss, optax.sgd(STEP), num_steps=400, strength=STRENGTH)
    jacobian = STRENGTH * np.linalg.inv(A + STRENGTH * np.eye(3))
    minimum = jacobian @ (A @ SUPPORT_CENTER / STRENGTH + START)
    assert_close(flat(gradient_of(learner)), jacobian.T @ query_gradient(minimum))


def log_cosh_loss(params, batch, key):
    """A smooth loss of which all derivatives differ from zero, the mean over the examples of `batch`."""
    del key
    inputs, targets = batch
    loss = jnp.log(jnp.cosh(inputs @ flat(params) - targets)).mean()
    return loss, {"loss": loss}


MINIBATCHES = 4
SMOOTH_LOSSES = {
    "quadratic": (quadratic_loss, jax.tree.map(lambda leaf: leaf[0], random_quadratics(KEY, 1, examples=4)).support),
    "log cosh": (
        log_cosh_loss,
        (jax.random.normal(KEY, (MINIBATCHES, 3)), jax.random.normal(jax.random.key(1), (MINIBATCHES,))),
    ),
}
COEFFICIENTS = {
    "maml": (1, -2 * (MINIBATCHES - 1)),
    "fomaml": (1, -(MINIBATCHES - 1)),
    "reptile": (MINIBATCHES, -MINIBATCHES * (MINIBATCHES - 1) / 2),
}


def average_gradients(loss_fn, batch):
    """AvgGrad, the mean ∇Lᵢ, and AvgGradInner, the mean ∇²Lᵢ ∇Lⱼ over i ≠ j, both at the initialization."""

    def loss(params, example):
        return loss_fn({"all": params}, jax.tree.map(lambda leaf: leaf[None], example), KEY)[0]

    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(flat(PARAMS), batch)
    hessians = jax.vmap(jax.hessian(loss), in_axes=(None, 0))(flat(PARAMS), batch)
    products = jnp.einsum("iab,jb->ija", hessians, gradients)
    pairs = products.sum(axis=(0, 1)) - jnp.einsum("iia->a", products)
    return gradients.mean(axis=0), pairs / (MINIBATCHES * (MINIBATCHES - 1))


def expected_gradient(name, loss_fn, batch, step_size):
    """A learner's gradient for SGD on the minibatches one by one, averaged over all their orders.

    The last minibatch is MAML's query loss. Reptile's gradient is divided by the step size, as in the paper.
    """
    orders = jax.tree.map(lambda leaf: leaf[np.array(list(permutations(range(MINIBATCHES))))], batch)
    factory = getattr(jax_meta, name)
    num_steps = MINIBATCHES if name == "reptile" else MINIBATCHES - 1
    learner = factory(loss_fn, optax.sgd(step_size), num_steps=num_steps, batch_size=1)
    support = jax.tree.map(lambda leaf: leaf[:, :num_steps], orders)
    query = jax.tree.map(lambda leaf: leaf[:, -1:], orders)
    gradients, _ = jax.vmap(learner.gradient, in_axes=(None, 0, None))(PARAMS, Task(support, query), KEY)
    scale = step_size if name == "reptile" else 1
    return flat(jax.tree.map(lambda leaf: leaf.mean(axis=0), gradients)) / scale


@pytest.mark.parametrize("loss", each(SMOOTH_LOSSES, ["log cosh"]))
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_leading_order_of_the_expected_gradient(name, loss):
    """Nichol, Achiam, Schulman, arXiv:1803.02999, section 5: beyond AvgGrad and α AvgGradInner is O(α²)."""
    loss_fn, batch = SMOOTH_LOSSES[loss]
    average, inner = average_gradients(loss_fn, batch)
    first, second = COEFFICIENTS[name]
    step_sizes = jnp.array([2e-3, 1e-3])
    gradients = jax.jit(jax.vmap(lambda step_size: expected_gradient(name, loss_fn, batch, step_size)))(step_sizes)
    predictions = first * average[None] + second * step_sizes[:, None] * inner[None]
    remainders = jnp.linalg.norm(gradients - predictions, axis=1)
    assert remainders[0] / remainders[1] == pytest.approx(4, rel=0.05)
