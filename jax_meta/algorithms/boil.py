"""Body only update in the inner loop: MAML whose inner loop moves all but the head of the network.

Jaehoon Oh, Hyungjun Yoo, ChangHwan Kim, Se-Young Yun: BOIL: Towards Representation Change for Few-shot Learning,
arXiv:2008.08882.
"""

from functools import partial

import optax

from jax_meta.algorithms.parts import Part, learner_of_part, select_part
from jax_meta.base import LossFn, MetaLearner
from jax_meta.memory import Remat


def boil(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    is_head: Part,
    num_steps: int,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """BOIL: MAML's gradient with respect to body and head, where adaptation moves the body only (equation 3).

    `gradient = ∇(β, η) L_query(U(β), η)`, where `U` takes `num_steps` optimizer steps on the support set from the body
    β, and holds the head η fixed. It is ANIL with the other part; the head is learned all the same.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole parameters.
        optimizer: the inner optimizer, as in `jax_meta.maml`; it is given the body, with None in place of the head.
        is_head: whether a parameter stays, as in `jax_meta.anil`: a function of its path, or a pattern of paths.
        num_steps: inner steps, 0 or more; the paper takes 1.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: as `jax_meta.maml` does; from `init`, and while tracing, if `is_head` selects nothing or everything.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda params, inputs: params["head"] * params["body"] * inputs)
        >>> learner = jax_meta.boil(loss_fn, optax.sgd(0.1), is_head="head", num_steps=1)
        >>> params, line = {"body": jnp.ones(()), "head": jnp.ones(())}, (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> adapted = learner.adapt(params, line, jax.random.key(0))
        >>> assert adapted["head"] == params["head"] and adapted["body"] > params["body"]
    """
    return learner_of_part(  # ∇(β, η) L_query(β', η), where β' = β - α ∇β L_support(β, η), num_steps times
        loss_fn,
        optimizer,
        partial(select_part, part=is_head, name="is_head", inverse=True),
        num_steps=num_steps,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )
