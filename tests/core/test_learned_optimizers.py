"""Learners of the inner optimizer: MAML where its parameters say so, closed forms elsewhere, and counter-examples."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import OptimizerParams
from jax_meta.algorithms.kfo import kronecker
from jax_meta.algorithms.lstm_optimizer import CoordinateLSTM, preprocess
from jax_meta.algorithms.meta_curvature import transform
from tests.learners import assert_close, first_task, flat, quadratics

KEY = jax.random.key(3)
PROBLEM = quadratics()
PARAMS, LOSS = PROBLEM.params, PROBLEM.loss_fn
TASK = first_task(PROBLEM.sample_tasks(KEY, 1))
STEP, NUM_STEPS = 0.1, 3
SGD = optax.sgd(STEP)
STEPS: dict[str, Any] = {"step_size": STEP, "num_steps": NUM_STEPS}
MAML = jax_meta.maml(LOSS, SGD, num_steps=NUM_STEPS)
LAST = np.array([0.0, 0.0, 1.0])
AS_MAML = {
    "meta_sgd": jax_meta.meta_sgd(LOSS, **STEPS),
    "maml_plus_plus": jax_meta.maml_plus_plus(LOSS, **STEPS),
    "maml_plus_plus, weight on the last step": jax_meta.maml_plus_plus(LOSS, weights=LAST, **STEPS),
    "meta_curvature": jax_meta.meta_curvature(LOSS, **STEPS),
    "meta_optimizer": jax_meta.meta_optimizer(
        LOSS, make_optimizer=optax.sgd, optimizer_params=jnp.array(STEP), num_steps=NUM_STEPS
    ),
    "kfo, one step": jax_meta.kfo(LOSS, step_size=STEP, num_steps=1),
}


def gradient(learner, meta_params=PARAMS):
    return jax.jit(learner.gradient)(meta_params, TASK, KEY)[0]


def support_gradient(params, batch=TASK.support):
    return jax.grad(lambda params: LOSS(params, batch, KEY)[0])(params)


@pytest.mark.parametrize("name", AS_MAML)
def test_it_is_maml_as_its_optimizer_is_sgd_and_not_where_it_is_another(name):
    learner = AS_MAML[name]
    maml = gradient(jax_meta.maml(LOSS, SGD, num_steps=1) if name == "kfo, one step" else MAML)
    meta_params = learner.init(PARAMS)
    changed = type(meta_params)(PARAMS, jax.tree.map(lambda leaf: 1.1 * leaf, meta_params[1]))
    same, other = jax.jit(lambda: [learner.gradient(start, TASK, KEY)[0].params for start in (meta_params, changed)])()
    assert_close(same, maml)
    assert optax.tree.norm(optax.tree.sub(other, maml)) > 1e-3 * optax.tree.norm(maml)


def test_losses_after_every_step_add_up_by_their_weights():
    """Σᵢ vᵢ times MAML's gradient of i steps; and the metrics are those after the last."""
    weights = np.array([0.2, 0.3, 0.5])

    @jax.jit
    def run():
        learner = jax_meta.maml_plus_plus(LOSS, weights=weights, **STEPS)
        of_steps = [jax_meta.maml(LOSS, SGD, num_steps=i).gradient(PARAMS, TASK, KEY) for i in (1, 2, 3)]
        return learner.gradient(learner.init(PARAMS), TASK, KEY), of_steps

    (found, metrics), of_steps = run()
    expected = sum(weight * flat(slope) for weight, (slope, _) in zip(weights, of_steps, strict=True))
    assert_close(flat(found.params), expected)
    assert_close(metrics, of_steps[-1][1])
    assert abs(flat(found.params) - flat(of_steps[-1][0])).max() > 1e-2


