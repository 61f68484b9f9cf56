"""Every learner under test, and the small problems it is tested on. A new algorithm is tested by being listed here."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from jax_meta import LossFn, MetaLearner, Sampler, Task
from jax_meta.networks.models import MLP
from jax_meta.tasks import sinusoid

STEP_SIZE = 0.1
NUM_STEPS = 2


class Problem(NamedTuple):
    loss_fn: LossFn
    params: Any
    sample_tasks: Sampler


def is_head(path: str) -> bool:
    return "head" in path or "Dense_1" in path


def with_sgd(factory: Callable[..., MetaLearner], **options: Any) -> Callable[..., MetaLearner]:
    def build(loss_fn, *, step_size=STEP_SIZE, num_steps=NUM_STEPS):
        return factory(loss_fn, optax.sgd(step_size), num_steps=num_steps, **options)

    return build


def with_step_size(factory: Callable[..., MetaLearner], **options: Any) -> Callable[..., MetaLearner]:
    def build(loss_fn, *, step_size=STEP_SIZE, num_steps=NUM_STEPS):
        return factory(loss_fn, step_size=step_size, num_steps=num_steps, **options)

    return build


def meta_optimizer(loss_fn, *, step_size=STEP_SIZE, num_steps=NUM_STEPS):
    return jax_meta.meta_optimizer(
        loss_fn,
        make_optimizer=lambda omega: optax.sgd(step_size, momentum=jax.nn.sigmoid(omega)),
        optimizer_params=jnp.zeros(()),
        num_steps=num_steps,
    )


def lstm_optimizer(loss_fn, *, step_size=STEP_SIZE, num_steps=NUM_STEPS):
    return jax_meta.lstm_optimizer(loss_fn, num_steps=num_steps, units=3, scale=step_size)


def with_head(factory: Callable[..., MetaLearner], **options: Any) -> Callable[..., MetaLearner]:
    """A learner that writes the head of the network of `blobs`; a step size is for those that take steps."""

    def build(loss_fn, *, step_size=STEP_SIZE, num_steps=NUM_STEPS):
        given: dict[str, Any] = {"features": FEATURES, "head": HEAD, "ways": WAYS, **options}
        if factory is jax_meta.proto_maml:
            return factory(loss_fn, optax.sgd(step_size), num_steps=num_steps, **given)
        return factory(loss_fn, **given)

    return build


WAYS = 3
CLASSIFIER = MLP(hidden=(4,), outputs=WAYS)
FEATURES, HEAD = jax_meta.models.split_head(CLASSIFIER)
LEARNERS: dict[str, Callable[..., MetaLearner]] = {
    "transfer": with_sgd(jax_meta.transfer),
    "maml": with_sgd(jax_meta.maml),
    "fomaml": with_sgd(jax_meta.fomaml),
    "reptile": with_sgd(jax_meta.reptile),
    "reptile, minibatches": with_sgd(jax_meta.reptile, batch_size=2),
    "carried_reptile": with_sgd(jax_meta.carried_reptile),
    "anil": with_sgd(jax_meta.anil, is_head=is_head),
    "boil": with_sgd(jax_meta.boil, is_head=is_head),
    "cavia": with_sgd(jax_meta.cavia, is_context=is_head),
    "proto_maml": with_head(jax_meta.proto_maml),
    "meta_optimizer": meta_optimizer,
    "meta_sgd": with_step_size(jax_meta.meta_sgd),
    "maml_plus_plus": with_step_size(jax_meta.maml_plus_plus, weights=np.array([0.3, 0.7])),
    "meta_curvature": with_step_size(jax_meta.meta_curvature),
    "kfo": with_step_size(jax_meta.kfo),
    "lstm_optimizer": lstm_optimizer,
    "protonet": with_head(jax_meta.protonet),
    "r2d2": with_head(jax_meta.r2d2, penalty=0.5, learn_penalty=True),
    "imaml": with_sgd(jax_meta.imaml, strength=2.0),
    "imaml, Neumann series": with_sgd(jax_meta.imaml, strength=2.0, neumann_terms=3),
    "leap": with_sgd(jax_meta.leap),
    "warpgrad": with_sgd(jax_meta.warpgrad, is_warp=is_head),
    "es_maml": with_sgd(jax_meta.es_maml, inner_pairs=2, outer_pairs=3),
}
OF_CLASSES = ("proto_maml", "protonet", "r2d2")
"""Learners that classify, and are tested on `blobs`."""
FAST = ("maml", "carried_reptile", "meta_sgd", "protonet")
"""Learners whose contract is tested each time; that of the others, which share their code, is slow by number."""


def start_of(name: str, learner: MetaLearner, params: Any, support: Any) -> Any:
    """The parameters before the first step, in another way than the learner's own."""
    if name in OF_CLASSES:
        return learner.adapt(learner.init(params), support, jax.random.key(0), num_steps=0)
    if name == "cavia":
        return params | {"head": jnp.zeros_like(params["head"])}
    return params


def outer_for(learner: MetaLearner, params: Any, optimizer: optax.GradientTransformation) -> Any:
    """The outer optimizer of a learner: its inner state, where it carries one, is to be followed all the way."""
    carries = isinstance(jax.eval_shape(learner.init, params), jax_meta.ReptileParams)
    return jax_meta.carry_state(optimizer) if carries else optimizer


def quadratic_loss(params, batch, key):
    """½ (θ - b)ᵀ A (θ - b), the mean over the pairs (A, b) of `batch`."""
    del key
    curvatures, centers = batch
    distances = flat(params)[None] - centers
    loss = jnp.einsum("ei,eij,ej->", distances, curvatures, distances) / (2 * len(centers))
    return loss, {"loss": loss}


def flat(params: Any) -> jax.Array:
    """θ as one vector, in the order of its leaves."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])


def random_quadratics(key: jax.Array, num_tasks: int, *, examples: int = 4) -> Task:
    """Random positive definite A `[num_tasks, examples, 3, 3]` and b `[num_tasks, examples, 3]`."""

    def random_batch(key):
        factor_key, center_key = jax.random.split(key)
        factors = jax.random.normal(factor_key, (num_tasks, examples, 3, 3))
        curvatures = jnp.eye(3)[None, None] + factors @ factors.mT / 3
        return curvatures, jax.random.normal(center_key, (num_tasks, examples, 3))

    return Task(*map(random_batch, jax.random.split(key)))


BANK = jax.jit(random_quadratics, static_argnums=1)(jax.random.key(1), 64)
"""Drawn ahead, because a test should compile its learner and not a sampler."""


def sample_quadratics(key: jax.Array, num_tasks: int) -> Task:
    indices = jax.random.randint(key, (num_tasks,), 0, 64)
    return jax.tree.map(lambda leaf: leaf[indices], BANK)


@cache
def quadratics() -> Problem:
    params = {"body": jnp.array([0.5, -1.0]), "head": jnp.array([2.0])}
    return Problem(quadratic_loss, params, sample_quadratics)


@cache
def sines(*, hidden: tuple[int, ...] = (4,), activation: Callable[[jax.Array], jax.Array] = jax.nn.relu) -> Problem:
    model = MLP(hidden=hidden, activation=activation)
    params = optax.tree.cast(jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 1))), float)
    return Problem(jax_meta.regression(model.apply), params, partial(sinusoid.sample_tasks, shots=5, queries=6))


@cache
def blobs() -> Problem:
    """Points of three classes around centers of their own, twice of each: what a head is written from."""

    def sample_tasks(key, num_tasks):
        center_key, noise_key = jax.random.split(key)
        labels = jnp.tile(jnp.arange(WAYS), 2)
        centers = jax.random.normal(center_key, (num_tasks, WAYS, 2))
        noise = jax.random.normal(noise_key, (2, num_tasks, len(labels), 2))
        labels_of_all = jnp.broadcast_to(labels, (num_tasks, len(labels)))
        return Task(*((centers[:, labels] + 0.5 * part, labels_of_all) for part in noise))

    params = optax.tree.cast(jax.jit(CLASSIFIER.init)(jax.random.key(0), jnp.ones((1, 2))), float)
    return Problem(jax_meta.classification(CLASSIFIER.apply), params, sample_tasks)


def first_task(tasks: Task) -> Task:
    return jax.tree.map(lambda leaf: leaf[0], tasks)


def assert_close(actual: Any, expected: Any, **tolerance: float) -> None:
    """Asserts that two trees have one structure, and leaves that are close; by default to 1e-12, relative to each."""
    jax.tree.map(partial(np.testing.assert_allclose, **({"rtol": 1e-12, "atol": 1e-13} | tolerance)), actual, expected)


def assert_equal(actual: Any, expected: Any) -> None:
    """Asserts that two trees are the same bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
