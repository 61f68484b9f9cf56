"""Rematerialisation and mixed-mode differentiation change what is kept in memory, and no number."""

from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.memory import mixed_mode_value_and_grad, value_and_grad
from tests.learners import LEARNERS, assert_close, first_task, is_head, sines
from tests.tiers import each

KEY = jax.random.key(3)
SINES = sines(hidden=(5,), activation=jnp.tanh)
TASK = first_task(SINES.sample_tasks(KEY, 1))
KEPT = each(
    [*product(("none", "steps", "blocks"), (False, True)), ("updates", True)],
    [("none", False), ("steps", False), ("blocks", True), ("updates", True)],
)


SGD, ADAM = optax.sgd(0.1), optax.adam(0.05, eps_root=1e-8)


@cache
def meta_gradient(optimizer, **options):
    learner = jax_meta.maml(SINES.loss_fn, optimizer, num_steps=4, **options)
    return jax.jit(learner.gradient)(SINES.params, TASK, KEY)


@pytest.mark.parametrize(("remat", "mixed_mode"), KEPT[1:])
def test_meta_gradient_is_the_same(remat, mixed_mode):
    optimizer = ADAM if mixed_mode else SGD
    kept = meta_gradient(optimizer, remat=remat, mixed_mode=mixed_mode)
    assert_close(kept, meta_gradient(optimizer), rtol=1e-11)


@cache
def slope_of_observations(num_steps, **options):
    """The gradient of the sum of losses that an adaptation observes, with what it ends in and the losses."""

    def run(params):
        adapted, observations = jax_meta.adapt(
            SINES.loss_fn,
            SGD,
            params,
            TASK.support,
            KEY,
            num_steps=num_steps,
            batch_size=2,
            observe=lambda params: SINES.loss_fn(params, TASK.query, KEY)[0],
            **options,
        )
        return observations.sum(), (adapted, observations)

    return jax.jit(jax.grad(run, has_aux=True))(SINES.params)


@pytest.mark.parametrize(
    ("num_steps", "remat", "mixed_mode"),
    each(
        [(steps, *kept) for steps in (0, 1, 3, 10) for kept in (("steps", False), ("blocks", True), ("updates", True))],
        [(0, "blocks", True), (10, "updates", True)],
    ),
)
def test_any_number_of_steps_with_minibatches_and_observations(num_steps, remat, mixed_mode):
    kept = slope_of_observations(num_steps, remat=remat, mixed_mode=mixed_mode)
    assert_close(kept, slope_of_observations(num_steps), rtol=1e-11)
    assert kept[1][1].shape == (num_steps + 1,)


@pytest.mark.parametrize("name", each(["anil", "meta_sgd", "cavia", "maml_plus_plus"], ["meta_sgd"]))
def test_the_other_learners_that_differentiate_their_inner_loop(name):
    def gradient(**options):
        if name == "anil":
            learner = jax_meta.anil(SINES.loss_fn, optax.sgd(0.1), is_head=is_head, num_steps=4, **options)
        elif name == "cavia":
            learner = jax_meta.cavia(SINES.loss_fn, optax.sgd(0.1), is_context=is_head, num_steps=4, **options)
        else:
            learner = getattr(jax_meta, name)(SINES.loss_fn, step_size=0.1, num_steps=4, **options)
        return jax.jit(learner.gradient)(learner.init(SINES.params), TASK, KEY)

    assert name in LEARNERS
    assert_close(gradient(remat="blocks", mixed_mode=True), gradient(), rtol=1e-11)


def test_mixed_mode_differentiates_value_and_gradient_in_everything_that_they_depend_on():
    """Parameters, the batch beside its integer labels, and a temperature that the loss closes over."""
    images, labels = jax.random.normal(KEY, (6, 4)), jnp.arange(6) % 3
    params = {"kernel": jax.random.normal(jax.random.key(1), (4, 3))}

    def scalar(differentiate, params, images, temperature):
        def loss_fn(params, batch, key):
            images, labels = batch
            noise = 0.1 * jax.random.normal(key, images.shape)
            logits = (images + noise) @ params["kernel"] / temperature
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, {"loss": loss}

        value, gradient = differentiate(loss_fn, params, (images, labels), KEY)
        return jnp.sin(value) + jnp.sum(jnp.sin(gradient["kernel"]))

    grads = [
        jax.jit(jax.grad(partial(scalar, differentiate), argnums=(0, 1, 2)))(params, images, 2.0)
        for differentiate in (mixed_mode_value_and_grad, value_and_grad)
    ]
    assert_close(*grads)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(grads))


