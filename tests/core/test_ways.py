"""Along the way of adaptation: Leap's length, WarpGrad's steps; and without derivatives or to the end, ES and iMAML."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.algorithms.es_maml import antithetic
from tests.learners import assert_close, first_task, flat, quadratics

KEY = jax.random.key(3)
STEP, NUM_STEPS = 0.1, 3
SGD = optax.sgd(STEP)
PROBLEM = quadratics()
PARAMS, LOSS = PROBLEM.params, PROBLEM.loss_fn
TASK = first_task(PROBLEM.sample_tasks(KEY, 1))
BODY = {"body": PARAMS["body"], "head": None}


def gradient(learner, params=PARAMS, task=TASK):
    return jax.jit(learner.gradient)(params, task, KEY)[0]


def support_loss(params):
    return LOSS(params, TASK.support, KEY)[0]


def points(num_steps=NUM_STEPS):
    """ψ₀, ψ₁, ..., of SGD on the whole."""
    found = [PARAMS]
    for _ in range(num_steps):
        found.append(optax.tree.add_scale(found[-1], -STEP, jax.grad(support_loss)(found[-1])))
    return found


def leap(**options):
    return jax_meta.leap(LOSS, SGD, **{"num_steps": NUM_STEPS} | options)


def test_leap_of_the_energy_without_the_loss_is_reptile_and_of_the_length_is_not():
    reptile = gradient(jax_meta.reptile(LOSS, SGD, num_steps=NUM_STEPS))
    assert_close(gradient(leap(energy=True, include_loss=False)), reptile)
    for other in (leap(include_loss=False), leap(energy=True)):
        assert optax.tree.norm(optax.tree.sub(gradient(other), reptile)) > 0.1 * optax.tree.norm(reptile)


@pytest.mark.parametrize("energy", [True, False])
def test_leap_is_the_slope_of_the_length_whose_forward_points_are_held(energy):
    """∂/∂δ Σᵢ ‖γᵢ₊₁ - (ψᵢ + δ, f(ψᵢ + δ))‖ᵖ / p at δ = 0, by automatic differentiation; p is 1 or 2."""
    way = points()

    def length(shift):
        total = 0.0
        for here, there in pairwise(way):
            moved = optax.tree.add(here, shift)
            step = jnp.append(flat(there) - flat(moved), support_loss(there) - support_loss(moved))
            total += (step @ step) / 2 if energy else jnp.sqrt(step @ step)
        return total

    expected = jax.jit(jax.grad(length))(optax.tree.zeros_like(PARAMS))
    assert_close(gradient(leap(energy=energy, stabilise=False)), expected, atol=1e-12)


def test_leap_of_one_step_has_a_closed_form():
    """(α + |Δf|) g / √(Δf² + α²‖g‖²), where the loss falls; without the loss, a unit vector."""
    start, end = points(1)
    slope, fall = flat(jax.grad(support_loss)(start)), support_loss(start) - support_loss(end)
    expected = (STEP + fall) * slope / jnp.sqrt(fall**2 + STEP**2 * slope @ slope)
    assert fall > 0
    for stabilise in (True, False):
        assert_close(flat(gradient(leap(num_steps=1, stabilise=stabilise))), expected)
    assert_close(flat(gradient(leap(num_steps=1, include_loss=False))), slope / jnp.linalg.norm(slope))


def test_a_step_that_raises_the_loss_counts_as_one_that_lowers_it():
    """With steps too long, Δf > 0: the stabiliser turns its sign."""
    explosive = optax.sgd(1.5)
    found, plain = (
        flat(gradient(jax_meta.leap(LOSS, explosive, num_steps=1, stabilise=stabilise))) for stabilise in (True, False)
    )
    slope = flat(jax.grad(support_loss)(PARAMS))
    rise = support_loss(optax.tree.add_scale(PARAMS, -1.5, jax.grad(support_loss)(PARAMS))) - support_loss(PARAMS)
    size = jnp.sqrt(rise**2 + 1.5**2 * slope @ slope)
    assert rise > 0
    assert_close(found, (1.5 + rise) * slope / size)
    assert_close(plain, (1.5 - rise) * slope / size)


def test_where_nothing_moves_leap_has_no_direction_and_no_nan():
    still = jax_meta.leap(LOSS, optax.sgd(0.0), num_steps=2)
    assert optax.tree.norm(gradient(still)) == 0
    assert optax.tree.norm(gradient(leap(num_steps=0))) == 0


TURN = jnp.array([[1.0, 0.5], [0.0, 2.0]])


def warped(params, inputs):
    """y = T W x: a task layer W and a warp T on top."""
    return inputs @ params["task"] @ params["warp"].T


WARP_LOSS = jax_meta.regression(warped)
LINEAR = {"task": jnp.array([[0.3, -0.2], [0.1, 0.4]]), "warp": TURN}
DRAW = np.random.default_rng(0)
LINES = jax_meta.Task(*((jnp.asarray(DRAW.normal(size=(5, 2))), jnp.asarray(DRAW.normal(size=(5, 2)))) for _ in "sq"))


def warpgrad(**options):
    return jax_meta.warpgrad(WARP_LOSS, SGD, **{"is_warp": "warp", "num_steps": NUM_STEPS} | options)


def test_steps_through_a_warp_are_preconditioned_and_through_an_orthogonal_one_they_are_not():
    """What the two layers compute, x W Tᵀ, moves by -α ∇ T Tᵀ."""

    def step(matrix, warp):
        down = jax.grad(lambda matrix: WARP_LOSS({"task": matrix, "warp": jnp.eye(2)}, LINES.support, KEY)[0])(matrix)
        return matrix - STEP * down @ warp @ warp.T

    moved = []
    for warp in (TURN, jnp.eye(2), jnp.array([[0.0, -1.0], [1.0, 0.0]])):
        adapted = warpgrad(num_steps=1).adapt(LINEAR | {"warp": warp}, LINES.support, KEY)
        assert_close(adapted["warp"], warp)
        moved.append(adapted["task"] @ warp.T - step(LINEAR["task"] @ warp.T, jnp.eye(2)))
        assert_close(adapted["task"] @ warp.T, step(LINEAR["task"] @ warp.T, warp))
    skewed, same, turned = (abs(difference).max() for difference in moved)
    assert max(same, turned) < 1e-12 < 1e-2 < skewed


def test_the_warp_learns_from_one_step_from_each_point_of_the_way():
    """From each point, it is ANIL's gradient for its body after one step; the way itself is not differentiated."""
    anil = jax_meta.anil(WARP_LOSS, SGD, is_head="task", num_steps=1)

    @jax.jit
    def run():
        way = [warpgrad().adapt(LINEAR, LINES.support, KEY, num_steps=steps) for steps in range(NUM_STEPS)]
        of_points = [anil.gradient(point, LINES, KEY)[0]["warp"] for point in way]
        through = jax_meta.anil(WARP_LOSS, SGD, is_head="task", num_steps=NUM_STEPS).gradient(LINEAR, LINES, KEY)[0]
        return warpgrad().gradient(LINEAR, LINES, KEY)[0]["warp"], sum(of_points), through["warp"]

    found, expected, through = run()
    assert_close(found, expected, atol=1e-12)
    assert abs(found - through).max() > 1e-2