def test_weights_may_be_traced_so_that_all_phases_of_their_schedule_are_one_program():
    traces, outer = [], optax.sgd(0.1)

    def train(state, weights):
        learner = jax_meta.maml_plus_plus(LOSS, weights=weights, **STEPS)
        return jax_meta.fit(learner, outer, PROBLEM.sample_tasks, state, num_meta_steps=2, num_tasks=2)[0]

    @jax.jit
    def phase(state, weights):
        traces.append(1)
        return train(state, weights)

    state = first = jax_meta.init(AS_MAML["maml_plus_plus"], outer, PARAMS, KEY)
    for epoch in (0, 12):
        state = phase(state, jax_meta.multi_step_weights(epoch, num_steps=NUM_STEPS, num_epochs=10))
    expected = train(train(first, np.full(3, 1 / 3)), None)
    assert_close(state.params, expected.params)
    assert optax.tree.norm(optax.tree.sub(state.params, train(train(first, None), None).params)) > 1e-3
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, [0.2] * 5), (5, [0.1] * 4 + [0.6]), (9, [0.02] * 4 + [0.92]), (10, [0.0] * 4 + [1.0])]
)
def test_weights_of_the_authors(epoch, expected):
    np.testing.assert_allclose(jax_meta.multi_step_weights(epoch, num_steps=5, num_epochs=10), expected, atol=1e-15)


def test_each_tensor_and_step_has_its_step_size_and_the_last_one_stays():
    sizes = {"body": jnp.array([0.1, 0.2]), "head": jnp.array([0.3, -0.1])}
    learner = jax_meta.maml_plus_plus(LOSS, step_size=STEP, num_steps=2)
    params = PARAMS
    for step in range(4):
        slope, at = support_gradient(params), min(step, 1)
        params = jax.tree.map(lambda leaf, size, g, at=at: leaf - size[at] * g, params, sizes, slope)
    adapted = learner.adapt(jax_meta.MAMLPlusPlusParams(PARAMS, sizes), TASK.support, KEY, num_steps=4)
    assert_close(adapted, params)


def test_first_order_is_the_query_gradient_where_adaptation_ends_and_still_teaches_the_optimizer():
    """∂φ/∂α = -Σ ∇L_support(ψᵢ), with inner gradients as constants."""
    learner = jax_meta.maml_plus_plus(LOSS, first_order=True, **STEPS)
    found = gradient(learner, learner.init(PARAMS))
    assert_close(found.params, gradient(jax_meta.fomaml(LOSS, SGD, num_steps=NUM_STEPS)))
    points = [PARAMS]
    for _ in range(NUM_STEPS):
        points.append(optax.tree.add_scale(points[-1], -STEP, support_gradient(points[-1])))
    last = support_gradient(points[-1], TASK.query)
    expected = [jax.tree.map(lambda g, q: -(g * q).sum(), support_gradient(point), last) for point in points[:-1]]
    assert_close(found.step_sizes, jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected))


def test_matrices_of_a_dense_kernel_have_the_closed_form_gradient():
    """φ = θ - α M_in G M_out: ∂L/∂M_in = -α q (G M_out)ᵀ, ∂L/∂M_out = -α (M_in G)ᵀ q, q = ∇L_query(φ)."""
    draw = np.random.default_rng(0)
    loss_fn = jax_meta.regression(lambda kernel, inputs: jnp.tanh(inputs) @ kernel)
    start, left, right = draw.normal(size=(3, 2)), draw.normal(size=(3, 3)), draw.normal(size=(2, 2))
    task = jax_meta.Task(*((draw.normal(size=(5, 3)), draw.normal(size=(5, 2))) for _ in range(2)))
    learner = jax_meta.meta_curvature(loss_fn, step_size=STEP, num_steps=1)
    meta_params = jax_meta.MetaCurvatureParams(jnp.asarray(start), (jnp.asarray(left), jnp.asarray(right)))
    found = jax.jit(learner.gradient)(meta_params, task, KEY)[0].curvatures
    slope = np.asarray(jax.grad(lambda kernel: loss_fn(kernel, task.support, KEY)[0])(start))
    adapted = start - STEP * left @ slope @ right
    query = np.asarray(jax.grad(lambda kernel: loss_fn(kernel, task.query, KEY)[0])(adapted))
    assert_close(found, (-STEP * query @ (slope @ right).T, -STEP * (left @ slope).T @ query))


