"""One idea: a part of the parameters adapts, from a start; the rest is what all tasks share.

ANIL, BOIL, CAVIA, Proto-MAML and the inner loop of WarpGrad differ in which part that is, and in where it starts.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import jax
import optax

from jax_meta.base import Batch, LossFn, LossGradient, MetaLearner, Params
from jax_meta.checks import check_first_order
from jax_meta.inner import adapt, first_order_of
from jax_meta.loss_checks import check_inner
from jax_meta.memory import Remat
from jax_meta.second_derivative import check_second_derivative

Part = Callable[[str], bool] | str
"""Whether a parameter is in the part, by its path, such as "params/Dense_2/kernel"; or a pattern of such paths, such as
"*/Dense_2/*", which a file can hold."""


def learner_of_part(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    select: Callable[[Params], Params],
    *,
    start: Callable[[Params, Batch], Params] = lambda params, support: params,
    init: Callable[[Params], Params] | None = None,
    num_steps: int,
    first_order: bool = False,
    batch_size: int | None = None,
    remat: Remat = "none",
    mixed_mode: bool = False,
) -> MetaLearner:
    """MAML whose inner loop starts at `start(θ, support)` and moves the part that `select` leaves of it.

    `gradient = ∇θ L_query(U(start(θ, support)))`: it goes through the start, too. First order holds the inner gradients
    to be constants, and keeps what goes through the start.

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, of the whole parameters.
        optimizer: the inner optimizer; it is given the part, with None in place of the rest.
        select: `(params) -> params` with None in place of what does not adapt; see `select_part`.
        start: `(meta_params, support) -> params`, the whole parameters before the first step. Default: the
            meta-parameters.
        init: `(params) -> meta_params`. Default: the parameters themselves, of which the part is tried.
        num_steps, first_order, batch_size, remat, mixed_mode: as in `jax_meta.cavia`.
    """
    loss_fn = check_inner(loss_fn, optimizer, num_steps)
    check_first_order(first_order, num_steps)
    inner_optimizer = first_order_of(optimizer) if first_order else optimizer

    def inner(meta_params, batch, key, *, num_steps=num_steps, observe=None):
        params = start(meta_params, batch)

        def part_loss(part, batch, key):
            return loss_fn(join(part, params), batch, key)

        def observe_whole(part):
            return None if observe is None else observe(join(part, params))

        part, observations = adapt(
            part_loss,
            inner_optimizer,
            select(params),
            batch,
            key,
            num_steps=num_steps,
            batch_size=batch_size,
            observe=observe_whole,
            remat=remat,
            mixed_mode=mixed_mode,
        )
        adapted = join(part, params)
        return adapted if observe is None else (adapted, observations)

    def query_loss(meta_params, task, key):
        if not first_order:
            part = jax.eval_shape(lambda meta_params: select(start(meta_params, task.support)), meta_params)
            check_second_derivative(optimizer, part, num_steps=num_steps)
        adapt_key, loss_key = jax.random.split(key)
        adapted = inner(meta_params, task.support, adapt_key)
        return loss_fn(adapted, task.query, loss_key)

    def tried(params):
        select(params)
        return params

    return MetaLearner(init=init or tried, adapt=inner, gradient=LossGradient(query_loss))


def select_part(params: Params, part: Part, name: str, *, inverse: bool = False) -> Params:
    """`params` with None in place of all but a part, or with `inverse`, of the part.

    Raises ValueError if the part, or a pattern's rest, is empty; `name` is the argument that names the part. A function
    may be true of everything, which is then meant so, unless the inverse is asked for.
    """
    paths = jax.tree.map_with_path(lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params)
    selects = (lambda path: fnmatchcase(path, part)) if isinstance(part, str) else part
    chosen = jax.tree.map(lambda path: bool(selects(path)), paths)
    among = set(jax.tree.leaves(chosen))
    given = f"{name} {part!r}" if isinstance(part, str) else name
    if True not in among:
        raise ValueError(f"{given} selects none of the parameters {listed(paths)}: it must be true of at least one.")
    if False not in among and (inverse or isinstance(part, str)):
        raise ValueError(
            f"{given} selects all of the parameters {listed(paths)}: leave some out, or take jax_meta.maml, which "
            "adapts all of them."
        )
    return jax.tree.map(lambda is_chosen, leaf: leaf if is_chosen != inverse else None, chosen, params)


def listed(paths: Any) -> str:
    """The first of the paths, for a message: short, whatever they are."""
    names = [name[:40] for name in jax.tree.leaves(paths)]
    return repr(names[:4] + ["..."] * (len(names) > 4))


def join(part: Params, params: Params) -> Params:
    """`params` with its part replaced."""
    return jax.tree.map(lambda new, old: old if new is None else new, part, params, is_leaf=lambda leaf: leaf is None)
