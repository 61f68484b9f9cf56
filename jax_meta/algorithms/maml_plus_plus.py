"""MAML++: a learned step size for each tensor and inner step, and the query loss after every step.

Antreas Antoniou, Harrison Edwards, Amos Storkey: How to train your MAML, arXiv:1810.09502.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_meta.algorithms.meta_optimizer import learner_of_optimizer
from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.checks import check_count
from jax_meta.memory import Remat


class MAMLPlusPlusParams(NamedTuple):
    """What MAML++ learns.

    Attributes:
        params: θ, the initialization.
        step_sizes: α, of the structure of `params`, `[num_steps]` for each tensor in them. They may become negative.
    """

    params: Params
    step_sizes: Params


def maml_plus_plus(
    loss_fn: LossFn,
    *,
    step_size: float | jax.Array,
    num_steps: int,
    weights: jax.Array | np.ndarray | None = None,
    first_order: bool = False,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """MAML++: MAML's gradient with respect to θ and step sizes αᵢ, of the query loss after every step (equation 4).

    `gradient = ∇(θ, α) Σᵢ vᵢ L_query(ψᵢ)`, where `ψᵢ = ψᵢ₋₁ - αᵢ ∇L_support(ψᵢ₋₁)` with an αᵢ a tensor, and ψ₀ = θ.

    What changes in training is given to one `fit` after the other. The paper's first order, and then second, are two
    learners with the same meta-parameters. Weights v that change, as `multi_step_weights` has them, may be traced: let
    `jax.jit` of a function `(state, weights)` build the learner and call `fit`, and all phases are one program. Its
    normalisation with a scale and a bias for each step is left out.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        step_size: where every α starts.
        num_steps: inner steps, 1 or more. In `adapt`, steps beyond them take the last step's sizes.
        weights: v, `[num_steps]`, see `multi_step_weights`; it may be traced. Default: the last step alone, as the
            authors have it after the first epochs.
        first_order: whether inner gradients are constants for the meta-gradient. Default: False.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`. Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns `MAMLPlusPlusParams`. Its metrics are the query's, after the last step.

    Raises:
        ValueError: for `num_steps` below 1; for `weights` of another shape.
        TypeError: for a loss that is none; from `adapt` and `gradient`, for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> weights = jax_meta.multi_step_weights(0, num_steps=3, num_epochs=10)
        >>> learner = jax_meta.maml_plus_plus(loss_fn, step_size=0.1, num_steps=3, weights=weights)
        >>> meta_params, line = learner.init(jnp.zeros(())), (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> gradient, metrics = learner.gradient(meta_params, jax_meta.Task(line, line), jax.random.key(0))
        >>> assert gradient.step_sizes.shape == (3,) and (gradient.step_sizes < 0).all()  # larger ones adapt better
    """
    check_count(num_steps, "num_steps", least=1)

    def make_optimizer(step_sizes):
        def update(gradient, step, params=None):
            index = jnp.minimum(step, num_steps - 1)
            updates = jax.tree.map(lambda sizes, leaf: -sizes[index] * leaf, step_sizes, gradient)
            return updates, step + 1

        return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

    return learner_of_optimizer(
        loss_fn,
        MAMLPlusPlusParams,
        lambda params: jax.tree.map(lambda leaf: jnp.full(num_steps, step_size, leaf.dtype), params),
        make_optimizer,
        name="maml_plus_plus",
        num_steps=num_steps,
        weights=weights,
        first_order=first_order,
        batch_size=batch_size,
        remat=remat,
        mixed_mode=mixed_mode,
    )


def multi_step_weights(epoch: int, *, num_steps: int, num_epochs: int) -> np.ndarray:
    """MAML++'s weights of the query loss after each step: equal at first, and the last one's alone at the end.

    `vᵢ = max(1/K - e / (K E), 0.03 / K)` for i < K, and v_K is the rest to 1, as the authors' code has it; from epoch E
    on, v_K = 1.

    Args:
        epoch: e, 0 or more.
        num_steps: K, inner steps, 1 or more.
        num_epochs: E, 1 or more; the authors' 10 on Omniglot and 15 on mini-ImageNet, of 500 meta-steps each.

    Returns:
        v, float64 `[num_steps]`, whose sum is 1.

    Raises:
        ValueError: for numbers out of range.

    Example:
        >>> import jax_meta
        >>> weights = jax_meta.multi_step_weights(5, num_steps=5, num_epochs=10)
        >>> assert abs(weights - [0.1, 0.1, 0.1, 0.1, 0.6]).max() < 1e-12
    """
    for name, value, least in (("epoch", epoch, 0), ("num_steps", num_steps, 1), ("num_epochs", num_epochs, 1)):
        check_count(value, name, least=least)
    before = 0.0 if epoch >= num_epochs else max(1 - epoch / num_epochs, 0.03) / num_steps
    weights = np.full(num_steps, before)
    weights[-1] = 1 - before * (num_steps - 1)
    return weights
