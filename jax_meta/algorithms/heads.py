"""One idea: the head of a network is written in closed form from the support set, and its body is what is learned.

Prototypical networks and ridge regression differ in the formula; Proto-MAML starts from it. The meta-parameters have no
head, so that one body serves any number of ways: a learner and a network of other `ways` take the same ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jax_meta.arguments import check_key, check_params
from jax_meta.base import Batch, LossFn, LossGradient, MetaLearner, Params
from jax_meta.checks import check_batch, check_count, check_num_steps, describe
from jax_meta.label_checks import check_every_class, check_label_range
from jax_meta.loss_checks import checked_loss
from jax_meta.losses import Apply


def learner_of_head(
    loss_fn: LossFn, solve: Callable[[Params, Batch], Params], *, init: Callable[[Params], Params]
) -> MetaLearner:
    """The learner whose adaptation is one formula: `gradient = ∇θ L_query(solve(θ, support))`.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole network.
        solve: `(meta_params, support) -> params`, with the head written.
        init: `(params) -> meta_params`.
    """
    loss_fn = checked_loss(loss_fn)

    def inner(meta_params, batch, key, *, num_steps=0, observe=None):
        check_num_steps(num_steps)
        check_batch(batch)
        check_key(key)
        adapted = solve(meta_params, batch)
        if observe is None:
            return adapted
        seen = observe(adapted)  # there are no steps: the same after each
        return adapted, jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_steps + 1, *jnp.shape(leaf))), seen)

    def query_loss(meta_params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        return loss_fn(inner(meta_params, task.support, adapt_key), task.query, loss_key)

    return MetaLearner(init, inner, LossGradient(query_loss))


def without_head(params: Params, head: str) -> Params:
    """The parameters of the body, dicts within dicts; raises ValueError if there is no such head in them."""
    check_params(params)
    name, _, rest = head.partition("/")
    if not isinstance(params, Mapping) or name not in params:
        raise ValueError(
            f"head {head!r} is no layer of the parameters: give its path, such as 'params/Dense_0', of a network whose "
            "parameters are dicts; jax_meta.models.split_head(model) tells that of a model of jax_meta."
        )
    if rest:
        return {**params, name: without_head(params[name], rest)}
    return {key: value for key, value in params.items() if key != name}


def with_head(params: Params, head: str, kernel: jax.Array, bias: jax.Array) -> Params:
    """The parameters of the body with those of a head, kernel `[features, ways]` and bias `[ways]`."""
    check_params(params)
    name, _, rest = head.partition("/")
    if not isinstance(params, Mapping) or (not rest and name in params):
        raise ValueError(
            f"the meta-parameters must be those of a body without its head {head!r}: make them with "
            "learner.init(params), or a state of them with jax_meta.init(learner, optimizer, params, key)."
        )
    layer = with_head(params.get(name, {}), rest, kernel, bias) if rest else {"kernel": kernel, "bias": bias}
    return {**params, name: layer}


def features_of(features: Apply, params: Params, inputs: Any) -> jax.Array:
    """What the body makes of inputs; raises ValueError unless it is `[examples, features]`."""
    check_params(params)
    found = features(params, inputs)
    if jnp.ndim(found) != 2:
        raise ValueError(f"features must give [examples, features], got {describe(found)}: flatten what it returns.")
    return found


def check_classes(labels: Any, ways: int, learner: str) -> None:
    """Raises ValueError for what are no labels, and for labels out of range that are at hand."""
    if jnp.ndim(labels) != 1 or not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise ValueError(
            f"jax_meta.{learner} needs integer labels [examples] in the support set, got {describe(labels)}: it "
            "classifies. For values take jax_meta.r2d2(..., ways=None), or another learner."
        )
    check_label_range(labels, ways)


def indicators(labels: Any, ways: int, dtype: Any) -> jax.Array:
    """One-hot labels, `[examples, ways]`; NaN for a label out of range that is traced, and so was not refused."""
    labels = jnp.asarray(labels)
    in_range = (labels >= 0) & (labels < ways)
    return jnp.where(in_range[:, None], jax.nn.one_hot(labels, ways, dtype=dtype), jnp.nan)


def by_prototypes(features: Apply, head: str, ways: int, learner: str) -> Callable[[Params, Batch], Params]:
    """`(body, support) -> params`, with the head of the classifier by the nearest prototype.

    `-‖z - C_k‖² = 2 C_kᵀz - C_kᵀC_k - ‖z‖²`, of which the last is the same for all classes (Snell, Swersky, Zemel,
    arXiv:1703.05175, equations 7 and 8). A class without examples is refused where the labels are at hand, and has NaN
    for a prototype where they are traced.
    """
    check_count(ways, "ways", least=1)

    def solve(body, support):
        inputs, labels = support
        check_classes(labels, ways, learner)
        check_every_class(labels, ways)
        found = features_of(features, body, inputs)
        members = indicators(labels, ways, found.dtype)
        centers = members.T @ found / members.sum(axis=0)[:, None]  # C
        return with_head(body, head, 2 * centers.T, -(centers**2).sum(axis=1))

    return solve
