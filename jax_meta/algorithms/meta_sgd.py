"""Meta-SGD: learn the initialization and, for each parameter, the step size and direction of the inner loop.

Zhenguo Li, Fengwei Zhou, Fei Chen, Hang Li: Meta-SGD: Learning to Learn Quickly for Few-Shot Learning,
arXiv:1707.09835.
"""

from typing import NamedTuple

import jax
import optax

from jax_meta.algorithms.meta_optimizer import descent, learner_of_optimizer
from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.memory import Remat


class MetaSGDParams(NamedTuple):
    """What Meta-SGD learns.

    Attributes:
        params: θ, the initialization.
        step_sizes: α, of the structure and shapes of `params`: one for each number in them. They may become negative.
    """

    params: Params
    step_sizes: Params


def meta_sgd(
    loss_fn: LossFn,
    *,
    step_size: float | jax.Array,
    num_steps: int,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """Meta-SGD: MAML's gradient with respect to the initialization and the inner step sizes (section 3.1).

    `gradient = ∇(θ, α) L_query(U(θ, α))`, where `U` takes `num_steps` steps `θ ← θ - α ∘ ∇L_support(θ)`, where the
    paper takes one.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        step_size: where every α starts.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`: "none", "steps", "blocks" or, with
            `mixed_mode`, "updates". Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, for less memory; not where the loss
            has a gradient that is none, such as gradient reversal, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns `MetaSGDParams`. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: for negative `num_steps`.
        TypeError: for a loss that is none; from `adapt` and `gradient`, for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> learner = jax_meta.meta_sgd(loss_fn, step_size=0.1, num_steps=1)
        >>> meta_params = learner.init(jnp.zeros(()))
        >>> gradient, metrics = learner.gradient(meta_params, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient.step_sizes < 0  # a larger step size adapts better
    """
    return learner_of_optimizer(  # ∇(θ, α) L_query(θ'), where θ' = θ - α ∘ ∇L_support(θ), num_steps times
        loss_fn,
        MetaSGDParams,
        lambda params: optax.tree.full_like(params, step_size),
        descent(optax.tree.mul, 1.0),  # -α ∘ ∇L
        name="meta_sgd",
        num_steps=num_steps,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )
