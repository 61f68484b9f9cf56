"""The learners: how each is made on a problem, with the numbers of its paper.

The papers that sum their inner loss over the classes have their step sizes times the ways here, where losses are means.
"""

from functools import partial
from typing import Any

import optax

import jax_meta
from benchmarks.family.entries import Entry, Given, Problem
from benchmarks.family.warped import WARP, WarpedConv4, WarpedMLP
from jax_meta import MetaLearner
from jax_meta.networks.models import MLP


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


def other_learners(rate: float, steps: int) -> dict[str, Entry]:
    """The one that asks for no derivative, and the one whose step is a network's output."""

    def evolved(given: Given) -> MetaLearner:
        options: dict = {"num_steps": 1, "sigma": 0.05, "inner_pairs": 5, "outer_pairs": 8}
        return jax_meta.es_maml(given.loss_fn, optax.sgd(given.rate), **options)

    def lstm(given: Given) -> MetaLearner:
        return jax_meta.lstm_optimizer(given.loss_fn, num_steps=steps, scale=given.rate)

    return {
        "es_maml": Entry("ES-MAML", evolved, rate),
        "lstm_optimizer": Entry("Learned optimizer (LSTM)", lstm, 0.1, steps, steps, tasks=1),
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
        **other_learners(0.01, steps),
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
        **other_learners(0.01, 1),
        "r2d2": Entry("Ridge regression (R2D2)", ridge, 0.0, 0),
    }