@pytest.mark.parametrize("name", ["leap", "maml", "reptile"])
def test_the_other_parameters_learn_as_another_learner_has_it(name):
    factory = getattr(jax_meta, name)

    def beside_the_warp(task_layer, batch, key):
        return WARP_LOSS(LINEAR | {"task": task_layer}, batch, key)

    found = gradient(warpgrad(initialization=factory), LINEAR, LINES)["task"]
    assert_close(found, gradient(factory(beside_the_warp, SGD, num_steps=NUM_STEPS), LINEAR["task"], LINES))


def test_the_neumann_series_is_its_sum_and_ends_at_conjugate_gradients_where_it_converges():
    """`Σⱼ s (I - s (I + H/λ))ʲ q` in NumPy; one term is the query gradient at φ; s = 1 diverges if ‖H‖ > λ."""
    strength = 2.0

    def imaml(**options):
        return jax_meta.imaml(LOSS, SGD, num_steps=4, strength=strength, **options)

    @jax.jit
    def run():
        adapted = imaml().adapt(PARAMS, TASK.support, KEY)
        hessian = jax.hessian(lambda vector: LOSS({"all": vector}, TASK.support, KEY)[0])(flat(adapted))
        terms = [imaml(neumann_terms=terms, neumann_step=0.4) for terms in (1, 3, 200)]
        learners = [imaml(cg_steps=10), imaml(neumann_terms=1), imaml(neumann_terms=400), *terms]
        slope = jax.grad(lambda params: LOSS(params, TASK.query, KEY)[0])(adapted)
        return hessian, flat(slope), [flat(learner.gradient(PARAMS, TASK, KEY)[0]) for learner in learners]

    hessian, slope, (solved, of_one_term, diverged, *series) = run()
    system = np.eye(3) + hessian / strength
    assert np.linalg.eigvalsh(system - np.eye(3)).max() > 1
    assert np.linalg.eigvalsh(system).max() < 2 / 0.4
    assert_close(of_one_term, slope)
    powers = [np.linalg.matrix_power(np.eye(3) - 0.4 * system, power) for power in range(3)]
    assert_close(series[0], 0.4 * slope)
    assert_close(series[1], 0.4 * sum(powers) @ slope)
    assert_close(series[2], solved)
    assert abs(diverged).max() > 1e3 * abs(solved).max()


def test_antithetic_pairs_along_orthogonal_directions_are_the_gradient_of_a_quadratic_whatever_sigma():
    directions = jax.vmap(lambda row: {"body": row[:2], "head": row[2:]})(np.sqrt(3) * np.eye(3))
    expected = jax.grad(support_loss)(PARAMS)
    for sigma in (0.01, 3.0):
        assert_close(antithetic(support_loss, PARAMS, directions, sigma), expected, rtol=1e-10)
    one_sided = jax.tree.map(lambda leaf: leaf[:2], directions)
    assert abs(flat(antithetic(support_loss, PARAMS, one_sided, 0.01)) - flat(expected)).max() > 0.1


def test_es_maml_estimates_the_gradient_of_maml():
    """On quadratics F is one, too, and its smoothed gradient is its gradient: the error falls with the pairs' root."""
    options = {"num_steps": 2, "inner_pairs": 100}
    maml = flat(gradient(jax_meta.maml(LOSS, SGD, num_steps=2)))
    fomaml = flat(gradient(jax_meta.fomaml(LOSS, SGD, num_steps=2)))
    found = flat(gradient(jax_meta.es_maml(LOSS, SGD, outer_pairs=400, **options)))
    size = jnp.linalg.norm(maml)
    assert jnp.linalg.norm(found - maml) < 0.25 * size < jnp.linalg.norm(fomaml - maml)


def test_es_maml_asks_for_no_derivative():
    def on_the_host(params, batch, key):
        shape = jax.ShapeDtypeStruct((), float)
        arguments = flat(params), batch
        loss = jax.pure_callback(partial(of_numpy, key=None), shape, *arguments, vmap_method="sequential")
        return loss, {"loss": loss}

    def of_numpy(params, batch, key):
        curvatures, centers = map(np.asarray, batch)
        distances = np.asarray(params)[None] - centers
        return np.einsum("ei,eij,ej->", distances, curvatures, distances) / (2 * len(centers))

    options = {"num_steps": 1, "inner_pairs": 2, "outer_pairs": 2}
    found, expected = (gradient(jax_meta.es_maml(loss, SGD, **options)) for loss in (on_the_host, LOSS))
    assert_close(found, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="callbacks do not support JVP"):
        gradient(jax_meta.maml(on_the_host, SGD, num_steps=1))
