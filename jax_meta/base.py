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
    """

    support: Batch
    query: Batch


class LossFn(Protocol):
    """`(params, batch, key) -> (loss, metrics)`: a scalar to minimise and scalars to report, the loss among them.

    A loss without randomness ignores `key`. See `jax_meta.regression` and `jax_meta.classification`.
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
    On CPU, MAML of one inner step gains most; with more than 8 steps, which are a loop, it is a tenth slower so.

    Attributes:
        loss: `(meta_params, task, key) -> (loss, metrics)`, a scalar to minimise and scalars to report, for one task.
    """

    loss: Callable[[Params, Task, jax.Array], tuple[jax.Array, Metrics]]

    def __call__(self, meta_params: Params, task: Task, key: jax.Array, /) -> tuple[Params, Metrics]:
        return jax.grad(self.loss, has_aux=True)(meta_params, task, key)


class MetaLearner(NamedTuple):
    """An algorithm: three pure functions.

    Attributes:
        init: `(params) -> meta_params`, what is learned, made from a model's parameters.
        adapt: `(meta_params, support, key) -> params`, how it is used.
        gradient: `(meta_params, task, key) -> (gradient, metrics)`, how it is trained, for one task; best a
            `LossGradient` where it is the derivative of a loss.
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
