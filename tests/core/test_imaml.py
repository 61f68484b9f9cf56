"""Implicit MAML's linear system: solved where conjugate gradients arrive early, and in parameters of any dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import Task
from jax_meta.algorithms import imaml
from tests.learners import assert_close

KEY = jax.random.key(0)
STRENGTH = 2.0
CURVATURE = jnp.array([1.0, 4.0, 9.0])


def bowl(params, batch, key):
    """½ Σ c (θ - b)² for the one center b."""
    distances = jnp.concatenate([params["first"], params["second"]]).astype(batch.dtype) - batch[0]
    loss = (CURVATURE.astype(batch.dtype) * distances**2).sum() / 2
    return loss, {"loss": loss}


def implicit_gradient(dtypes, cg_steps, scale=1.0):
    """The gradient at θ = 0 with no inner steps, and (1 + c / λ)⁻¹ c (θ - b) in closed form."""
    params = {"first": jnp.zeros(1, dtypes[0]), "second": jnp.zeros(2, dtypes[1])}
    centers = scale * jnp.array([[1.0, 2.0, -1.0]], jnp.float32)
    learner = jax_meta.imaml(bowl, optax.sgd(0.1), num_steps=0, strength=STRENGTH, cg_steps=cg_steps)
    gradient, _ = jax.jit(learner.gradient)(params, Task(centers, centers), KEY)
    closed = np.asarray(-CURVATURE * centers[0]) / (1 + np.asarray(CURVATURE) / STRENGTH)
    return params, gradient, {"first": closed[:1], "second": closed[1:]}


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-25, 1e25, 0.0])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_more_steps_than_it_takes_change_nothing(dtype, scale):
    """Three steps solve for three curvatures; those after had divided zero by zero, and squares leave float32."""
    _, gradient, closed = implicit_gradient((dtype, dtype), 100, scale)
    assert_close(gradient, closed, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "dtypes", [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float64), (jnp.float16, jnp.float16)]
)
def test_parameters_of_several_dtypes_keep_them(dtypes):
    params, gradient, closed = implicit_gradient(dtypes, 5)
    assert jax.tree.map(jnp.result_type, gradient) == jax.tree.map(jnp.result_type, params)
    assert_close(optax.tree.cast(gradient, jnp.float32), closed, rtol=1e-2)


def test_a_solver_that_does_not_stop_would_divide_zero_by_zero(monkeypatch):
    """So that the test above tells it from one that does."""

    def endless(system, right, *, tol, maxiter):
        def step(_, carry):
            solution, residual, direction = carry
            moved, squares = system(direction), optax.tree.vdot(residual, residual)
            length = squares / optax.tree.vdot(direction, moved)
            residual = optax.tree.add_scale(residual, -length, moved)
            turn = optax.tree.vdot(residual, residual) / squares
            return (
                optax.tree.add_scale(solution, length, direction),
                residual,
                optax.tree.add_scale(residual, turn, direction),
            )

        return jax.lax.fori_loop(0, maxiter, step, (optax.tree.zeros_like(right), right, right))[0], None

    monkeypatch.setattr(imaml, "cg", endless)
    *_, enough, closed = implicit_gradient((jnp.float32, jnp.float32), 3)
    assert_close(enough, closed, rtol=1e-5, atol=0)
    assert np.isnan(implicit_gradient((jnp.float32, jnp.float32), 100)[1]["second"]).all()


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_query_gradient_that_is_not_finite_is_not_solved_for(value):
    """Conjugate gradients end at once on what is not a number, with a solution of zero."""
    learner = jax_meta.imaml(bowl, optax.sgd(0.1), num_steps=0, strength=STRENGTH)
    params = {"first": jnp.zeros(1), "second": jnp.zeros(2)}
    task = Task(jnp.ones((1, 3)), jnp.array([[1.0, value, 1.0]]))
    gradient, _ = jax.jit(learner.gradient)(params, task, KEY)
    assert not np.isfinite(gradient["second"]).any()
