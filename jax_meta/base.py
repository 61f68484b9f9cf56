"""The vocabulary: tasks, losses, meta-learners and the state of training.

Axes in every docstring: `[num_tasks]` counts tasks, `[examples]` the points of one support or query set. Functions
are written for one task; `jax_meta.meta_gradient` is the one place that batches them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import optax

PyTree = Any
Params = Any
"""A pytree of arrays: what a model is made of."""
Batch = Any
"""A pytree of arrays with a leading `[examples]` axis, usually the pair `(inputs, targets)`."""
Metrics = dict[str, jax.Array]
"""Scalars by name."""


class Task(NamedTuple):
    """One learning problem: examples to learn from, and examples to be judged on.

    Both sets have the same tree structure and the same shape and dtype for each example; their numbers of examples may
    differ, and they must not share an example. A batch of tasks is a `Task` whose leaves have a leading `[num_tasks]`.

    Attributes:
        support: a `Batch`, leaves `[examples, ...]`; the learner adapts to it.
        query: a `Batch`, leaves `[examples, ...]`; the adapted model is judged on it.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> inputs = jnp.linspace(-1, 1, 10)[:, None]
        >>> task = jax_meta.Task(support=(inputs[::2], 3 * inputs[::2]), query=(inputs[1::2], 3 * inputs[1::2]))
        >>> assert task.support[0].shape == task.query[0].shape == (5, 1)
    """

    support: Batch
    query: Batch


class LossFn(Protocol):
    """`(params, batch, key) -> (loss, metrics)`: a scalar to minimise and scalars to report, the loss among them.

    A loss without randomness ignores `key`. See `jax_meta.regression` and `jax_meta.classification`. Other than a
    scalar float and a flat dict of scalars is refused while JAX traces; a metric may be a bool or an integer, and its
    mean over tasks is a float.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss_fn(params, batch, key):
        ...     inputs, targets = batch
        ...     errors = inputs @ params - targets
        ...     return jnp.mean(errors**2), {"loss": jnp.mean(errors**2), "within 0.1": jnp.mean(abs(errors) < 0.1)}
        >>> assert loss_fn(jnp.ones((1, 1)), (jnp.ones((5, 1)), jnp.ones((5, 1))), None)[1]["within 0.1"] == 1
    """

    def __call__(self, params: Params, batch: Batch, key: jax.Array, /) -> tuple[jax.Array, Metrics]: ...


class AdaptFn(Protocol):
    """`(meta_params, support, key) -> params`: a support set in, a model out.

    Keywords `num_steps` and `observe` override the learner's own, as in `jax_meta.adapt`.
    """

    def __call__(
        self,
        meta_params: Params,
        support: Batch,
        key: jax.Array,
        /,
        *,
        num_steps: int = ...,
        observe: Callable[[Params], Any] | None = None,
    ) -> Any: ...


class GradientFn(Protocol):
    """`(meta_params, task, key) -> (gradient, metrics)` for ONE task; `gradient` has the structure of `meta_params`."""

    def __call__(self, meta_params: Params, task: Task, key: jax.Array, /) -> tuple[Params, Metrics]: ...


@dataclass(frozen=True)  # and not a NamedTuple: jax.jit takes only functions that can be weakly referenced
class LossGradient:
    """A `GradientFn` that is the derivative of a loss: over many tasks, the mean loss is differentiated once.

    The sum over tasks is then a part of the last matrix product of each layer, and no task's own gradient is written.
    On CPU, MAML of one inner step gains most; with more than 8 steps, which are a loop, it is a tenth slower so. For
    parameters of fewer than 32 bits each task's gradient is taken, and their mean in float32.

    Attributes:
        loss: `(meta_params, task, key) -> (loss, metrics)`, a scalar to minimise and scalars to report, for one task.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta
        >>> gradient = jax_meta.LossGradient(lambda params, task, key: (params * task.query.sum(), {}))
        >>> slope, metrics = gradient(jnp.zeros(()), jax_meta.Task(jnp.ones(3), jnp.ones(3)), jax.random.key(0))
        >>> assert slope == 3
    """

    loss: Callable[[Params, Task, jax.Array], tuple[jax.Array, Metrics]]

    def __call__(self, meta_params: Params, task: Task, key: jax.Array, /) -> tuple[Params, Metrics]:
        return jax.grad(self.loss, has_aux=True)(meta_params, task, key)


class MetaLearner(NamedTuple):
    """An algorithm: three pure functions.

    Attributes:
        init: `(params) -> meta_params`, what is learned, made from a model's parameters.
        adapt: `(meta_params, support, key) -> params`, how it is used. It must take the keywords `num_steps`, the inner
            steps in place of the learner's own, and `observe`, a function of the parameters before each step and after
            the last, whose results it then returns, too: `jax_meta.evaluate` gives both. One that is built on
            `jax_meta.adapt` passes them on.
        gradient: `(meta_params, task, key) -> (gradient, metrics)`, how it is trained, for one task; best a
            `LossGradient` where it is the derivative of a loss.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax
        >>> from functools import partial
        >>> loss_fn = jax_meta.regression(lambda slope, inputs: slope * inputs)
        >>> adapt = partial(jax_meta.adapt, loss_fn, optax.sgd(0.1), num_steps=1)
        >>> gradient = jax_meta.LossGradient(lambda params, task, key: loss_fn(params, task.query, key))
        >>> learner = jax_meta.MetaLearner(init=lambda params: params, adapt=adapt, gradient=gradient)  # joint training
        >>> line = (jnp.ones((2, 1)), 3 * jnp.ones((2, 1)))
        >>> assert learner.adapt(jnp.zeros(()), line, jax.random.key(0), num_steps=9) > 2
    """

    init: Callable[[Params], Params]
    adapt: AdaptFn
    gradient: GradientFn


class Sampler(Protocol):
    """`(key, num_tasks) -> Task` with leaves `[num_tasks, examples, ...]`; pure, and runs inside `jax.jit`.

    All its randomness is of `jax.random`, from `key`: it runs once, while JAX traces it. Tasks that NumPy or PyTorch
    make are `jax_meta.host_tasks`.
    """

    def __call__(self, key: jax.Array, num_tasks: int, /) -> Task: ...


class TrainState(NamedTuple):
    """All that meta-training carries from one meta-step to the next.

    Attributes:
        params: the meta-parameters.
        opt_state: the outer optimizer's state.
        key: the key of the run. It does not change: meta-step `i` draws its randomness from `fold_in(key, i)`, so that
            a run in two parts equals the run in one, and any step's tasks can be drawn again.
        step: the number of meta-steps taken, an int32 scalar.
    """

    params: Params
    opt_state: optax.OptState
    key: jax.Array
    step: jax.Array
