"""Almost no inner loop: MAML whose inner loop moves the head of the network only.

Aniruddh Raghu, Maithra Raghu, Samy Bengio, Oriol Vinyals: Rapid Learning or Feature Reuse? Towards Understanding the
Effectiveness of MAML, arXiv:1909.09157.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase

import jax
import optax

from jax_meta.base import LossFn, LossGradient, MetaLearner, Params
from jax_meta.inner import adapt
from jax_meta.loss_checks import check_inner
from jax_meta.memory import Remat
from jax_meta.second_derivative import check_second_derivative


def anil(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    is_head: Callable[[str], bool] | str,
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
            such as "*/Dense_2/*", which a model file can hold.
        num_steps: inner steps, 0 or more.
        batch_size: examples in an inner step. Default: the whole support set.
        remat: what is computed again, for less memory, as in `jax_meta.adapt`: "none", "steps", "blocks" or, with
            `mixed_mode`, "updates". Default: "none".
        mixed_mode: whether inner gradients are differentiated in forward mode, for less memory; not where the loss
            has a gradient that is none, such as gradient reversal, see `jax_meta.adapt`. Default: False.

    Returns:
        A `MetaLearner` that learns the model's parameters. Its metrics are the query's, after adaptation.

    Raises:
        ValueError: as `jax_meta.maml` does, and while tracing, if `is_head` selects nothing.
        TypeError: for a loss or an optimizer that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda params, inputs: params["head"] * params["body"] * inputs)
        >>> learner = jax_meta.anil(loss_fn, optax.sgd(0.1), is_head=lambda path: path == "head", num_steps=1)
        >>> params, line = {"body": jnp.ones(()), "head": jnp.ones(())}, (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> adapted = learner.adapt(params, line, jax.random.key(0))
        >>> assert adapted["body"] == params["body"] and adapted["head"] > params["head"]
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)

    def inner(params, batch, key, *, num_steps=num_steps, observe=None):
        def head_loss(head, batch, key):
            return loss_fn(join(head, params), batch, key)  # L(β, η)

        def observe_whole(head):
            return None if observe is None else observe(join(head, params))

        head, observations = adapt(
            head_loss,
            optimizer,
            select_head(params, is_head),
            batch,
            key,
            num_steps=num_steps,
            batch_size=batch_size,
            observe=observe_whole,
            remat=remat,
            mixed_mode=mixed_mode,
        )
        adapted = join(head, params)
        return adapted if observe is None else (adapted, observations)

    def query_loss(params, task, key):
        check_second_derivative(optimizer, select_head(params, is_head), num_steps=num_steps)
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(params, task.support, adapt_key)  # β, η' = η - α ∇η L_support(β, η), num_steps times
        return loss_fn(adapted, task.query, loss_key)  # L_query(β, η')

    gradient = LossGradient(query_loss)  # ∇(β, η) L_query(β, η')
    return MetaLearner(init=lambda params: params, adapt=inner, gradient=gradient)


def select_head(params: Params, is_head: Callable[[str], bool] | str) -> Params:
    """`params` with None in place of the body; raises ValueError if nothing is left."""
    paths = jax.tree.map_with_path(lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params)
    selects = (lambda path: fnmatchcase(path, is_head)) if isinstance(is_head, str) else is_head
    head = jax.tree.map(lambda path, leaf: leaf if selects(path) else None, paths, params)
    if not jax.tree.leaves(head):
        raise ValueError(
            "is_head selects no parameter, so there is nothing to adapt: it must be true of at least one of "
            f"{', '.join(jax.tree.leaves(paths))}."
        )
    return head


def join(head: Params, params: Params) -> Params:
    """`params` with its head replaced."""
    return jax.tree.map(lambda new, old: old if new is None else new, head, params, is_leaf=lambda leaf: leaf is None)
