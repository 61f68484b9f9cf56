"""The learners: how each is made on a problem, with the numbers of its paper.

The papers that sum their inner loss over the classes have their step sizes times the ways here, where losses are means.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

import jax_meta
from jax_meta import LossFn, MetaLearner
from jax_meta.networks.layers import Convolution, Dense
from jax_meta.networks.models import MLP, Conv4, ConvBlock

TRIED = (1.0, 1 / 3, 3.0)  # times the paper's inner step size
OUTER_TRIED = (1e-3, 3e-3, 1e-2)  # Adam's rates, of learners without an inner step size
WARP = "*Warp*"


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


class WarpedMLP(nn.Module):
    """The sine network with a linear warp layer after each hidden one, which adaptation does not move."""

    hidden: Sequence[int] = (40, 40)

    @nn.compact
    def __call__(self, inputs):
        for layer, width in enumerate(self.hidden):
            inputs = nn.relu(Dense(width)(inputs))
            inputs = Dense(width, kernel_init=nn.initializers.orthogonal(), name=f"Warp_{layer}")(inputs)
        return Dense(1)(inputs)


class WarpedConv4(nn.Module):
    """Conv4 with a convolution after each block, which adaptation does not move."""

    plain: Conv4

    @nn.compact
    def __call__(self, images):
        for block in range(4):
            images = ConvBlock(self.plain.filters, self.plain.downsample, False)(images)
            images = Convolution(self.plain.filters, use_bias=False, name=f"Warp_{block}")(images)
        features = images.mean((1, 2)) if self.plain.head == "mean" else images.reshape(len(images), -1)
        return Dense(self.plain.ways)(features)


def gradient_learners(steps: int, test_steps: int, rate: float, warped: Any) -> dict[str, Entry]:
    """Those that take MAML's steps with MAML's step size; `warped` makes the network with warp layers."""

    def plain(make: Any, given: Given, **options: Any) -> MetaLearner:
        return make(given.loss_fn, optax.sgd(given.rate), num_steps=steps, **options)

    return {
        "maml": Entry("MAML", partial(plain, jax_meta.maml), rate, steps, test_steps),
        "fomaml": Entry("First-order MAML", partial(plain, jax_meta.fomaml), rate, steps, test_steps),
        "anil": Entry(
            "ANIL", lambda given: plain(jax_meta.anil, given, is_head=f"{given.head}/*"), rate, steps, test_steps
        ),
        "warpgrad": Entry(
            "Warp-MAML",
            lambda given: plain(jax_meta.warpgrad, given, is_warp=WARP, initialization=jax_meta.maml),
            rate,
            steps,
            test_steps,
            model=warped,
        ),
    }


def optimizer_learners(rate: float, curved_rate: float, slow_rate: float, kfo_steps: int = 5) -> dict[str, Entry]:
    """Those whose inner optimizer is learned; MAML++ takes five steps, and Meta-SGD and Meta-Curvature one."""

    def with_rate(make: Any, num_steps: int, given: Given, **options: Any) -> MetaLearner:
        return make(given.loss_fn, step_size=given.rate, num_steps=num_steps, **options)

    def plus_plus(given: Given) -> MetaLearner:
        return with_rate(jax_meta.maml_plus_plus, 5, given, weights=given.weights)

    return {
        "meta_sgd": Entry("Meta-SGD", partial(with_rate, jax_meta.meta_sgd, 1), rate),
        "meta_curvature": Entry("Meta-Curvature", partial(with_rate, jax_meta.meta_curvature, 1), curved_rate),
        "maml_plus_plus": Entry("MAML++", plus_plus, slow_rate, 5, 5),
        "kfo": Entry("KFO", partial(with_rate, jax_meta.kfo, kfo_steps), slow_rate, kfo_steps, kfo_steps),
    }


def implicit(strength: float, steps: int, given: Given) -> MetaLearner:
    options: dict = {"num_steps": steps, "strength": strength, "cg_steps": 5, "damping": 1.0}
    return jax_meta.imaml(given.loss_fn, optax.sgd(given.rate), **options)


def classifiers(problem: Problem, steps: int | None = None) -> dict[str, Entry]:
    """The learners of a problem of images; `steps` of MAML, ANIL and iMAML, if not those of the papers."""
    omniglot, implicit_steps = problem.dataset == "omniglot", steps or (25 if problem.ways >= 20 else 16)
    steps, rate = steps or problem.steps, 2.0 if omniglot else 0.05
    batch, episode = problem.ways * problem.shots, (60 if omniglot else 20)

    def of_head(make: Any, given: Given, **options: Any) -> MetaLearner:
        return make(given.loss_fn, features=given.features, head=given.head, ways=given.ways, **options)

    def on_batches(make: Any, given: Given, **options: Any) -> MetaLearner:
        options |= {"num_steps": 10 // problem.shots, "batch_size": batch, "order": jax_meta.balanced}
        return make(given.loss_fn, optax.sgd(given.rate), **options)

    def leap(given: Given) -> MetaLearner:
        return jax_meta.leap(given.loss_fn, optax.sgd(given.rate), num_steps=10, batch_size=batch)

    def first_order_proto(given: Given) -> MetaLearner:
        return of_head(
            partial(jax_meta.proto_maml, optimizer=optax.sgd(given.rate), num_steps=5, first_order=True), given
        )

    def boil(given: Given) -> MetaLearner:
        return jax_meta.boil(given.loss_fn, optax.sgd(given.rate), is_head=f"{given.head}/*", num_steps=1)

    def cavia(given: Given) -> MetaLearner:
        return jax_meta.cavia(given.loss_fn, optax.sgd(given.rate), num_steps=2)

    ridge = partial(of_head, jax_meta.r2d2)
    return {
        "transfer": Entry(
            "Transfer",
            lambda given: jax_meta.transfer(given.loss_fn, optax.sgd(given.rate), num_steps=10),
            0.1,
            0,
            5,
            queries=2 * max(1, problem.shots),
        ),
        **gradient_learners(steps, 3 if steps == 1 else 5, rate, WarpedConv4),
        "reptile": Entry("Reptile", partial(on_batches, jax_meta.reptile), 0.2, 10 // problem.shots, 5, shots=10),
        "leap": Entry("Leap", leap, 0.1, 10, 5, shots=10),
        "imaml": Entry("iMAML", partial(implicit, 2.0, implicit_steps), 0.1, implicit_steps, 10),
        "boil": Entry("BOIL", boil, 0.5),
        "cavia": Entry("CAVIA", cavia, 1.0, 2, 2, model=lambda model: model.clone(context=100)),
        **optimizer_learners(rate, 0.4 * problem.ways if omniglot else rate, 0.1),
        "proto_maml": Entry("Proto-MAML, first order", first_order_proto, 0.01, 5, 5),
        "protonet": Entry("ProtoNet", partial(of_head, jax_meta.protonet), 0.0, 0, 0, ways=episode, queries=5, tasks=1),
        "r2d2": Entry("R2D2", partial(ridge, scale=10.0), 0.0, 0, 0, ways=episode, queries=5, tasks=1),
        "metaoptnet_rr": Entry(
            "MetaOptNet-RR", partial(ridge, mean=False, use_bias=False), 0.0, 0, 0, ways=episode, tasks=1
        ),
    }


def for_values() -> dict[str, Entry]:
    """The learners of sines; one inner step is what their papers report."""

    def ridge(given: Given) -> MetaLearner:
        options: dict = {"features": given.features, "head": given.head, "ways": None}
        return jax_meta.r2d2(given.loss_fn, **options, penalty=1e-2, mean=False)

    def evolved(given: Given) -> MetaLearner:
        return jax_meta.es_maml(
            given.loss_fn, optax.sgd(given.rate), num_steps=1, sigma=0.05, inner_pairs=5, outer_pairs=8
        )

    def boil(given: Given) -> MetaLearner:
        return jax_meta.boil(given.loss_fn, optax.sgd(given.rate), is_head=f"{given.head}/*", num_steps=1)

    def cavia(given: Given) -> MetaLearner:
        return jax_meta.cavia(given.loss_fn, optax.sgd(given.rate), num_steps=1)

    def of_way(make: Any, steps: int, given: Given) -> MetaLearner:
        return make(given.loss_fn, optax.sgd(given.rate), num_steps=steps)

    context = partial(MLP, context=5)
    return {
        "transfer": Entry("Transfer", partial(of_way, jax_meta.transfer, 1), 0.01, 0),
        **gradient_learners(1, 1, 0.01, lambda _: WarpedMLP()),
        "reptile": Entry("Reptile", partial(of_way, jax_meta.reptile, 3), 0.01, 3),
        "leap": Entry("Leap", partial(of_way, jax_meta.leap, 10), 0.01, 10),
        "imaml": Entry("iMAML", partial(implicit, 0.5, 16), 0.02, 16),
        "boil": Entry("BOIL", boil, 0.01),
        "cavia": Entry("CAVIA", cavia, 1.0, model=lambda _: context()),
        **optimizer_learners(0.01, 0.01, 0.01, kfo_steps=2),
        "es_maml": Entry("ES-MAML", evolved, 0.01),
        "r2d2": Entry("Ridge regression (R2D2)", ridge, 0.0, 0),
    }


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
