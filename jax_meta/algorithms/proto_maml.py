"""Proto-MAML: MAML from a head that starts at the prototypes of the support set.

Eleni Triantafillou, Tyler Zhu, Vincent Dumoulin, Pascal Lamblin, Utku Evci, Kelvin Xu, Ross Goroshin, Carles Gelada,
Kevin Swersky, Pierre-Antoine Manzagol, Hugo Larochelle: Meta-Dataset: A Dataset of Datasets for Learning to Learn from
Few Examples, arXiv:1903.03096.
"""

from functools import partial

import optax

from jax_meta.algorithms.heads import by_prototypes, without_head
from jax_meta.algorithms.parts import learner_of_part
from jax_meta.base import LossFn, MetaLearner
from jax_meta.losses import Apply
from jax_meta.memory import Remat


def proto_maml(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    features: Apply,
    head: str,
    ways: int,
    num_steps: int,
    first_order: bool = False,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """Proto-MAML: MAML's gradient with respect to the body, from a head of prototypes.

    `gradient = ∇β L_query(U(β, W, b))`, where `U` takes `num_steps` steps on the support set with body and head, from
    `W_k = 2 C_k`, `b_k = -C_kᵀC_k`. It goes through that start into β, with `first_order`, too: to take the gradient at
    the adapted parameters, as `jax_meta.fomaml` does, would lose it. Without steps it is `jax_meta.protonet`.

    The head's entries are as large as the embeddings: `optax.partition` gives body and head a step size each.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole network, as `jax_meta.classification` makes it.
        optimizer: the inner optimizer, as in `jax_meta.maml`; with `first_order`, any.
        features: `(params, inputs) -> [examples, features]`, the body, as in `jax_meta.protonet`.
        head: the path of the head, as in `jax_meta.protonet`.
        ways: the number of classes, 1 or more; free at test.
        num_steps: inner steps, 0 or more.
        first_order: whether inner gradients are constants for the meta-gradient. Default: False.
        batch_size: examples in an inner step; prototypes are always of all. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns the body: the model's parameters without the head. Its metrics are the query's,
        after adaptation.

    Raises:
        ValueError: as `jax_meta.protonet` and `jax_meta.maml` do; for `first_order` without inner steps.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> model, support = jax_meta.models.MLP(hidden=(8,), outputs=3), (jnp.eye(3), jnp.arange(3))
        >>> features, head = jax_meta.models.split_head(model)
        >>> loss_fn = jax_meta.classification(model.apply)
        >>> options = {"features": features, "head": head, "ways": 3, "num_steps": 5}
        >>> learner = jax_meta.proto_maml(loss_fn, optax.sgd(0.01), **options)
        >>> body = learner.init(model.init(jax.random.key(0), jnp.zeros((1, 3))))
        >>> before, after = (learner.adapt(body, support, jax.random.key(0), num_steps=steps) for steps in (0, 5))
        >>> assert loss_fn(after, support, None)[0] < loss_fn(before, support, None)[0]
    """
    return learner_of_part(
        loss_fn,
        optimizer,
        lambda params: params,  # all of it adapts
        start=by_prototypes(features, head, ways, "proto_maml"),
        init=partial(without_head, head=head),
        num_steps=num_steps,
        first_order=first_order,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )
