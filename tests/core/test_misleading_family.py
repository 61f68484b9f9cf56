"""What the learners of parts, of optimizers and of written heads cannot do: each error names the remedy, at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta.networks.models import MLP, Conv4
from tests.learners import CLASSIFIER, FEATURES, HEAD, WAYS, blobs, first_task, quadratics, sines

KEY = jax.random.key(0)
SGD = optax.sgd(0.1)
QUADRATICS, SINES, BLOBS = quadratics(), sines(), blobs()
LOSS, PARAMS = QUADRATICS.loss_fn, QUADRATICS.params
TASK, SINE = first_task(BLOBS.sample_tasks(KEY, 1)), first_task(SINES.sample_tasks(KEY, 1))
INPUTS, LABELS = map(np.asarray, TASK.support)
GIVEN: dict[str, Any] = {"features": FEATURES, "head": HEAD, "ways": WAYS}
PROTONET = jax_meta.protonet(BLOBS.loss_fn, **GIVEN)
BODY = PROTONET.init(BLOBS.params)
CLASS: Any = Conv4
META_SGD = jax_meta.meta_sgd(LOSS, step_size=0.1, num_steps=1)
EVERYTHING = r"selects all of the parameters \['body', 'head'\].*leave some out.*jax_meta\.maml"
NOTHING = r"selects none of the parameters \['body', 'head'\].*at least one"


def init(factory, **options):
    return factory(LOSS, SGD, **{"num_steps": 1} | options).init(PARAMS)


def head_of(factory, **changes):
    positional = [SGD] if factory is jax_meta.proto_maml else []
    options = {"num_steps": 1} if factory is jax_meta.proto_maml else {}
    return factory(BLOBS.loss_fn, *positional, **GIVEN | options | changes)


def adapt(learner, support, params=BLOBS.params):
    return learner.adapt(learner.init(params), support, KEY)


def meta_optimizer(**options):
    given = {"make_optimizer": optax.sgd, "optimizer_params": jnp.array(0.1), "num_steps": 1}
    return jax_meta.meta_optimizer(LOSS, **given | options)


PARTS = {
    "a head that is none": (lambda: init(jax_meta.anil, is_head="tail"), ValueError, f"is_head 'tail' {NOTHING}"),
    "a pattern of everything": (lambda: init(jax_meta.anil, is_head="*"), ValueError, f"is_head '\\*' {EVERYTHING}"),
    "no head for BOIL": (lambda: init(jax_meta.boil, is_head="tail"), ValueError, f"is_head 'tail' {NOTHING}"),
    "no body for BOIL": (lambda: init(jax_meta.boil, is_head=lambda path: True), ValueError, f"is_head {EVERYTHING}"),
    "no context": (lambda: init(jax_meta.cavia), ValueError, rf"is_context '\*context' {NOTHING}"),
    "no warp": (lambda: init(jax_meta.warpgrad, is_warp="warp"), ValueError, f"is_warp 'warp' {NOTHING}"),
    "nothing but warps": (
        lambda: init(jax_meta.warpgrad, is_warp=lambda path: True),
        ValueError,
        f"is_warp {EVERYTHING}",
    ),
    "no head, while tracing": (
        lambda: jax.eval_shape(
            lambda params: jax_meta.boil(LOSS, SGD, is_head="x", num_steps=1).adapt(params, first_batch(), KEY), PARAMS
        ),
        ValueError,
        "is_head 'x' selects none",
    ),
    "first order of no steps": (
        lambda: jax_meta.cavia(LOSS, SGD, num_steps=0, first_order=True),
        ValueError,
        "first_order has no meaning without inner steps",
    ),
    "first order of prototypes alone": (
        lambda: head_of(jax_meta.proto_maml, num_steps=0, first_order=True),
        ValueError,
        "first_order has no meaning without inner steps",
    ),
    "plain adam": (
        lambda: jax.eval_shape(
            jax_meta.boil(LOSS, optax.adam(0.1), is_head="head", num_steps=1).gradient,
            PARAMS,
            jax_meta.Task(first_batch(), first_batch()),
            KEY,
        ),
        ValueError,
        "positive eps_root",
    ),
}
OPTIMIZERS = {
    "plain adam, learned": (
        lambda: meta_optimizer(make_optimizer=optax.adam).init(PARAMS),
        ValueError,
        "positive eps_root",
    ),
    "no optimizer made": (
        lambda: meta_optimizer(make_optimizer=lambda omega: optax.sgd).init(PARAMS),
        TypeError,
        "got the function sgd: call it",
    ),
    "numbers of Python": (
        lambda: meta_optimizer(optimizer_params={"rate": 0.1}),
        TypeError,
        r"parameters must be arrays, got 0\.1 at \['rate'\]",
    ),
    "weights of another length": (
        lambda: meta_optimizer(weights=np.ones(2)),
        ValueError,
        r"weights.*each of the 1 inner steps, \[num_steps\], got shape \(2,\)",
    ),
    "no steps for MAML++": (
        lambda: jax_meta.maml_plus_plus(LOSS, step_size=0.1, num_steps=0),
        ValueError,
        "num_steps must be an integer of 1 or more",
    ),
    "half an epoch": (
        lambda: jax_meta.multi_step_weights(0.5, num_steps=5, num_epochs=10),  # type: ignore[arg-type]
        ValueError,
        r"epoch must be an integer of 0 or more, got 0\.5",
    ),
    "no seam": (
        lambda: jax_meta.lstm_optimizer(LOSS, num_steps=2, truncate=0),
        ValueError,
        "truncate must be an integer of 1 or more",
    ),
    "the state of another learner": (
        lambda: jax_meta.meta_curvature(LOSS, step_size=0.1, num_steps=1).adapt(
            META_SGD.init(PARAMS), first_batch(), KEY
        ),
        TypeError,
        "jax_meta.meta_curvature learns MetaCurvatureParams, got MetaSGDParams",
    ),
    "plain parameters": (
        lambda: jax_meta.kfo(LOSS, step_size=0.1, num_steps=1).adapt(PARAMS, first_batch(), KEY),
        TypeError,
        r"jax_meta.kfo learns KFOParams, got dict.*learner\.init\(params\)",
    ),
    "no pairs": (lambda: init(jax_meta.es_maml, inner_pairs=0), ValueError, "inner_pairs must be an integer of 1"),
    "no perturbation": (lambda: init(jax_meta.es_maml, sigma=0.0), ValueError, "sigma must be above 0, got 0.0"),
    "no terms": (
        lambda: init(jax_meta.imaml, strength=1.0, neumann_terms=0),
        ValueError,
        "neumann_terms must be an integer of 1 or more",
    ),
    "terms of no size": (
        lambda: init(jax_meta.imaml, strength=1.0, neumann_terms=2, neumann_step=-1.0),
        ValueError,
        r"neumann_step must be above 0, got -1\.0",
    ),
}
HEADS = {
    "a class without an example": (
        lambda: adapt(PROTONET, (INPUTS[:2], LABELS[:2])),
        ValueError,
        "no example of class 2.*give each of the 3 ways one or more",
    ),
    "a class without an example for Proto-MAML": (
        lambda: adapt(head_of(jax_meta.proto_maml), (INPUTS[:2], LABELS[:2])),
        ValueError,
        "no example of class 2",
    ),
    "a label beyond the ways": (
        lambda: adapt(PROTONET, (INPUTS, LABELS + 1)),
        ValueError,
        "labels from 0 to 2, got labels from 1 to 3",
    ),
    "a label beyond the ways of a ridge": (
        lambda: adapt(head_of(jax_meta.r2d2), (INPUTS, LABELS - 1)),
        ValueError,
        "labels from 0 to 2, got labels from -1 to 1",
    ),
    "values for prototypes": (
        lambda: adapt(PROTONET, SINE.support),
        ValueError,
        r"jax_meta\.protonet needs integer labels \[examples\].*float64\[5, 1\].*r2d2\(\.\.\., ways=None\)",
    ),
    "values for prototypes, while tracing": (
        lambda: jax.eval_shape(PROTONET.gradient, BODY, jax.tree.map(jnp.asarray, SINE), KEY),
        ValueError,
        r"jax_meta\.protonet needs integer labels",
    ),
    "one-hot labels": (
        lambda: adapt(PROTONET, (INPUTS, np.eye(WAYS, dtype=int)[LABELS])),
        ValueError,
        r"integer labels \[examples\] in the support set, got int64\[6, 3\]",
    ),
    "labels for a ridge of values": (
        lambda: adapt(head_of(jax_meta.r2d2, ways=None), (INPUTS, LABELS)),
        ValueError,
        r"without ways needs values \[examples, outputs\].*int64\[6\]",
    ),
    "values without an axis": (
        lambda: adapt(head_of(jax_meta.r2d2, ways=None), (INPUTS, INPUTS[:, 0])),
        ValueError,
        r"leaf\[\.\.\., None\]",
    ),
    "no ways": (lambda: head_of(jax_meta.protonet, ways=0), ValueError, "ways must be an integer of 1 or more"),
    "no penalty": (lambda: head_of(jax_meta.r2d2, penalty=0), ValueError, "penalty must be above 0, got 0"),
    "a head that is no layer": (
        lambda: head_of(jax_meta.protonet, head="params/Dense_7").init(BLOBS.params),
        ValueError,
        r"head 'Dense_7' is no layer.*split_head\(model\)",
    ),
    "parameters that still have a head": (
        lambda: PROTONET.adapt(BLOBS.params, TASK.support, KEY),
        ValueError,
        r"a body without its head.*learner\.init\(params\)",
    ),
    "the state of another learner for a body": (
        lambda: PROTONET.adapt(META_SGD.init(BLOBS.params), TASK.support, KEY),
        TypeError,
        r"got a MetaSGDParams.*its `\.params`",
    ),
    "a body for a ridge": (
        lambda: head_of(jax_meta.r2d2).adapt(BODY, TASK.support, KEY),
        TypeError,
        "jax_meta.r2d2 learns R2D2Params, got dict",
    ),
    "features with a shape": (
        lambda: adapt(head_of(jax_meta.protonet, features=lambda params, inputs: inputs[..., None]), TASK.support),
        ValueError,
        r"features must give \[examples, features\], got float64\[6, 2, 1\]: flatten",
    ),
    "a model without a head": (
        lambda: jax_meta.models.split_head(MLP(outputs=None)),
        TypeError,
        r"split_head knows MLP, SIREN, Conv4, ResNet and ResNet12 with a head.*features=\(params, inputs\)",
    ),
    "a class of models": (lambda: jax_meta.models.split_head(CLASS), TypeError, "got the class Conv4"),
}


def first_batch():
    return first_task(QUADRATICS.sample_tasks(KEY, 1)).support


CASES = PARTS | OPTIMIZERS | HEADS


@pytest.mark.parametrize("case", [*PARTS, *OPTIMIZERS, *HEADS])
def test_the_remedy_is_named(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        call()


def test_there_are_as_many_cases_as_names():
    assert len(CASES) == len(PARTS) + len(OPTIMIZERS) + len(HEADS)


@pytest.mark.parametrize(
    ("support", "error"),
    [
        pytest.param((INPUTS[:2], LABELS[:2]), FloatingPointError, id="missing"),
        pytest.param((INPUTS, LABELS + 1), ValueError, id="out of range, and at hand"),
    ],
)
def test_what_a_compiled_program_cannot_refuse_is_nan_and_is_told_of(support, error):
    """Labels that are traced have no values: the head is NaN, never a number that looks like one."""
    adapted = jax.jit(PROTONET.adapt)(BODY, jax.tree.map(jnp.asarray, support), KEY)
    assert np.isnan(CLASSIFIER.apply(adapted, INPUTS)).any()
    tasks = jax_meta.Task(*(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None, None], support) for _ in "sq"))
    state = jax_meta.init(PROTONET, optax.adam(1e-3), BLOBS.params, KEY)
    with pytest.raises(error, match="labels"):
        jax_meta.fit_tasks(PROTONET, optax.adam(1e-3), tasks, state)
