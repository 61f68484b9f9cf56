"""Prototypical networks: classify by the nearest mean of each class's embedded examples.

Jake Snell, Kevin Swersky, Richard S. Zemel: Prototypical Networks for Few-shot Learning, arXiv:1703.05175.
"""

from functools import partial

from jax_meta.algorithms.heads import by_prototypes, learner_of_head, without_head
from jax_meta.base import LossFn, MetaLearner
from jax_meta.losses import Apply


def protonet(loss_fn: LossFn, *, features: Apply, head: str, ways: int) -> MetaLearner:
    """Prototypical networks: the gradient of the query loss with a head that is written from the support set.

    `gradient = ∇β L_query(β, W, b)`, with `W_k = 2 C_k` and `b_k = -C_kᵀC_k` for the means C of the support set's
    embeddings (equations 1, 7, 8). That is the softmax of `-‖z - C_k‖²` (equation 2). There are no steps to take.

    `ways` is free at test: train with 60, and let a learner and a network of 5 take the same meta-parameters.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole network, as `jax_meta.classification` makes it.
        features: `(params, inputs) -> [examples, features]`, the body; it must not read the head.
        head: the path of the head's kernel `[features, ways]` and bias `[ways]`, such as "params/Dense_0"; for a model
            of `jax_meta.models`, `jax_meta.models.split_head` gives both.
        ways: the number of classes, 1 or more.

    Returns:
        A `MetaLearner` that learns the body: the model's parameters without the head. Its metrics are the query's.

    Raises:
        ValueError: for `ways` below 1; from `init`, for a `head` that is none; from `adapt`, while tracing, for targets
            that are no labels, and, where they are at hand, for labels out of range and classes without an example; in
            a compiled program these make the head NaN.
        TypeError: for a loss that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model = jax_meta.models.MLP(hidden=(8,), outputs=3)
        >>> features, head = jax_meta.models.split_head(model)
        >>> learner = jax_meta.protonet(jax_meta.classification(model.apply), features=features, head=head, ways=3)
        >>> body = learner.init(model.init(jax.random.key(0), jnp.zeros((1, 3))))
        >>> adapted = learner.adapt(body, (jnp.eye(3), jnp.arange(3)), jax.random.key(0))
        >>> assert (model.apply(adapted, jnp.eye(3)).argmax(axis=1) == jnp.arange(3)).all()
    """
    solve = by_prototypes(features, head, ways, "protonet")
    return learner_of_head(loss_fn, solve, init=partial(without_head, head=head))
