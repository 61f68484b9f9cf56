"""What a problem of images is, and what a row of the table is: how a learner is made on a problem, and tried."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

import jax_meta
from jax_meta import LossFn, MetaLearner

TRIED = (1.0, 1 / 3, 3.0)  # times the paper's inner step size
OUTER_TRIED = (1e-3, 3e-3, 1e-2)  # Adam's rates, of learners without an inner step size


class Problem(NamedTuple):
    """Images of new classes."""

    name: str  # on the command line
    dataset: str  # omniglot or cifar_fs
    ways: int
    shots: int

    @property
    def steps(self) -> int:
        """Inner steps of MAML in training, as in its paper: 1 at 5 ways of Omniglot, else 5."""
        return 1 if self.dataset == "omniglot" and self.ways < 20 else 5


PROBLEMS = {
    name: Problem(name, dataset, ways, shots)
    for name, dataset, ways, shots in (
        ("omniglot-5way-1shot", "omniglot", 5, 1),
        ("cifar_fs-5way-5shot", "cifar_fs", 5, 5),
        ("omniglot-20way-1shot", "omniglot", 20, 1),
        ("cifar_fs-5way-1shot", "cifar_fs", 5, 1),
        ("omniglot-5way-5shot", "omniglot", 5, 5),
        ("omniglot-20way-5shot", "omniglot", 20, 5),
    )
}


class Given(NamedTuple):
    """What a learner is made from; the numbers may be traced, so that all trials are one program."""

    loss_fn: LossFn
    features: Any  # the network without its head
    head: str  # the path of the head
    ways: int | None  # None for values
    rate: Any  # the inner step size
    weights: Any  # MAML++'s, of the loss after each inner step


class Entry(NamedTuple):
    """A row of the table."""

    label: str
    make: Callable[[Given], MetaLearner]
    rate: float = 0.0  # the paper's inner step size, on the mean loss; 0: there is none
    steps: int = 1  # inner steps in training
    test_steps: int = 1  # inner steps at test
    model: Callable[[Any], nn.Module] = lambda model: model  # the network, from that of the others
    ways: int = 0  # in a training task; 0: as at test
    shots: int = 0  # in a training task; 0: as at test
    queries: int = 0  # of a class in a training task; 0: as the other learners
    tasks: int = 4  # a meta-step

    @property
    def trials(self) -> list[tuple[float, float]]:
        """Pairs of an inner and an outer learning rate, the paper's inner one first."""
        if not self.rate:
            return [(0.0, outer) for outer in OUTER_TRIED]
        return [(self.rate * times, 2e-3) for times in TRIED]


def make_learner(
    entry: Entry, model: Any, measure: Callable[..., LossFn], ways: int | None, rate: Any, weights: Any
) -> MetaLearner:
    """An entry's learner of a network; `measure` is `jax_meta.classification` or `jax_meta.regression`."""
    try:
        features, head = jax_meta.models.split_head(model)
    except TypeError:  # a network of this benchmark, for a learner that does not ask
        features, head = None, ""
    return entry.make(Given(measure(model.apply), features, head, ways, rate, weights))


def multi_step_weights(progress: float) -> np.ndarray:
    """MAML++'s weights of its five losses, when so much of the training is over: annealed over its first tenth."""
    return jax_meta.multi_step_weights(int(100 * progress), num_steps=5, num_epochs=10)


def meta_parameters(meta_params: Any) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(meta_params))