def test_mixed_mode_keeps_the_dtype_of_parameters_under_a_loss_of_another():
    params = {"kernel": jnp.ones((3, 2), jnp.float32), "bias": jnp.zeros(2)}

    def loss_fn(params, batch, key):
        loss = jnp.mean((jnp.tanh(batch[0] @ params["kernel"]) + params["bias"][None] - batch[1]) ** 2)
        return loss, {"loss": loss}

    batch = jnp.ones((4, 3)), jnp.ones((4, 2))
    gradients = []
    for mixed_mode in (True, False):
        learner = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=2, mixed_mode=mixed_mode)
        gradients.append(jax.jit(learner.gradient)(params, jax_meta.Task(batch, batch), KEY)[0])
    assert [leaf.dtype for leaf in jax.tree.leaves(gradients[0])] == [jnp.float64, jnp.float32]
    assert_close(*gradients, rtol=1e-5)


def test_mixed_mode_can_be_differentiated_again():
    def twice(mixed_mode):
        learner = jax_meta.maml(SINES.loss_fn, optax.sgd(0.1), num_steps=2, mixed_mode=mixed_mode)

        def squared(params):
            return optax.tree.norm(learner.gradient(params, TASK, KEY)[0], squared=True)

        return jax.jit(jax.grad(squared))(SINES.params)

    assert_close(twice(True), twice(False), rtol=1e-10)


@cache
def adapted(**options):
    adapt = partial(jax_meta.adapt, SINES.loss_fn, SGD, num_steps=5, **options)
    return jax.jit(adapt)(SINES.params, TASK.support, KEY)


@pytest.mark.parametrize(("remat", "mixed_mode"), KEPT)
def test_adaptation_itself_is_the_same(remat, mixed_mode):
    assert_close(adapted(remat=remat, mixed_mode=mixed_mode), adapted())


def test_memory_grows_as_promised():
    """Temporary bytes of the compiled meta-gradient, with activations a hundred times larger than the parameters."""
    params = {"kernel": 0.1 * jnp.ones((4, 4))}
    batch = jnp.ones((4_000, 4)), jnp.ones((4_000, 4))

    def loss_fn(params, batch, key):
        del key
        inputs, targets = batch
        for _ in range(3):
            inputs = jnp.tanh(inputs @ params["kernel"])
        loss = jnp.mean((inputs - targets) ** 2)
        return loss, {"loss": loss}

    @cache
    def temporary_bytes(num_steps, **options):
        learner = jax_meta.maml(loss_fn, optax.sgd(0.1), num_steps=num_steps, **options)
        compiled = jax.jit(learner.gradient).lower(params, jax_meta.Task(batch, batch), KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    naive = temporary_bytes(64) / temporary_bytes(16)
    assert naive > 3
    for options in (
        {"remat": "steps"},
        {"remat": "blocks"},
        {"mixed_mode": True},
        {"mixed_mode": True, "remat": "blocks"},
        {"mixed_mode": True, "remat": "updates"},
    ):
        assert temporary_bytes(64, **options) < 1.2 * temporary_bytes(16, **options)
        assert temporary_bytes(64, **options) < temporary_bytes(64) / 10


def test_what_is_kept_of_parameters_gradients_and_optimizer_states():
    """Temporary bytes beyond those of one step, with parameters a hundred times larger than the activations."""
    params = {"kernel": jnp.ones((100, 100)) / 100}
    batch = jnp.ones((4, 100)), jnp.ones((4, 100))

    def loss_fn(params, batch, key):
        del key
        loss = jnp.mean((jnp.tanh(batch[0] @ params["kernel"]) - batch[1]) ** 2)
        return loss, {"loss": loss}

    def kept(num_steps, remat, optimizer):
        learner = jax_meta.maml(loss_fn, optimizer, num_steps=num_steps, remat=remat, mixed_mode=True)
        compiled = jax.jit(learner.gradient).lower(params, jax_meta.Task(batch, batch), KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes / params["kernel"].nbytes

    assert kept(144, "none", SGD) > 144
    assert kept(144, "blocks", SGD) < 50
    assert kept(144, "none", ADAM) > 3 * 144  # parameters and two moments
    assert 144 < kept(144, "updates", ADAM) < 2 * 144  # gradients


def test_updates_are_computed_again_without_the_inner_gradients():
    def work(remat):
        learner = jax_meta.maml(SINES.loss_fn, optax.sgd(0.1), num_steps=9, remat=remat, mixed_mode=True)
        return str(jax.make_jaxpr(learner.gradient)(SINES.params, TASK, KEY)).count(" tanh ")

    assert work("updates") < work("blocks")


def test_updates_without_mixed_mode_name_the_remedy():
    with pytest.raises(ValueError, match="add mixed_mode=True"):
        jax_meta.maml(SINES.loss_fn, optax.sgd(0.1), num_steps=3, remat="updates").adapt(
            SINES.params, TASK.support, KEY
        )


def test_unknown_remat_names_the_choices():
    with pytest.raises(ValueError, match="remat must be one of 'none', 'steps', 'blocks', 'updates', got 'all'"):
        jax_meta.adapt(SINES.loss_fn, optax.sgd(0.1), SINES.params, TASK.support, KEY, num_steps=1, remat="all")