def test_a_matrix_a_mode_is_their_kronecker_product():
    draw = np.random.default_rng(0)
    dense, left, right = (draw.normal(size=size) for size in ((3, 2), (3, 3), (2, 2)))
    assert_close(
        transform(jnp.asarray(dense), (left, right)).T.reshape(-1), np.kron(right.T, left) @ dense.T.reshape(-1)
    )
    kernel, space, into, out = (draw.normal(size=size) for size in ((2, 2, 3, 2), (4, 4), (3, 3), (2, 2)))
    expected = np.einsum("fg,gio,ji,op->fjp", space, kernel.reshape(4, 3, 2), into, out).reshape(kernel.shape)
    assert_close(transform(jnp.asarray(kernel), (space, into, out)), expected)
    assert_close(transform(jnp.asarray(right[0]), (left[0, :2],)), right[0] * left[0, :2])
    halves = kronecker(jnp.asarray(dense), left, right)
    assert_close(halves, left.T @ left @ dense @ right.T @ right)


def test_matrices_of_vectors_alone_are_step_sizes():
    draw = optax.tree.random_like(KEY, PARAMS)
    curvature = jax_meta.meta_curvature(LOSS, **STEPS)
    found = gradient(curvature, jax_meta.MetaCurvatureParams(PARAMS, jax.tree.map(lambda leaf: (leaf,), draw)))
    sizes = jax_meta.MetaSGDParams(PARAMS, optax.tree.scale(STEP, draw))
    expected = gradient(jax_meta.meta_sgd(LOSS, step_size=0.0, num_steps=NUM_STEPS), sizes)
    assert_close(found.params, expected.params)
    assert_close(jax.tree.map(lambda pair: pair, found.curvatures["head"][0]), STEP * expected.step_sizes["head"])


def test_kfo_moves_its_matrices_by_the_slope_of_the_loss_that_they_led_to():
    learner = jax_meta.kfo(LOSS, step_size=STEP, num_steps=NUM_STEPS)

    def step(params, factors, slope):
        return jax.tree.map(lambda leaf, g, pair: leaf - STEP * kronecker(g, *pair), params, slope, factors)

    def by_hand(factors, learns):
        before, params = PARAMS, step(PARAMS, factors, support_gradient(PARAMS))
        for _ in range(NUM_STEPS - 1):

            def loss(factors, before=before):
                return LOSS(step(before, factors, support_gradient(before)), TASK.support, KEY)[0]

            factors = optax.tree.add_scale(factors, -STEP * learns, jax.grad(loss)(factors))
            before, params = params, step(params, factors, support_gradient(params))
        return params

    @jax.jit
    def run(factors):
        adapted = learner.adapt(jax_meta.KFOParams(PARAMS, factors), TASK.support, KEY)
        return adapted, by_hand(factors, 1), by_hand(factors, 0)

    factors = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.arange(leaf.size).reshape(leaf.shape), learner.init(PARAMS)[1])
    found, expected, fixed = run(factors)
    assert_close(found, expected)
    assert abs(flat(found) - flat(fixed)).max() > 1e-3


def make_optimizer(omega):
    return optax.sgd(lambda step: 0.2 * omega["decay"] ** step, momentum=omega["momentum"])


def test_any_hyperparameter_of_any_optimizer_is_learned():
    """The slope of the query loss in the momentum of SGD and in the decay of a schedule, by central differences."""
    omega = {"decay": jnp.array(0.8), "momentum": jnp.array(0.5)}
    learner = jax_meta.meta_optimizer(LOSS, make_optimizer=make_optimizer, optimizer_params=omega, num_steps=NUM_STEPS)

    @jax.jit
    def query_loss(omega):
        return LOSS(learner.adapt(OptimizerParams(PARAMS, omega), TASK.support, KEY), TASK.query, KEY)[0]

    found = gradient(learner, learner.init(PARAMS)).optimizer
    for name in omega:
        ahead, behind = (query_loss(omega | {name: omega[name] + step}) for step in (1e-5, -1e-5))
        assert abs((ahead - behind) / 2e-5 - found[name]) < 1e-8
        assert abs(found[name]) > 1e-3


