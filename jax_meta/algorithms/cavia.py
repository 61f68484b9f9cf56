"""Fast context adaptation: the inner loop moves a context vector alone, which starts at zero for every task.

Luisa Zintgraf, Kyriacos Shiarlis, Vitaly Kurin, Katja Hofmann, Shimon Whiteson: Fast Context Adaptation via
Meta-Learning, arXiv:1810.03642.
"""

from functools import partial

import optax

from jax_meta.algorithms.parts import Part, join, learner_of_part, select_part
from jax_meta.base import LossFn, MetaLearner
from jax_meta.memory import Remat


def cavia(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    is_context: Part = "*context",
    num_steps: int,
    first_order: bool = False,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """CAVIA: MAML's gradient with respect to what all tasks share, where adaptation moves a context from 0.

    `gradient = ∇θ L_query(U(0), θ)`, where `U` takes `num_steps` steps `c ← c - α ∇c L_support(c, θ)`; it includes how
    c depends on θ, a mixed second derivative, which `first_order` leaves out.

    The context is among the model's parameters, as `jax_meta.layers.Context` makes it; wherever it is, adaptation
    starts at 0, and its own gradient is 0. Let the layer that reads it not start at 0: neither would then ever move.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole parameters.
        optimizer: the inner optimizer, as in `jax_meta.maml`; it is given the context, with None in place of the rest.
        is_context: whether a parameter is of the context, as in `jax_meta.anil`: a function of its path, or a pattern.
            Default: `"*context"`, as the layers here name it.
        num_steps: inner steps, 0 or more; the paper takes 1 on sines and 2 on images, of size 1.
        first_order: whether inner gradients are constants for the meta-gradient. Default: False.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: as `jax_meta.maml` does; for `first_order` without inner steps; from `init`, and while tracing, if
            `is_context` selects nothing, or is a pattern that selects everything.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> model = jax_meta.models.MLP(hidden=(8,), context=3)
        >>> params = model.init(jax.random.key(0), jnp.zeros((1, 1)))
        >>> learner = jax_meta.cavia(jax_meta.regression(model.apply), optax.sgd(1.0), num_steps=1)
        >>> adapted = learner.adapt(params, (jnp.ones((2, 1)), 3 * jnp.ones((2, 1))), jax.random.key(0))
        >>> moved = jax.tree.map(lambda left, right: bool((left != right).any()), params["params"], adapted["params"])
        >>> assert moved["Context_0"]["context"] and not moved["Dense_0"]["kernel"]
    """
    select = partial(select_part, part=is_context, name="is_context")
    return learner_of_part(  # ∇θ L_query(c, θ), where c = -α ∇c L_support(c, θ), num_steps times
        loss_fn,
        optimizer,
        select,
        start=lambda params, support: join(optax.tree.zeros_like(select(params)), params),  # c = 0
        num_steps=num_steps,
        first_order=first_order,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )
