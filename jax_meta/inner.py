"""The inner loop: gradient steps on one task's support set."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.ad_checkpoint import checkpoint_name

from jax_meta.arguments import check_key, check_optimizer, check_params
from jax_meta.base import Batch, LossFn, Params
from jax_meta.checks import check_batch, check_batch_size, check_num_steps
from jax_meta.label_checks import labels_before
from jax_meta.loss_checks import check_labels_at_hand, checked_loss
from jax_meta.memory import INNER_GRADIENT, Remat, loop, mixed_mode_value_and_grad, value_and_grad
from jax_meta.programs.compiled import call

Order = Callable[[jax.Array, Batch], jax.Array]
"""`(key, batch) -> indices`: an order of the examples, int32 `[examples]`."""


def shuffled(key: jax.Array, batch: Batch) -> jax.Array:
    """All examples in random order: the order of a pass in `jax_meta.adapt`.

    Args:
        key: randomness.
        batch: leaves `[examples, ...]`.

    Returns:
        Indices of the examples, int32 `[examples]`, each once.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> order = jax_meta.shuffled(jax.random.key(0), (jnp.zeros((5, 1)), jnp.zeros((5, 1))))
        >>> assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
    """
    return jax.random.permutation(key, jax.tree.leaves(batch)[0].shape[0])


def balanced(key: jax.Array, batch: Batch) -> jax.Array:
    """All examples of `(inputs, labels)` in random order, one of each class before the second of any.

    With K examples of each of N classes, every minibatch of N has each class once, as a 1-shot support set has.

    Args:
        key: randomness.
        batch: `(inputs, labels)`, inputs `[examples, ...]` and integer labels `[examples]`.

    Returns:
        Indices of the examples, int32 `[examples]`, each once.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> labels = jnp.array([0, 0, 0, 1, 1, 1])
        >>> order = jax_meta.balanced(jax.random.key(0), (jnp.zeros((6, 1)), labels))
        >>> assert sorted(labels[order[:2]].tolist()) == [0, 1]
    """
    indices = shuffled(key, batch)
    labels = batch[1][indices]
    earlier = jnp.tril(labels[:, None] == labels[None], -1).sum(axis=1)  # of the same class, in this random order
    return indices[jnp.argsort(earlier, stable=True)]


def adapt(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    num_steps: int,
    batch_size: int | None = None,
    order: Order = shuffled,
    observe: Callable[[Params], Any] | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> Any:
    """Takes `num_steps` optimizer steps on `batch`, from `params`: θ ← θ - α ∇L(θ).

    It is the inner loop of MAML (Finn, Abbeel, Levine, arXiv:1703.03400, equation 1) and of Reptile (Nichol, Achiam,
    Schulman, arXiv:1803.02999, algorithm 1), it can be differentiated, and its optimizer state starts fresh.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: any optax transformation, which also receives `value`, `grad` and `value_fn`.
        params: the initial parameters, a pytree.
        batch: the support set, leaves `[examples, ...]`.
        key: randomness for the loss and for the minibatches.
        num_steps: the number of steps, 0 or more.
        batch_size: the examples in a step. Every pass over `batch` is in a new random order, and a minibatch may span
            two passes. Default: the whole of `batch` in each step.
        order: `(key, batch) -> indices`, the order of a pass. Default: `shuffled`; see `balanced`, too.
        observe: a function of the parameters, called before each step and after the last.
        remat: what is computed again, for less memory, when this is differentiated: "none"; "steps", each step;
            "blocks", each block of about √num_steps of them; or "updates", with `mixed_mode`, each block but for its
            gradients. Default: "none", the fastest.
        mixed_mode: whether to differentiate the inner gradients in forward mode, with less memory and little or no more
            time, see `mixed_mode_value_and_grad` in `memory.py`. The result is the same where the loss has a true
            gradient, and is silently another where a `jax.custom_vjp` within it returns something else, as gradient
            reversal, straight-through rounding or clipping in the backward pass do. It can then not be differentiated
            in forward mode. Default: False.

    Returns:
        The adapted parameters; with `observe`, the pair of those and the observations, leaves `[num_steps + 1, ...]`.

    Raises:
        ValueError: if `num_steps` is negative, `batch_size` is not between 1 and the number of examples, there are
            none, or `remat` is none of the four, or is "updates" without `mixed_mode`; if `params` have collections of
            Flax besides `params`; for labels out of range, where JAX does not trace them.
        TypeError: for arguments of another kind, such as a loss of other arguments, or parameters that are no floats.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> slope = jax_meta.adapt(loss_fn, optax.sgd(0.1), jnp.zeros(()), line, jax.random.key(0), num_steps=50)
        >>> assert abs(slope - 3) < 1e-3
    """
    check_optimizer(optimizer)
    check_params(params)
    check_key(key)
    check_num_steps(num_steps)
    options: dict = {"num_steps": num_steps, "batch_size": batch_size, "remat": remat, "mixed_mode": mixed_mode}
    behaviour = loss_fn, optimizer, order, observe
    adapted, observations = at_once(adapt_from_start, behaviour, params, params, batch, key, **options)
    return adapted if observe is None else (adapted, observations)


def at_once(
    function: Callable[..., Any],
    behaviour: tuple,
    params: Params,
    start: Any,
    batch: Batch,
    key: jax.Array,
    *,
    num_steps: int,
    **options: Any,
) -> Any:
    """An inner loop `function(*behaviour, start, batch, key, ...)` as one program, before which labels are checked.

    `behaviour` begins with the loss, which is called with `params`.
    """

    def check():
        check_labels_at_hand(checked_loss(behaviour[0]), params, batch, key)

    before = labels_before(check, batch) if num_steps else None
    return call(function, behaviour, (start, batch, key), before=before, num_steps=num_steps, **options)


def adapt_from_start(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    order: Order,
    observe: Callable[[Params], Any] | None,
    params: Params,
    batch: Batch,
    key: jax.Array,
    **options: Any,
) -> tuple[Params, Any]:
    """`inner_loop` from a fresh optimizer state: the adapted parameters, and the observations or None."""
    start = params, optimizer.init(params)
    (adapted, _), observations = inner_loop(
        loss_fn, optimizer, start, batch, key, order=order, observe=observe, **options
    )
    return adapted, observations


def inner_loop(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    start: tuple[Params, optax.OptState],
    batch: Batch,
    key: jax.Array,
    *,
    num_steps: int,
    batch_size: int | None = None,
    order: Order = shuffled,
    observe: Callable[[Params], Any] | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> tuple[tuple[Params, optax.OptState], Any]:
    """`adapt` from given parameters and optimizer state, to both, beside the observations or None."""
    check_num_steps(num_steps)
    check_batch_size(batch_size, check_batch(batch))
    check_key(key)
    loss_fn = checked_loss(loss_fn)
    differentiate = mixed_mode_value_and_grad if mixed_mode else value_and_grad
    update = optax.with_extra_args_support(optimizer).update
    index_key, loss_key = jax.random.split(key)

    def inner_step(carry, step_inputs):
        params, opt_state = carry
        indices, step_key = step_inputs
        minibatch = batch if indices is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[indices], batch)

        def value_fn(params):
            return loss_fn(params, minibatch, step_key)[0]

        value, grad = differentiate(loss_fn, params, minibatch, step_key)
        grad = checkpoint_name(grad, INNER_GRADIENT)
        updates, opt_state = update(grad, opt_state, params, value=value, grad=grad, value_fn=value_fn)
        observation = None if observe is None else observe(params)
        return (optax.apply_updates(params, updates), opt_state), observation

    indices = None if batch_size is None else minibatch_indices(index_key, batch, num_steps, batch_size, order)
    inputs = (indices, jax.random.split(loss_key, num_steps))
    end, observations = loop(inner_step, start, inputs, remat=remat, mixed_mode=mixed_mode)
    if observe is not None:
        last = observe(end[0])
        observations = jax.tree.map(lambda steps, last: jnp.concatenate([steps, last[None]]), observations, last)
    return end, observations


def minibatch_indices(
    key: jax.Array, batch: Batch, num_steps: int, batch_size: int, order: Order = shuffled
) -> jax.Array:
    """Which examples each step uses, int32 `[num_steps, batch_size]`: passes over `batch`, end to end."""
    examples = jax.tree.leaves(batch)[0].shape[0]
    num_passes = -(-num_steps * batch_size // examples)
    passes = jax.vmap(lambda key: order(key, batch))(jax.random.split(key, num_passes))
    return passes.reshape(-1)[: num_steps * batch_size].reshape(num_steps, batch_size)


def first_order_of(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The same optimizer, for which inner gradients are constants: MAML through it is of the first order.

    It is `jax_meta.fomaml` where updates do not read the parameters. Where adaptation starts from what is computed of
    the meta-parameters, or the optimizer has meta-parameters itself, their derivative stays.
    """
    return optax.chain(optax.stateless(lambda gradient, _: jax.lax.stop_gradient(gradient)), optimizer)