def lstm(**options):
    return jax_meta.lstm_optimizer(LOSS, units=3, **options)


def test_a_learned_optimizer_whose_output_is_zero_does_not_move():
    learner = lstm(num_steps=NUM_STEPS)
    meta_params = learner.init(PARAMS)
    assert flat(learner.adapt(meta_params, TASK.support, KEY)).tolist() != flat(PARAMS).tolist()
    still = meta_params._replace(lstm=optax.tree.zeros_like(meta_params.lstm))
    assert_close(learner.adapt(still, TASK.support, KEY), PARAMS)
    loss, _ = learner.gradient.loss(still, TASK, KEY)
    assert_close(loss, NUM_STEPS * LOSS(PARAMS, TASK.query, KEY)[0])


def test_coordinates_are_treated_alike_however_they_are_held():
    learner = lstm(num_steps=2)
    meta_params = learner.init(PARAMS)
    order = np.array([2, 0, 1])

    def loss_of(arrange):
        return lambda params, batch, key: LOSS(arrange(params), batch, key)

    def adapted(arrange, params):
        other = jax_meta.lstm_optimizer(loss_of(arrange), units=3, num_steps=2)
        return arrange(other.adapt(meta_params._replace(params=params), TASK.support, KEY))

    expected = learner.adapt(meta_params, TASK.support, KEY)
    back = np.argsort(order)
    assert_close(flat(adapted(lambda params: params[back], flat(PARAMS)[order])), flat(expected))
    in_one = adapted(lambda params: params, flat(PARAMS))
    assert_close(in_one, flat(expected))


@pytest.mark.parametrize("truncate", [None, pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_meta_gradient_of_a_learned_optimizer_goes_back_to_the_last_seam(truncate):
    """Against the loop written out: the sum of losses; inner gradients, and what is before a seam, are constants."""
    learner = lstm(num_steps=3, truncate=truncate)
    meta_params = learner.init(PARAMS)
    start = flat(PARAMS)

    def loss(vector, batch):
        return LOSS(vector, batch, KEY)[0]

    def by_hand(weights):
        network, zeros = CoordinateLSTM(3, jnp.dtype(float)), jnp.zeros((3, 3))
        vector, state, total = start, ((zeros, zeros), (zeros, zeros)), 0.0
        for step in range(3):
            if truncate and step % truncate == 0:
                vector, state = jax.lax.stop_gradient((vector, state))
            slope = jax.lax.stop_gradient(jax.grad(loss)(vector, TASK.support))
            state, updates = network.apply(weights, state, preprocess(slope))
            vector = vector + 0.1 * updates
            total += loss(vector, TASK.query)
        return total

    found, expected = jax.jit(
        lambda weights: (
            learner.gradient(meta_params._replace(lstm=weights), TASK, KEY)[0].lstm,
            jax.grad(by_hand)(weights),
        )
    )(meta_params.lstm)
    assert_close(found, expected, atol=1e-12)
    assert optax.tree.norm(expected) > 1e-2


def test_a_drawn_start_is_another_each_time_and_teaches_nothing_to_the_one_that_is_not_used():
    learner = lstm(num_steps=1, draw=partial(optax.tree.random_like, target_tree=PARAMS))
    meta_params = learner.init(PARAMS)
    ends = [learner.adapt(meta_params, TASK.support, jax.random.key(seed)) for seed in (0, 1)]
    assert abs(flat(ends[0]) - flat(ends[1])).min() > 1e-3
    found = gradient(learner, meta_params)
    assert optax.tree.norm(found.params) == 0 < optax.tree.norm(found.lstm)


def test_gradients_of_any_size_are_read():
    gradients = jnp.array([1.0, -(1e-3), np.exp(-10), np.exp(-10) * (1 - 1e-9), -1e-6, 0.0])
    expected = [[0, 1], [np.log(1e-3) / 10, -1], [-1, 1], [-1, 1 - 1e-9], [-1, -1e-6 * np.exp(10)], [-1, 0]]
    assert_close(preprocess(gradients), np.array(expected), rtol=1e-12, atol=1e-12)
