"""Arguments in the wrong place, of the wrong kind, with an axis too few: each error names the remedy, at once."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jax_meta
from jax_meta import MetaLearner, Task, TrainState
from jax_meta.networks.models import MLP
from jax_meta.tasks import sinusoid
from tests.learners import quadratics, sines

KEY = jax.random.key(0)
SGD = optax.sgd(0.1)
ADAM = optax.adam(1e-3)
PROBLEM = quadratics()
PARAMS, LOSS = PROBLEM.params, PROBLEM.loss_fn
MAML = jax_meta.maml(LOSS, SGD, num_steps=1)
META_SGD = jax_meta.meta_sgd(LOSS, step_size=0.1, num_steps=1)
REPTILE = jax_meta.reptile(LOSS, SGD, num_steps=2)
CARRIED = jax_meta.carried_reptile(LOSS, ADAM, num_steps=1)
STATE = jax_meta.init(MAML, ADAM, PARAMS, KEY)
META_SGD_STATE = jax_meta.init(META_SGD, ADAM, PARAMS, KEY)
TASKS = PROBLEM.sample_tasks(KEY, 3)
SINES = sines()
SINE = jax_meta.maml(SINES.loss_fn, SGD, num_steps=1)
SINE_STATE = jax_meta.init(SINE, ADAM, SINES.params, KEY)
SINE_TASKS = sinusoid.sample_tasks(KEY, 4, shots=5, queries=5)
"""As many queries as there are support points, so that either can be taken for tasks."""
LINE = jax_meta.regression(lambda params, inputs: inputs @ params)
"""As a Flax module does it: the last axis are features, whatever it was meant to count."""
PAIR: Any = tuple(TASKS)
SEED: Any = 7
UNCALLED: Any = jax_meta.maml
LABELLED = Task((jnp.ones((4, 2)), jnp.arange(4)), (jnp.ones((4, 2)), jnp.arange(4)))


def learner_of(loss_fn):
    return jax_meta.maml(loss_fn, SGD, num_steps=1)


def with_metrics(metrics):
    """The quadratic loss with other metrics: a value, or a function of the loss."""

    def loss_fn(params, batch, key):
        loss, _ = LOSS(params, batch, key)
        return loss, metrics(loss) if callable(metrics) else metrics

    return loss_fn


def fit(learner=MAML, state=STATE, sample_tasks=PROBLEM.sample_tasks, outer=ADAM, **options):
    return jax_meta.fit(learner, outer, sample_tasks, state, **{"num_meta_steps": 3, "num_tasks": 3} | options)


def fit_loss(loss_fn, **options):
    return fit(learner_of(loss_fn), **options)


def fit_tasks(learner, tasks, state):
    return jax_meta.fit_tasks(learner, ADAM, tasks, state)


def evaluate(learner, loss_fn, params, tasks, key=KEY, **options):
    return jax_meta.evaluate(learner, loss_fn, params, tasks, key, **{"num_steps": 1} | options)


def first_of(tasks):
    return jax.tree.map(lambda leaf: leaf[0], tasks)


def changed_metrics(metrics):
    return MAML._replace(gradient=lambda params, task, key: (PARAMS, metrics))


class Pair(NamedTuple):
    params: dict
    batch_stats: dict


def nnx_network():
    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Linear(1, 2, rngs=rngs), nnx.BatchNorm(2, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))


def one_device(**options):
    return jax.make_mesh((1,), ("tasks",), devices=jax.devices()[:1], **options)


def under_explicit_mesh():
    with jax.set_mesh(one_device(axis_types=(jax.sharding.AxisType.Explicit,))):
        return fit(mesh=one_device())


RUNNING = nn.BatchNorm(use_running_average=True).init(KEY, jnp.ones((1, 2)))

LOSSES = {
    "a loss alone": (
        lambda: fit_loss(lambda params, batch, key: LOSS(params, batch, key)[0]),
        TypeError,
        "return loss, {'loss': loss}",
    ),
    "a loss of two arguments": (
        lambda: learner_of(lambda params, batch: LOSS(params, batch, KEY)),
        TypeError,
        r"\(params, batch, key\).*ignore it",
    ),
    "a model for a loss": (lambda: learner_of(MLP()), TypeError, r"jax_meta\.regression\(model\.apply\)"),
    "no function": (lambda: learner_of(0.5), TypeError, r"loss_fn.*got 0\.5.*jax_meta\.regression"),
    "a loss for each example": (
        lambda: fit_loss(lambda params, batch, key: (jnp.ones(4) * LOSS(params, batch, key)[0], {})),
        ValueError,
        r"float64\[4\].*scalar.*jnp\.mean",
    ),
    "an integer loss": (
        lambda: fit_loss(lambda params, batch, key: (jnp.array(1), {})),
        TypeError,
        r"a real float, got int64",
    ),
    "a vector metric": (
        lambda: fit_loss(with_metrics(lambda loss: {"each": loss * jnp.ones(4)})),
        ValueError,
        r"'each' is float64\[4\].*scalar.*jnp\.mean",
    ),
    "nested metrics": (
        lambda: fit_loss(with_metrics(lambda loss: {"loss": loss, "parts": {"a": loss}})),
        TypeError,
        "'parts' is a dict.*a name of its own",
    ),
    "a metric of None": (
        lambda: fit_loss(with_metrics({"accuracy": None})),
        TypeError,
        "'accuracy' is None.*leave it out",
    ),
    "a metric of text": (lambda: fit_loss(with_metrics({"name": "sine"})), TypeError, "'name' is 'sine'.*leave it out"),
    "metrics of None": (lambda: fit_loss(with_metrics(None)), TypeError, "metrics must be a dict.*got None"),
    "metrics by number": (lambda: fit_loss(with_metrics(lambda loss: {1: loss})), TypeError, "by name, got the name 1"),
    "a learner's metrics": (
        lambda: fit(changed_metrics({"each": jnp.ones(2)})),
        ValueError,
        "'each' is float64.2.*scalar",
    ),
    "a learner's metrics of None": (
        lambda: fit(changed_metrics({"each": None})),
        TypeError,
        "'each' is None.*leave it out",
    ),
    "a learner's gradient alone": (
        lambda: fit(MAML._replace(gradient=lambda params, task, key: PARAMS)),
        TypeError,
        r"gradient must return \(gradient, metrics\)",
    ),
    "a gradient of another structure": (
        lambda: fit(MAML._replace(gradient=lambda params, task, key: (PARAMS["body"], {}))),
        ValueError,
        "the structure and shapes of the meta-parameters",
    ),
    "a gradient of another shape": (
        lambda: fit(MAML._replace(gradient=lambda params, task, key: (jax.tree.map(jnp.sum, PARAMS), {}))),
        ValueError,
        "the structure and shapes of the meta-parameters",
    ),
    "a loss alone, measured": (
        lambda: evaluate(MAML, lambda params, batch, key: jnp.ones(()), PARAMS, TASKS),
        TypeError,
        "return loss, {'loss': loss}",
    ),
}
ARGUMENTS = {
    "a number for the inner optimizer": (
        lambda: jax_meta.maml(LOSS, 0.1, num_steps=1),
        TypeError,
        r"optax\.sgd\(0\.1\), got 0\.1",
    ),
    "a number for adapt's optimizer": (
        lambda: jax_meta.adapt(LOSS, 0.1, PARAMS, first_of(TASKS).support, KEY, num_steps=1),
        TypeError,
        r"optax\.sgd\(0\.1\)",
    ),
    "a number for the outer optimizer": (
        lambda: jax_meta.init(MAML, 0.1, PARAMS, KEY),
        TypeError,
        r"optax\.sgd\(0\.1\)",
    ),
    "a number for fit's optimizer": (lambda: fit(outer=0.1), TypeError, r"optax\.sgd\(0\.1\)"),
    "a number for carry_state's": (lambda: jax_meta.carry_state(0.1), TypeError, r"optax\.sgd\(0\.1\)"),
    "an optimizer not called": (
        lambda: jax_meta.maml(LOSS, optax.sgd, num_steps=1),
        TypeError,
        "got the function sgd.*call it",
    ),
    "a learner not called": (
        lambda: jax_meta.init(UNCALLED, ADAM, PARAMS, KEY),
        TypeError,
        "MetaLearner.*got the function maml.*call it",
    ),
    "learner and optimizer swapped": (
        lambda: jax_meta.init(ADAM, MAML, PARAMS, KEY),
        TypeError,
        "learner must be a jax_meta.MetaLearner",
    ),
    "an integer for init's key": (
        lambda: jax_meta.init(MAML, ADAM, PARAMS, SEED),
        TypeError,
        r"got 7.*jax\.random\.key\(7\)",
    ),
    "an integer for evaluate's key": (
        lambda: evaluate(MAML, LOSS, PARAMS, TASKS, SEED),
        TypeError,
        r"jax\.random\.key\(7\)",
    ),
    "an integer for adapt's key": (
        lambda: MAML.adapt(PARAMS, first_of(TASKS).support, SEED),
        TypeError,
        r"jax\.random\.key\(7\)",
    ),
    "an integer for meta_gradient's key": (
        lambda: jax_meta.meta_gradient(MAML, PARAMS, TASKS, SEED),
        TypeError,
        r"jax\.random\.key\(7\)",
    ),
    "keys of many seeds": (
        lambda: fit(state=STATE._replace(key=jax.random.split(KEY, 5))),
        TypeError,
        r"one key.*\[5\].*jax\.vmap",
    ),
    "parameters for the state": (lambda: fit(state=PARAMS), TypeError, r"TrainState.*got dict.*jax_meta\.init"),
    "parameters for fit_tasks' state": (
        lambda: fit_tasks(MAML, jax.tree.map(lambda leaf: leaf[None], TASKS), PARAMS),
        TypeError,
        r"TrainState.*got dict.*jax_meta\.init",
    ),
    "parameters for train_step's state": (
        lambda: jax_meta.train_step(MAML, ADAM, PARAMS, TASKS),
        TypeError,
        r"TrainState.*got dict.*jax_meta\.init",
    ),
    "parameters for next_tasks' state": (
        lambda: jax_meta.next_tasks(PROBLEM.sample_tasks, PARAMS),
        TypeError,
        r"TrainState.*got dict.*jax_meta\.init",
    ),
    "the state of another optimizer": (lambda: fit(outer=SGD), ValueError, r"another optimizer's.*jax_meta\.init"),
    "the state of Meta-SGD for MAML": (
        lambda: fit(MAML, META_SGD_STATE),
        TypeError,
        r"got a MetaSGDParams.*jax_meta\.init makes for it",
    ),
    "the state of Meta-SGD for transfer": (
        lambda: fit(jax_meta.transfer(LOSS, SGD, num_steps=1), META_SGD_STATE),
        TypeError,
        r"got a MetaSGDParams.*jax_meta\.init makes for it",
    ),
    "the state of MAML for Meta-SGD": (lambda: fit(META_SGD), TypeError, r"MetaSGDParams, got dict.*jax_meta\.init"),
    "the state of MAML for carried Reptile": (
        lambda: fit(CARRIED),
        TypeError,
        r"ReptileParams, got dict.*jax_meta\.init",
    ),
    "a state for parameters": (
        lambda: evaluate(MAML, LOSS, STATE, TASKS),
        TypeError,
        r"got a TrainState.*its `\.params`",
    ),
    "a state for adapt's parameters": (
        lambda: MAML.adapt(STATE, first_of(TASKS).support, KEY),
        TypeError,
        r"got a TrainState.*its `\.params`",
    ),
    "a state for Meta-SGD's parameters": (
        lambda: evaluate(META_SGD, LOSS, META_SGD_STATE, TASKS),
        TypeError,
        r"got a TrainState.*its `\.params`",
    ),
    "a carried state that is not followed": (
        lambda: jax_meta.init(CARRIED, SGD, PARAMS, KEY),
        ValueError,
        r"carry_state\(optimizer\)",
    ),
    "a carried state that fit does not follow": (
        lambda: fit(
            CARRIED, TrainState(CARRIED.init(PARAMS), SGD.init(CARRIED.init(PARAMS)), KEY, jnp.int32(0)), outer=SGD
        ),
        ValueError,
        r"carry_state\(optimizer\)",
    ),
    "carry_state without such a learner": (
        lambda: jax_meta.init(MAML, jax_meta.carry_state(SGD), PARAMS, KEY),
        TypeError,
        "carry_state is for jax_meta.carried_reptile",
    ),
    "a mesh within explicit axes": (under_explicit_mesh, ValueError, r"jax\.set_mesh.*AxisType\.Auto"),
}
PARAMETERS = {
    "running averages": (
        lambda: jax_meta.init(MAML, ADAM, RUNNING, KEY),
        ValueError,
        r"batch_stats.*jax_meta\.layers\.BatchNorm",
    ),
    "running averages in adapt": (
        lambda: jax_meta.adapt(LOSS, SGD, RUNNING, first_of(TASKS).support, KEY, num_steps=1),
        ValueError,
        r"batch_stats.*jax_meta\.layers\.BatchNorm",
    ),
    "running averages in a pair": (
        lambda: jax_meta.init(MAML, ADAM, Pair({"w": jnp.ones(2)}, {"mean": jnp.ones(2)}), KEY),
        TypeError,
        r"got a Pair.*its `\.params`",
    ),
    "an NNX module": (
        lambda: jax_meta.init(MAML, ADAM, nnx_network(), KEY),
        TypeError,
        r"nnx\.split\(model, nnx\.Param, \.\.\.\)",
    ),
    "an NNX state with running averages": (
        lambda: jax_meta.init(MAML, ADAM, nnx.state(nnx_network(), (nnx.Param, nnx.BatchStat)), KEY),
        TypeError,
        r"BatchStat.*nnx\.split\(model, nnx\.Param, \.\.\.\)",
    ),
    "integers": (
        lambda: jax_meta.init(MAML, ADAM, {"w": jnp.ones(2), "count": jnp.array(0)}, KEY),
        TypeError,
        r"int64\[\] at \['count'\].*eqx\.partition\(model, eqx\.is_inexact_array\)",
    ),
    "functions": (
        lambda: jax_meta.init(MAML, ADAM, {"w": jnp.ones(2), "activation": jax.nn.relu}, KEY),
        TypeError,
        r"'activation'.*eqx\.partition\(model, eqx\.is_inexact_array\)",
    ),
    "integers in adapt": (
        lambda: jax_meta.adapt(LOSS, SGD, {"w": jnp.arange(2)}, first_of(TASKS).support, KEY, num_steps=1),
        TypeError,
        r"int64\[2\] at \['w'\].*eqx\.partition",
    ),
    "numbers of Python": (
        lambda: jax_meta.init(MAML, ADAM, {"w": 1.0}, KEY),
        TypeError,
        r"1\.0 at \['w'\].*jnp\.asarray",
    ),
    "complex numbers": (
        lambda: jax_meta.init(MAML, ADAM, {"w": jnp.ones(2, complex)}, KEY),
        TypeError,
        r"complex128\[2\] at \['w'\].*jax\.lax\.complex",
    ),
    "complex numbers in adapt": (
        lambda: jax_meta.adapt(LOSS, SGD, jnp.ones(3, complex), first_of(TASKS).support, KEY, num_steps=1),
        TypeError,
        r"jax\.lax\.complex",
    ),
}
DATA = {
    "a pair for tasks": (
        lambda: jax_meta.meta_gradient(MAML, PARAMS, PAIR, KEY),
        TypeError,
        r"got tuple.*jax_meta\.Task\(support, query\)",
    ),
    "a sampler of pairs": (
        lambda: fit(sample_tasks=lambda key, num_tasks: PAIR),
        TypeError,
        r"got tuple.*jax_meta\.Task\(support, query\)",
    ),
    "a pair for evaluate": (
        lambda: evaluate(MAML, LOSS, PARAMS, PAIR),
        TypeError,
        r"jax_meta\.Task\(support, query\)",
    ),
    "no tasks": (lambda: fit(num_tasks=0), ValueError, "num_tasks must be an integer of 1 or more, got 0"),
    "half a task": (lambda: fit(num_tasks=1.5), ValueError, r"num_tasks must be an integer of 1 or more, got 1\.5"),
    "no tasks drawn": (
        lambda: jax_meta.next_tasks(PROBLEM.sample_tasks, STATE, num_tasks=0),
        ValueError,
        "num_tasks must be an integer of 1 or more",
    ),
    "no tasks at hand": (
        lambda: evaluate(MAML, LOSS, PARAMS, jax.tree.map(lambda leaf: leaf[:0], TASKS)),
        ValueError,
        "no tasks",
    ),
    "no examples": (
        lambda: evaluate(MAML, LOSS, PARAMS, TASKS._replace(query=jax.tree.map(lambda leaf: leaf[:, :0], TASKS.query))),
        ValueError,
        "query has no examples",
    ),
    "nothing to adapt to": (
        lambda: MAML.adapt(PARAMS, jax.tree.map(lambda leaf: leaf[0, :0], TASKS.support), KEY),
        ValueError,
        "has no examples",
    ),
    "other tasks than asked for": (
        lambda: fit(sample_tasks=lambda key, num_tasks: PROBLEM.sample_tasks(key, 7), num_tasks=4),
        ValueError,
        r"asked for 4 tasks.*gave 7",
    ),
    "a sampler of one task": (
        lambda: fit(SINE, SINE_STATE, lambda key, num_tasks: first_of(SINE_TASKS)),
        ValueError,
        r"asked for 3 tasks.*leading axis",
    ),
    "a sampler of one labelled task": (
        lambda: fit(sample_tasks=lambda key, num_tasks: LABELLED),
        ValueError,
        r"leading axis.*leaf\[None\]",
    ),
    "tasks without the axis of steps": (
        lambda: fit_tasks(SINE, SINE_TASKS, SINE_STATE),
        ValueError,
        r"(?s)num_meta_steps, num_tasks, examples.*leaf\[None\]",
    ),
    "such tasks, read as features": (
        lambda: fit_tasks(learner_of(LINE), SINE_TASKS, jax_meta.init(learner_of(LINE), ADAM, jnp.ones((1, 1)), KEY)),
        ValueError,
        r"(?s)one example of 1.*leaf\[None\]",
    ),
    "labelled tasks without the axis of steps": (
        lambda: fit_tasks(MAML, Task(*(jax.tree.map(lambda leaf: leaf[None], batch) for batch in LABELLED)), STATE),
        ValueError,
        r"num_meta_steps, num_tasks, examples.*leaf\[None\]",
    ),
    "one task for evaluate": (
        lambda: evaluate(SINE, SINES.loss_fn, SINES.params, first_of(SINE_TASKS)),
        ValueError,
        r"(?s)num_tasks, examples.*leaf\[None\]",
    ),
    "one task for evaluate, read as features": (
        lambda: evaluate(learner_of(LINE), LINE, jnp.ones((1, 1)), first_of(SINE_TASKS)),
        ValueError,
        r"(?s)one example of 1.*leaf\[None\]",
    ),
    "one labelled task for evaluate": (
        lambda: evaluate(MAML, LOSS, PARAMS, LABELLED),
        ValueError,
        r"leading axis.*num_tasks, examples.*leaf\[None\]",
    ),
    "one example for adapt": (
        lambda: SINE.adapt(SINES.params, jax.tree.map(lambda leaf: leaf[0, 0, 0], SINE_TASKS.support), KEY),
        ValueError,
        r"leaf\[None\]",
    ),
    "lists for arrays": (
        lambda: evaluate(MAML, LOSS, PARAMS, Task([1.0, 2.0], [1.0, 2.0])),
        ValueError,
        r"leading axis.*got float64\[\]",
    ),
    "no tasks at a time": (
        lambda: evaluate(MAML, LOSS, PARAMS, TASKS, task_batch_size=0),
        ValueError,
        "task_batch_size must be an integer of 1 or more, got 0",
    ),
    "half a task at a time": (lambda: fit(task_batch_size=1.5), ValueError, r"task_batch_size must.*got 1\.5"),
}
CASES = LOSSES | ARGUMENTS | PARAMETERS | DATA


@pytest.mark.parametrize("case", CASES)
def test_the_remedy_is_named(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        call()


def test_numbers_of_python_are_metrics_everywhere():
    loss_fn = with_metrics({"one": 1, "half": 0.5, "yes": True, "numpy": np.float32(2)})
    expected = {"one": 1, "half": 0.5, "yes": 1, "numpy": 2}
    for options in ({}, {"mesh": one_device()}, {"task_batch_size": 1}):
        _, history = fit_loss(loss_fn, num_meta_steps=2, **options)
        assert {name: list(values) for name, values in history.items()} == {
            name: [value] * 2 for name, value in expected.items()
        }
    assert evaluate(MAML, loss_fn, PARAMS, TASKS)["half"].shape == (3, 2)


@pytest.mark.slow
@pytest.mark.parametrize("learner", [MAML, META_SGD, REPTILE])
def test_a_loss_can_be_stepped_through(learner):
    """`jax.disable_jit` is how a loss is looked at in a debugger."""
    state = jax_meta.init(learner, ADAM, PARAMS, KEY)
    expected = fit(learner, state, num_meta_steps=2)
    with jax.disable_jit():
        actual = fit(learner, state, num_meta_steps=2)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), actual[0].params, expected[0].params)
    assert isinstance(learner, MetaLearner)
