"""Labels that are out of range, and at hand, are refused at every entry before anything runs; others are let pass."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import Task, host_tasks
from jax_meta.label_checks import Labels, check_labels_of_tasks, labels_at_hand
from jax_meta.loss_checks import check_labels_at_hand, checked_loss
from tests.learners import outer_for

KEY = jax.random.key(0)
SGD = optax.sgd(0.1)
PARAMS = {"body": jnp.eye(3), "head": jnp.ones(3)}
FOREVER = 10**9
"""Steps that would never end: what is refused is refused before."""


def logits_of(params, inputs):
    return inputs @ params["body"] * params["head"][None]


LOSS = jax_meta.classification(logits_of)
LEARNERS = {
    "maml": jax_meta.maml(LOSS, SGD, num_steps=2),
    "minibatches": jax_meta.fomaml(LOSS, SGD, num_steps=2, batch_size=2),
    "anil": jax_meta.anil(LOSS, SGD, is_head="head", num_steps=2),
    "meta_sgd": jax_meta.meta_sgd(LOSS, step_size=0.1, num_steps=2),
    "imaml": jax_meta.imaml(LOSS, SGD, num_steps=2, strength=2.0),
    "carried_reptile": jax_meta.carried_reptile(LOSS, SGD, num_steps=2),
}
FOMAML = jax_meta.fomaml(LOSS, SGD, num_steps=2)
GOOD = np.array([[0, 1, 2], [2, 1, 0]])
BAD = {"from one": GOOD + 1, "below": np.array([[0, 1, 2], [0, -1, 2]])}
RANGE = r"a model of 3 outputs needs labels from 0 to 2, got labels from (1 to 3|-1 to 2)"


def tasks_of(support=GOOD, query=GOOD, steps=None):
    """Two tasks of three examples, with these labels; or those of some meta-steps."""
    inputs = np.random.default_rng(0).normal(size=(2, 3, 3))
    tasks = Task((inputs, support), (inputs, query))
    return tasks if steps is None else jax.tree.map(lambda leaf: np.stack([leaf] * steps), tasks)


def state_of(learner):
    return jax_meta.init(learner, outer_for(learner, PARAMS, SGD), PARAMS, KEY)


ENTRIES = {
    "evaluate": lambda learner, tasks: jax_meta.evaluate(
        learner, LOSS, learner.init(PARAMS), tasks, KEY, num_steps=FOREVER
    ),
    "learning_curves": lambda learner, tasks: jax_meta.learning_curves(
        learner, jax_meta.transduction(logits_of), learner.init(PARAMS), tasks, KEY, num_steps=FOREVER
    ),
    "meta_gradient": lambda learner, tasks: jax_meta.meta_gradient(learner, learner.init(PARAMS), tasks, KEY),
    "train_step": lambda learner, tasks: jax_meta.train_step(
        learner, outer_for(learner, PARAMS, SGD), state_of(learner), tasks
    ),
    "fit_tasks": lambda learner, tasks: jax_meta.fit_tasks(
        learner,
        outer_for(learner, PARAMS, SGD),
        jax.tree.map(lambda leaf: np.stack([leaf] * 3), tasks),
        state_of(learner),
    ),
    "fit": lambda learner, tasks: jax_meta.fit(
        learner,
        outer_for(learner, PARAMS, SGD),
        host_tasks(lambda rng, num_tasks: tasks),
        state_of(learner),
        num_meta_steps=3,
        num_tasks=2,
    ),
}


@pytest.mark.parametrize("name", ["support", "query"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_refuses_them(entry, name):
    for labels in BAD.values():
        with pytest.raises(ValueError, match=RANGE):
            ENTRIES[entry](FOMAML, tasks_of(**{name: labels}))


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_refuses_them(name):
    learner = LEARNERS[name]
    meta_params = learner.init(PARAMS)
    for options in ({"support": GOOD + 1}, {"query": jnp.asarray(GOOD + 1)}):
        with pytest.raises(ValueError, match=RANGE):
            jax_meta.meta_gradient(learner, meta_params, tasks_of(**options), KEY)
    support = jax.tree.map(lambda leaf: leaf[0], tasks_of(support=GOOD + 1).support)
    with pytest.raises(ValueError, match=RANGE) as refused:
        learner.adapt(meta_params, support, KEY, num_steps=FOREVER)
    assert max(leaf.size for leaf in jax.live_arrays()) < FOREVER, refused  # whose frames hold what was computed


def test_what_is_in_range_or_not_known_passes():
    check = partial(check_labels_of_tasks, FOMAML, PARAMS, key=KEY)
    check(tasks=tasks_of())
    check(tasks=tasks_of(steps=5), lead=2)
    check(tasks=Task(*(jnp.ones((2, 3)),) * 2))  # no pairs
    jax.eval_shape(lambda labels: check(tasks=tasks_of(labels, labels)), GOOD + 1)
    gradient, _ = jax.jit(partial(jax_meta.meta_gradient, FOMAML, PARAMS))(tasks_of(query=GOOD + 1), KEY)
    assert np.isnan(gradient["head"]).all()


def test_one_set_may_be_known_and_the_other_not():
    def gradient(query):
        return jax_meta.meta_gradient(FOMAML, PARAMS, Task(tasks_of(GOOD + 1).support, query), KEY)

    with pytest.raises(ValueError, match=RANGE):
        jax.jit(gradient)(tasks_of().query)


def test_a_set_that_the_gradient_makes_nothing_of_may_hold_anything():
    """Joint training does not look at the support set; a support set may have classes of its own."""
    joint = jax_meta.transfer(LOSS, SGD, num_steps=1)
    check_labels_of_tasks(joint, PARAMS, tasks_of(support=GOOD + 7), KEY)

    def wide(params, batch, key):  # a loss with an output for five more classes
        more = jax_meta.classification(lambda params, inputs: jnp.pad(logits_of(params, inputs), ((0, 0), (0, 5))))
        return more(params, batch, key)

    def query_loss(params, task, key):
        return wide(FOMAML.adapt(params, task.support, key), task.query, key)

    own = FOMAML._replace(gradient=jax_meta.LossGradient(query_loss))
    check_labels_of_tasks(own, PARAMS, tasks_of(query=GOOD + 5), KEY)
    with pytest.raises(ValueError, match="a model of 8 outputs needs labels from 0 to 7, got labels from 6 to 8"):
        check_labels_of_tasks(own, PARAMS, tasks_of(query=GOOD + 6), KEY)


@pytest.mark.parametrize(("ignored", "hidden"), [(-1, -2), (255, 9), (-1, 3), (1, 4)])
def test_one_label_may_be_ignored_and_none_hides_behind_it(ignored, hidden):
    learner = jax_meta.fomaml(jax_meta.classification(logits_of, ignore_label=ignored), SGD, num_steps=1)
    few = np.array([[0, ignored, 2], [2, 2, 0]])
    check_labels_of_tasks(learner, PARAMS, tasks_of(few, few), KEY)
    with pytest.raises(ValueError, match=r"needs labels from 0 to 2"):
        check_labels_of_tasks(learner, PARAMS, tasks_of(few, np.where(few == 2, hidden, few)), KEY)


def test_the_two_lowest_and_the_two_highest_tell_of_all():
    inputs, labels = np.zeros((7, 2, 1)), np.arange(14).reshape(7, 2).astype(np.int32)
    assert labels_at_hand((inputs, labels), lead=1) == [Labels((0, 13), (2,), "int32"), Labels((1, 12), (2,), "int32")]
    assert labels_at_hand((inputs, 0 * labels), lead=1) == [Labels((0,), (2,), "int32")]
    assert Labels((0, 13), (3,), "int32").array().tolist() == [0, 13, 0]
    for other in (inputs, (inputs,), (inputs, labels / 2), (inputs, labels[:0])):
        assert labels_at_hand(other) == []


def test_a_loss_is_traced_once_for_labels_of_the_same_values():
    calls = []

    def counted(params, batch, key):
        calls.append(None)
        return LOSS(params, batch, key)

    loss_fn, (inputs, labels) = checked_loss(counted), jax.tree.map(lambda leaf: leaf[0], tasks_of().support)
    for shift in range(3):
        check_labels_at_hand(loss_fn, PARAMS, (inputs + shift, np.roll(labels, shift)), KEY)
    assert len(calls) == 1
    learner = jax_meta.fomaml(counted, SGD, num_steps=1)
    check_labels_of_tasks(learner, PARAMS, tasks_of(), KEY)
    traced = len(calls)
    check_labels_of_tasks(learner, PARAMS, tasks_of(GOOD[::-1]), KEY)
    assert len(calls) == traced


def test_accuracy_by_transduction_is_not_a_number_where_a_label_is_out_of_range():
    measure = jax.jit(jax_meta.transduction(logits_of))
    task = jax.tree.map(lambda leaf: leaf[0], tasks_of(query=GOOD + 1))
    assert np.isnan(list(measure(PARAMS, task, KEY).values())).all()
    assert np.isfinite(list(measure(PARAMS, jax.tree.map(lambda leaf: leaf[0], tasks_of()), KEY).values())).all()
