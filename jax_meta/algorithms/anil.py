"""Almost no inner loop: MAML whose inner loop moves the head of the network only.

Aniruddh Raghu, Maithra Raghu, Samy Bengio, Oriol Vinyals: Rapid Learning or Feature Reuse? Towards Understanding the
Effectiveness of MAML, arXiv:1909.09157.
"""

from functools import partial

import optax

from jax_meta.algorithms.parts import Part, learner_of_part, select_part
from jax_meta.base import LossFn, MetaLearner
from jax_meta.memory import Remat


def anil(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    is_head: Part,
    num_steps: int,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """ANIL: MAML's gradient with respect to body and head, where adaptation moves the head only (section 4.1).

    `gradient = ∇(β, η) L_query(β, U(η))`, where `U` takes `num_steps` optimizer steps on the support set from the head
    η, and holds the body β fixed.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole parameters.
        optimizer: the inner optimizer, as in `jax_meta.maml`; it is given the head, with None in place of the body.
        is_head: whether a parameter adapts, by its path, such as "params/Dense_2/kernel"; or a pattern of such paths,
            such as `"*/Dense_2/*"`, which a model file can hold.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`: "none", "steps", "blocks" or, with
            `mixed_mode`, "updates". Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, for less memory; not where the loss
            has a gradient that is none, such as gradient reversal, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: as `jax_meta.maml` does; from `init`, and while tracing, if `is_head` selects nothing, or is a
            pattern that selects everything.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda params, inputs: params["head"] * params["body"] * inputs)
        >>> learner = jax_meta.anil(loss_fn, optax.sgd(0.1), is_head=lambda path: path == "head", num_steps=1)
        >>> params, line = {"body": jnp.ones(()), "head": jnp.ones(())}, (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> adapted = learner.adapt(params, line, jax.random.key(0))
        >>> assert adapted["body"] == params["body"] and adapted["head"] > params["head"]
    """
    return learner_of_part(  # ∇(β, η) L_query(β, η'), where η' = η - α ∇η L_support(β, η), num_steps times
        loss_fn,
        optimizer,
        partial(select_part, part=is_head, name="is_head"),
        num_steps=num_steps,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )
