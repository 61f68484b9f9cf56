"""Ridge regression as the head of a network, solved in closed form for each task and differentiated through.

Luca Bertinetto, João F. Henriques, Philip H. S. Torr, Andrea Vedaldi: Meta-learning with differentiable closed-form
solvers, arXiv:1805.08136. Kwonjoon Lee, Subhransu Maji, Avinash Ravichandran, Stefano Soatto: Meta-Learning with
Differentiable Convex Optimization, arXiv:1904.03758, whose MetaOptNet-RR is the same ridge, scaled otherwise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve as solve_linear

from jax_meta.algorithms.heads import check_classes, features_of, indicators, learner_of_head, with_head, without_head
from jax_meta.arguments import check_meta_params
from jax_meta.base import LossFn, MetaLearner, Params
from jax_meta.checks import check_count, check_positive, describe
from jax_meta.losses import Apply


class R2D2Params(NamedTuple):
    """What R2D2 learns.

    Attributes:
        params: β, the model's parameters without the head.
        scale: a, what the head's outputs are multiplied by, a scalar.
        log_penalty: log λ, a scalar; it stays unless it is to be learned.
    """

    params: Params
    scale: jax.Array
    log_penalty: jax.Array


def r2d2(
    loss_fn: LossFn,
    *,
    features: Apply,
    head: str,
    ways: int | None,
    penalty: float = 50.0,
    scale: float = 1.0,
    mean: bool = True,
    use_bias: bool = True,
    learn_penalty: bool = False,
) -> MetaLearner:
    """R2D2: the gradient of the query loss with a head that ridge regression on the support set gives.

    `gradient = ∇(β, a) L_query(β, a W)`, with `W = (XᵀX + λI)⁻¹ XᵀY = Xᵀ(XXᵀ + λI)⁻¹ Y`, whichever system is smaller,
    of the support set's embeddings X, with a column of ones, and one-hot labels Y, or values. λ is `penalty` times the
    number of examples with `mean`, as the authors' code has it. MetaOptNet-RR is `mean=False, use_bias=False`.

    The bias is penalised, too. One that the paper adds to the logits of all classes alike says nothing: it is left out.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole network.
        features: `(params, inputs) -> [examples, features]`, the body, as in `jax_meta.protonet`.
        head: the path of the head, as in `jax_meta.protonet`.
        ways: the number of classes, 1 or more, free at test; None for regression, on targets `[examples, outputs]`.
        penalty: where λ starts, above 0. Default: 50.
        scale: where a starts. Default: 1; R2D2's authors have 10, or 1e-4 on mini-ImageNet.
        mean: whether the errors' mean, and not their sum, is what λ weighs against. Default: True.
        use_bias: whether a column of ones joins the features; else the bias is 0. Default: True.
        learn_penalty: whether λ is learned, too. Default: False, as in the authors' runs.

    Returns:
        A `MetaLearner` that learns `R2D2Params`. Its metrics are the query's.

    Raises:
        ValueError: for `ways` below 1 or a `penalty` that is not above 0; from `init`, for a `head` that is none; from
            `adapt`, while tracing, for targets of the wrong kind, and for labels out of range as `jax_meta.protonet`.
        TypeError: for a loss that is none; from `adapt` and `gradient`, for meta-parameters of another learner.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> model, inputs = jax_meta.models.MLP(hidden=(40,)), jnp.linspace(-1, 1, 10)[:, None]
        >>> features, head = jax_meta.models.split_head(model)
        >>> loss_fn = jax_meta.regression(model.apply)
        >>> learner = jax_meta.r2d2(loss_fn, features=features, head=head, ways=None, penalty=1e-6)
        >>> meta_params = learner.init(model.init(jax.random.key(0), inputs))
        >>> adapted = learner.adapt(meta_params, (inputs, jnp.sin(inputs)), jax.random.key(0))
        >>> assert loss_fn(adapted, (inputs, jnp.sin(inputs)), None)[0] < 1e-3  # with a body that has learned nothing
    """
    if ways is not None:
        check_count(ways, "ways", least=1)
    check_positive(penalty, "penalty")

    def init(params):
        body = without_head(params, head)
        dtype = jnp.result_type(*jax.tree.leaves(body))
        return R2D2Params(body, jnp.asarray(scale, dtype), jnp.log(jnp.asarray(penalty, dtype)))

    def solve(meta_params, support):
        check_meta_params(meta_params, R2D2Params, "r2d2")
        inputs, targets = support
        if ways is None:
            check_values(targets)
        else:
            check_classes(targets, ways, "r2d2")
        found = features_of(features, meta_params.params, inputs)  # X
        values = jnp.asarray(targets) if ways is None else indicators(targets, ways, found.dtype)  # Y
        if use_bias:
            found = jnp.concatenate([found, jnp.ones((len(found), 1), found.dtype)], axis=1)
        log_penalty = meta_params.log_penalty if learn_penalty else jax.lax.stop_gradient(meta_params.log_penalty)
        strength = jnp.exp(log_penalty).astype(found.dtype) * (len(found) if mean else 1)
        weights = meta_params.scale.astype(found.dtype) * ridge(found, values, strength)  # a W
        kernel, bias = (
            (weights[:-1], weights[-1]) if use_bias else (weights, jnp.zeros(weights.shape[1], weights.dtype))
        )
        return with_head(meta_params.params, head, kernel, bias)

    return learner_of_head(loss_fn, solve, init=init)


def ridge(inputs: jax.Array, targets: jax.Array, penalty: jax.Array) -> jax.Array:
    """The minimum of `‖X W - Y‖² + λ ‖W‖²`, from the smaller of its two linear systems.

    Args:
        inputs: X, `[examples, features]`.
        targets: Y, `[examples, outputs]`.
        penalty: λ, above 0.

    Returns:
        W, `[features, outputs]`.
    """
    examples, width = inputs.shape
    if examples < width:
        kernel = inputs @ inputs.T + penalty * jnp.eye(examples, dtype=inputs.dtype)
        return inputs.T @ solve_linear(kernel, targets, assume_a="pos")
    covariance = inputs.T @ inputs + penalty * jnp.eye(width, dtype=inputs.dtype)
    return solve_linear(covariance, inputs.T @ targets, assume_a="pos")


def check_values(targets: jax.Array) -> None:
    """Raises ValueError unless targets are values `[examples, outputs]`."""
    if jnp.ndim(targets) != 2 or not jnp.issubdtype(jnp.result_type(targets), jnp.floating):
        raise ValueError(
            f"jax_meta.r2d2 without ways needs values [examples, outputs] in the support set, got {describe(targets)}: "
            "give labels a number of ways, and values a last axis with leaf[..., None]."
        )
