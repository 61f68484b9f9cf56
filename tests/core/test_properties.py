"""Every learner, in every way to run it, against a plain loop over tasks and steps, on problems that are drawn.

The few that are drawn here are the same each time; those marked slow are many, see `SOME` and `MANY`.
"""

from functools import partial
from typing import Any, NamedTuple

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings

import jax_meta
from jax_meta import Task
from jax_meta.checks import check_tasks
from tests.learners import outer_for
from tests.tiers import each

pytestmark = pytest.mark.filterwarnings("ignore:the inner optimizer's update has no finite derivative where all")
KEY = jax.random.key(0)
QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}
SOME = settings(max_examples=3, **QUIET)  # type: ignore[arg-type]
MANY = settings(max_examples=60, **QUIET)  # type: ignore[arg-type]
STRENGTH, STEP_SIZE = 3.0, 0.1

INNER = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.1, eps_root=1e-4),
    "rmsprop": optax.rmsprop(0.05, eps=1e-2),
    "schedule": optax.chain(optax.clip(0.3), optax.sgd(lambda step: 0.2 / (step + 1))),
    "nesterov": optax.sgd(0.1, momentum=0.5, nesterov=True),
    "adagrad": optax.adagrad(0.1, eps=1e-2),
    "decay": optax.adamw(0.1, eps_root=1e-4, weight_decay=0.1),
    "norm": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
}
OUTER = {"sgd": optax.sgd(0.05), "adam": optax.adam(0.01), "clipped": optax.chain(optax.clip(0.1), optax.sgd(0.1))}


class Case(NamedTuple):
    """A learner, its problem, and a way to run it."""

    learner: str
    inner: str
    outer: str
    num_steps: int
    params: Any
    tasks: Task
    way: dict[str, Any]
    options: dict[str, Any]
    jit: bool


def predict(params, inputs):
    """A network of one hidden layer, whose parameters may be in any tree."""
    kernel, bias, head = jax.tree.leaves(params)
    return jnp.tanh(inputs @ kernel + bias[None]) @ head


def loss_fn(params, batch, key):
    inputs, targets = batch
    errors = predict(params, inputs) - targets
    loss = (errors**2).mean()
    return loss, {"loss": loss, "below": loss < 1.0, "wrong": (abs(errors) > 0.5).sum()}


def is_head(path):
    return path.endswith("head") or path.endswith("2")


TREES = {
    "dict": lambda kernel, bias, head: {"a": {"kernel": kernel}, "b": bias, "head": head},
    "tuple": lambda *leaves: leaves,
    "nested": lambda kernel, bias, head: [(kernel,), {"bias": bias, "head": head}],
}


