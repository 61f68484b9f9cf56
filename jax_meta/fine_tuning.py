"""Fine-tuning: fits a start to a data set of any size, by minibatches, in the memory of one step."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_meta.arguments import check_key, check_optimizer, check_params
from jax_meta.base import Batch, LossFn, Metrics, Params
from jax_meta.checks import check_batch, check_batch_size, check_num_steps, describe, is_integer
from jax_meta.inner import minibatch_indices
from jax_meta.label_checks import labels_before
from jax_meta.loss_checks import check_labels_at_hand, check_metrics, checked_loss
from jax_meta.memory import value_and_grad
from jax_meta.programs.compiled import call
from jax_meta.tasks.preparations import Augment

Measure = Callable[[Params], Metrics]
"""`(params) -> metrics`: what is measured along the way, scalars by name."""


class FineTuningHistory(NamedTuple):
    """What happened while a start was fitted.

    Attributes:
        loss: of each step's minibatch, before the step: `[num_steps]`.
        measured: by name, what was measured: each `[len(measure_after)]`, or `[num_steps + 1]` without a choice.
    """

    loss: jax.Array
    measured: Metrics


def fine_tune(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    params: Params,
    data: Batch,
    key: jax.Array,
    *,
    num_steps: int,
    batch_size: int | None = None,
    augment: Augment | None = None,
    measure: Measure | None = None,
    measure_after: Sequence[int] | None = None,
) -> tuple[Params, FineTuningHistory]:
    """Fits a start to a data set: `jax_meta.adapt` on long runs, which keeps nothing of the way.

    θ ← θ - α ∇L(θ; minibatch), one `jax.lax.scan` whose memory is that of one step, however many there are and however
    large the data are. It is what a pre-trained or meta-learned start is judged by on data sets of hundreds or
    thousands of examples: Alexander Kolesnikov et al., Big Transfer, arXiv:1912.11370, section 3.3; Sebastian
    Flennerhag et al., Transferring Knowledge across Learning Processes, arXiv:1812.01054, section 4. A schedule, such
    as the cosine of the former, is the optimizer's: `optax.sgd(optax.cosine_decay_schedule(rate, num_steps), 0.9)`.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`.
        optimizer: any optax transformation, which also receives `value`, `grad` and `value_fn`; its state starts fresh.
        params: the start, a pytree.
        data: leaves `[examples, ...]`.
        key: randomness of the minibatches, of the augmentation and of the loss.
        num_steps: the number of steps, 0 or more.
        batch_size: examples in a step, drawn without replacement within a pass over `data`; every pass is in a new
            random order, and a minibatch may span two. Default: all of `data` in each step.
        augment: `(key, inputs of one example) -> inputs`, applied to each example of each minibatch of a pair
            `(inputs, targets)`, such as `jax_meta.tasks.flip`. Default: none.
        measure: `(params) -> metrics`, such as an accuracy on held-out data. Default: nothing is measured.
        measure_after: after which steps, numbers from 0 (the start) to `num_steps`. Default: after all of them, and of
            the start. Under `jax.vmap` it is computed after every step, though not kept.

    Returns:
        The fitted parameters, and a `FineTuningHistory`.

    Raises:
        ValueError: if `num_steps` is negative, `batch_size` is not between 1 and the number of examples, there are
            none, `augment` changes the shape of an input or `data` is no pair for it, `measure_after` has other
            numbers or is given without `measure`, or a measured value is no scalar; for labels out of range, where JAX
            does not trace them.
        TypeError: for arguments of another kind, such as a loss of other arguments, or parameters that are no floats.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> line = (jnp.linspace(-1, 1, 1_000)[:, None], 3 * jnp.linspace(-1, 1, 1_000)[:, None])
        >>> options = {"num_steps": 200, "batch_size": 16, "measure": lambda slope: {"error": abs(slope - 3)}}
        >>> slope, history = jax_meta.fine_tune(
        ...     loss_fn, optax.sgd(0.1), jnp.zeros(()), line, jax.random.key(0), **options, measure_after=(0, 200)
        ... )
        >>> assert history.loss.shape == (200,) and history.measured["error"].shape == (2,)
        >>> assert abs(slope - 3) < 1e-3 and history.measured["error"][0] == 3
    """
    check_optimizer(optimizer)
    check_params(params)
    check_key(key)
    check_num_steps(num_steps)
    check_batch_size(batch_size, check_batch(data))
    after = check_measure_after(measure, measure_after, num_steps)

    def check():
        check_labels_at_hand(checked_loss(loss_fn), params, data, key)

    return call(
        fit_by_minibatches,
        (loss_fn, optimizer, augment, measure),
        (params, data, key),
        before=labels_before(check, data) if num_steps else None,
        num_steps=num_steps,
        batch_size=batch_size,
        measure_after=after,
    )


def fit_by_minibatches(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    augment: Augment | None,
    measure: Measure | None,
    params: Params,
    data: Batch,
    key: jax.Array,
    *,
    num_steps: int,
    batch_size: int | None,
    measure_after: tuple[int, ...],
) -> tuple[Params, FineTuningHistory]:
    """`fine_tune`, when all is checked."""
    loss_fn = checked_loss(loss_fn if augment is None else augmented(checked_loss(loss_fn), augment))
    update = optax.with_extra_args_support(optimizer).update
    index_key, loss_key = jax.random.split(key)

    @jax.jit
    def measured(params):
        return {} if measure is None else check_metrics(measure(params), "let measure return {'accuracy': accuracy}")

    def nothing(params):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(measured, params))

    def step(carry, step_inputs):
        params, opt_state = carry
        indices, is_measured, step_key = step_inputs
        minibatch = data if indices is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[indices], data)

        def value_fn(params):
            return loss_fn(params, minibatch, step_key)[0]

        value, grad = value_and_grad(loss_fn, params, minibatch, step_key)
        updates, opt_state = update(grad, opt_state, params, value=value, grad=grad, value_fn=value_fn)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), (value, jax.lax.cond(is_measured, measured, nothing, params))

    indices = None if batch_size is None else minibatch_indices(index_key, data, num_steps, batch_size)
    chosen = jnp.zeros(num_steps + 1, bool).at[jnp.array(measure_after, int)].set(True)
    inputs = indices, chosen[1:], jax.random.split(loss_key, num_steps)
    first = measured(params) if 0 in measure_after else nothing(params)
    (params, _), (losses, later) = jax.lax.scan(step, (params, optimizer.init(params)), inputs)
    values = jax.tree.map(lambda first, later: jnp.concatenate([first[None], later]), first, later)
    return params, FineTuningHistory(losses, {name: of[jnp.array(measure_after, int)] for name, of in values.items()})


def augmented(loss_fn: LossFn, augment: Augment) -> LossFn:
    """The loss of a minibatch `(inputs, targets)` whose inputs are augmented, each with a key of its own."""

    def augmented_loss(params, batch, key):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError("augment needs data that are a pair (inputs, targets): leave it out, or give such a pair.")
        inputs, targets = batch
        augment_key, loss_key = jax.random.split(key)
        changed = jax.vmap(augment)(jax.random.split(augment_key, len(inputs)), inputs)
        if jnp.shape(changed) != jnp.shape(inputs):
            raise ValueError(
                f"augment makes {describe(changed)} of inputs {describe(inputs)}: it must keep their shape."
            )
        return loss_fn(params, (changed, targets), loss_key)

    return augmented_loss


def check_measure_after(measure: Any, measure_after: Any, num_steps: int) -> tuple[int, ...]:
    """The steps after which something is measured; raises an error if they are none, or if nothing measures."""
    if measure is None:
        if measure_after is not None:
            raise ValueError("measure_after says when, and nothing says what: give measure=(params) -> metrics, too.")
        return ()
    if not callable(measure):
        raise TypeError(f"measure must be a function (params) -> metrics, got {type(measure).__name__}.")
    after = tuple(range(num_steps + 1)) if measure_after is None else tuple(measure_after)
    if not after or not all(is_integer(step) and 0 <= step <= num_steps for step in after):
        raise ValueError(f"measure_after must be one or more steps from 0 to num_steps, {num_steps}, got {after!r}.")
    return tuple(int(step) for step in after)