@st.composite
def cases(draw) -> Case:
    features, hidden, outputs = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)))
    dtype = draw(st.sampled_from([jnp.float64, jnp.float32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    leaves = [jnp.asarray(rng.normal(size=size), dtype) for size in ((features, hidden), (hidden,), (hidden, outputs))]
    num_tasks = draw(st.integers(1, 4))

    def batch(examples):
        sizes = ((num_tasks, examples, features), (num_tasks, examples, outputs))
        return tuple(jnp.asarray(rng.normal(size=size), dtype) for size in sizes)

    tasks = Task(batch(draw(st.integers(1, 4))), batch(draw(st.integers(1, 4))))
    learner = draw(st.sampled_from(sorted(GRADIENTS)))
    way: dict[str, Any] = {}
    if draw(st.booleans()):
        way["mesh"] = jax.make_mesh((1,), ("tasks",), devices=jax.devices()[:1])
    divisors = [size for size in range(1, num_tasks + 1) if num_tasks % size == 0]
    way["task_batch_size"] = draw(st.sampled_from([None, *divisors]))
    options = {}
    if learner in ("maml", "anil", "meta_sgd"):
        mixed_mode = draw(st.booleans())
        remat = draw(st.sampled_from(["none", "steps", "blocks", *(["updates"] if mixed_mode else [])]))
        options = {"mixed_mode": mixed_mode, "remat": remat}
    return Case(
        learner,
        draw(st.sampled_from(sorted(INNER))),
        draw(st.sampled_from(sorted(OUTER))),
        draw(st.integers(0, 3)),
        TREES[draw(st.sampled_from(sorted(TREES)))](*leaves),
        tasks,
        way,
        options,
        draw(st.booleans()),
    )


def make(case: Case) -> jax_meta.MetaLearner:
    factory = getattr(jax_meta, case.learner)
    common = {"num_steps": case.num_steps, **case.options}
    if case.learner == "meta_sgd":
        return factory(loss_fn, step_size=STEP_SIZE, **common)
    own: dict[str, dict[str, Any]] = {"anil": {"is_head": is_head}, "imaml": {"strength": STRENGTH, "cg_steps": 50}}
    return factory(loss_fn, INNER[case.inner], **common, **own.get(case.learner, {}))


def scalar_loss(params, batch):
    return loss_fn(params, batch, KEY)[0]


def steps(optimizer, loss, params, num_steps, state=None):
    """The inner loop, as one would write it in a notebook."""
    state = optimizer.init(params) if state is None else state
    for _ in range(num_steps):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def adapted(case, params, task):
    return steps(INNER[case.inner], partial(scalar_loss, batch=task.support), params, case.num_steps)[0]


def of_maml(case, params, task):
    return jax.grad(lambda params: scalar_loss(adapted(case, params, task), task.query))(params)


def of_anil(case, params, task):
    join = partial(jax.tree.unflatten, jax.tree.structure(params))

    def query_loss(params):
        *body, head = jax.tree.leaves(params)
        support_loss = lambda head: scalar_loss(join([*body, head]), task.support)  # noqa: E731
        head, _ = steps(INNER[case.inner], support_loss, head, case.num_steps)
        return scalar_loss(join([*body, head]), task.query)

    return jax.grad(query_loss)(params)


def of_meta_sgd(case, meta_params, task):
    def query_loss(meta_params):
        params, sizes = meta_params
        for _ in range(case.num_steps):
            slope = jax.grad(scalar_loss)(params, task.support)
            params = jax.tree.map(lambda leaf, size, slope: leaf - size * slope, params, sizes, slope)
        return scalar_loss(params, task.query)

    return jax.grad(query_loss)(meta_params)


def of_imaml(case, params, task):
    def regularised(moved):
        distances = jax.tree.map(lambda left, right: ((left - right) ** 2).sum(), moved, params)
        return scalar_loss(moved, task.support) + STRENGTH / 2 * sum(jax.tree.leaves(distances))

    end, _ = steps(INNER[case.inner], regularised, params, case.num_steps)
    vector, unravel = jax.flatten_util.ravel_pytree(end)
    hessian = jax.hessian(lambda vector: scalar_loss(unravel(vector), task.support))(vector)
    right = jax.flatten_util.ravel_pytree(jax.grad(scalar_loss)(end, task.query))[0]
    return unravel(jnp.linalg.solve(jnp.eye(len(vector), dtype=vector.dtype) + hessian / STRENGTH, right))


def of_carried_reptile(case, meta_params, task):
    params, state = meta_params
    end = steps(INNER[case.inner], partial(scalar_loss, batch=task.support), params, case.num_steps, state)
    return jax.tree.map(jnp.subtract, meta_params, jax_meta.ReptileParams(*end))


GRADIENTS = {
    "transfer": lambda case, params, task: jax.grad(scalar_loss)(params, task.query),
    "maml": of_maml,
    "fomaml": lambda case, params, task: jax.grad(scalar_loss)(adapted(case, params, task), task.query),
    "reptile": lambda case, params, task: jax.tree.map(jnp.subtract, params, adapted(case, params, task)),
    "carried_reptile": of_carried_reptile,
    "anil": of_anil,
    "meta_sgd": of_meta_sgd,
    "imaml": of_imaml,
}


def plain_gradient(case, meta_params, tasks):
    """The mean over tasks, one after the other."""
    each = [
        GRADIENTS[case.learner](case, meta_params, jax.tree.map(lambda leaf, index=index: leaf[index], tasks))
        for index in range(len(tasks.support[0]))
    ]
    return jax.tree.map(lambda *leaves: (sum(leaves) / len(leaves)).astype(leaves[0].dtype), *each)


def assert_near(actual, expected, dtype, scale=1.0):
    tolerance = scale * (1e-9 if dtype == jnp.float64 else 2e-4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), actual, expected)
    assert jax.tree.map(jnp.result_type, actual) == jax.tree.map(jnp.result_type, expected)


def check_gradient(case: Case) -> None:
    """`meta_gradient` in its way against the loop."""
    learner = make(case)
    meta_params = learner.init(case.params)
    compute: Any = partial(jax_meta.meta_gradient, learner, **case.way)
    gradient, metrics = (jax.jit(compute) if case.jit else compute)(meta_params, case.tasks, KEY)
    expected = jax.jit(partial(plain_gradient, case))(meta_params, case.tasks)
    dtype = case.tasks.support[0].dtype
    # conjugate gradients solve to the rounding of the system's condition
    assert_near(gradient, expected, dtype, 1e3 if case.learner == "imaml" else 1.0)
    assert metrics.keys() == {"loss", "below", "wrong"}
    assert {value.shape for value in metrics.values()} == {()}
    assert all(jnp.issubdtype(value.dtype, jnp.floating) for value in metrics.values())


def check_training(case: Case) -> None:
    """`fit_tasks` in its way, over two seeds at once, against a loop of plain meta-steps."""
    learner = make(case)
    outer = outer_for(learner, case.params, OUTER[case.outer])
    stream = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), case.tasks)
    others = jax.tree.map(lambda leaf: 0.5 * leaf, case.params)

    def train(params):
        state = jax_meta.init(learner, outer, params, KEY)
        state, history = jax_meta.fit_tasks(learner, outer, stream, state, **case.way)
        return state.params, history["wrong"]

    def by_hand(params):
        meta_params = learner.init(params)
        state = outer.init(meta_params)
        for step in range(2):
            gradient = plain_gradient(case, meta_params, jax.tree.map(lambda leaf, step=step: leaf[step], stream))
            updates, state = outer.update(gradient, state, meta_params)
            meta_params = optax.apply_updates(meta_params, updates)
        return meta_params

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), case.params, others)
    many, wrong = jax.vmap(train)(both)
    dtype = case.tasks.support[0].dtype
    for index, params in enumerate((case.params, others)):
        trained = jax.tree.map(lambda leaf, index=index: leaf[index], many)
        scale = 1e3 if case.learner == "imaml" or case.outer == "adam" else 10.0  # Adam divides by a small gradient
        assert_near(trained, jax.jit(by_hand)(params), dtype, scale)
    assert wrong.shape == (2, 2)


def check_evaluation(case: Case) -> None:
    """`evaluate` against a loop over tasks and numbers of steps."""
    learner = make(case)
    if case.learner in ("imaml", "anil", "meta_sgd", "carried_reptile"):
        learner = jax_meta.transfer(loss_fn, INNER[case.inner], num_steps=0)
    batch_size = case.way["task_batch_size"]
    curves = jax_meta.evaluate(
        learner, loss_fn, case.params, case.tasks, KEY, num_steps=case.num_steps, task_batch_size=batch_size
    )

    @jax.jit
    def by_hand(params, tasks):
        rows = []
        for index in range(len(tasks.support[0])):
            task = jax.tree.map(lambda leaf, index=index: leaf[index], tasks)
            ends = [adapted(case._replace(num_steps=count), params, task) for count in range(case.num_steps + 1)]
            rows.append([scalar_loss(end, task.query) for end in ends])
        return jnp.array(rows)

    assert_near(curves["loss"], by_hand(case.params, case.tasks), case.tasks.support[0].dtype, 10.0)
    assert curves["below"].dtype == bool


CHECKS = {"gradient": check_gradient, "training": check_training, "evaluation": check_evaluation}


@pytest.mark.parametrize("name", each(CHECKS, ("gradient", "evaluation")))
def test_some(name):
    SOME(given(cases())(CHECKS[name]))()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_many(name):
    MANY(given(cases())(CHECKS[name]))()


SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
LEAVES = st.builds(np.zeros, SHAPES, st.sampled_from([np.float32, np.int32]))
BATCHES = st.lists(LEAVES, max_size=2).map(tuple)


@settings(max_examples=300, **QUIET)  # type: ignore[arg-type]
@given(BATCHES, BATCHES)
def test_tasks_of_any_shapes_are_counted_or_refused(support, query):
    """What passes has one number of tasks, examples in both sets, and examples of one kind."""
    try:
        num_tasks = check_tasks(Task(support, query))
    except ValueError:
        return
    assert {leaf.shape[0] for leaf in support + query} == {num_tasks}
    assert num_tasks > 0
    assert all(len({leaf.shape[1] for leaf in batch}) == 1 and batch[0].shape[1] > 0 for batch in (support, query))
    for left, right in zip(support, query, strict=True):
        assert (left.shape[2:], left.dtype) == (right.shape[2:], right.dtype)
