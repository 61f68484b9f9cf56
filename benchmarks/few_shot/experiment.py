"""A protocol made real: the data, the model, the meta-learner, and the tasks to train, validate and test on."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jax_meta
from benchmarks.few_shot.protocol import Protocol
from jax_meta import LossFn, MetaLearner, Sampler
from jax_meta.datasets import Splits
from jax_meta.evaluation import Measure

ALGORITHMS = {
    "maml": jax_meta.maml,
    "fomaml": jax_meta.fomaml,
    "reptile": jax_meta.reptile,
    "transfer": jax_meta.transfer,
}


class Experiment(NamedTuple):
    """What is trained and how it is measured.

    Attributes:
        protocol: what it was made from.
        algorithm: by its name in `ALGORITHMS`.
        learner: for training.
        tester: whose `adapt` is that of validation and test.
        optimizer: of the outer loop.
        params: the model's, before the first meta-step.
        loss_fn: the mean cross-entropy.
        measure: accuracies of an adapted model, transductive and not.
        samplers: of training, validation and test tasks.
        task_batch_size: tasks at a time: one for convolutions on CPU, else all.
    """

    protocol: Protocol
    algorithm: str
    learner: MetaLearner
    tester: MetaLearner
    optimizer: optax.GradientTransformation
    params: Any
    loss_fn: LossFn
    measure: Measure
    samplers: dict[str, Sampler]
    task_batch_size: int | None


def make_experiment(protocol: Protocol, algorithm: str, splits: Splits, key: jax.Array) -> Experiment:
    """Builds everything from the protocol; nothing is compiled yet."""
    model = make_model(protocol)
    loss_fn = jax_meta.classification(model.apply)
    inner = make_inner(protocol)
    samplers = make_samplers(protocol, algorithm, splits)
    image = jnp.zeros((1, *splits.train.images.shape[2:]), jnp.float32)
    return Experiment(
        protocol,
        algorithm,
        make_learner(protocol, algorithm, loss_fn, inner),
        make_tester(protocol, algorithm, loss_fn, inner),
        make_outer(protocol, algorithm),
        model.init(key, image),
        loss_fn,
        jax_meta.transduction(model.apply),
        samplers,
        1 if jax.default_backend() == "cpu" and protocol.model != "dense" else None,
    )


def make_learner(
    protocol: Protocol, algorithm: str, loss_fn: LossFn, inner: optax.GradientTransformation
) -> MetaLearner:
    """The meta-learner as it trains."""
    options: dict[str, Any] = {"num_steps": protocol.inner_steps, "batch_size": protocol.inner_batch or None}
    if protocol.inner_order == "balanced":  # which Reptile's protocols alone ask for
        options["order"] = jax_meta.balanced
    factory = jax_meta.carried_reptile if carries_state(protocol, algorithm) else ALGORITHMS[algorithm]
    return factory(loss_fn, inner, **options)


def make_tester(
    protocol: Protocol, algorithm: str, loss_fn: LossFn, inner: optax.GradientTransformation
) -> MetaLearner:
    """The meta-learner as it adapts at validation and test."""
    factory = jax_meta.carried_reptile if carries_state(protocol, algorithm) else jax_meta.transfer
    return factory(loss_fn, inner, num_steps=protocol.test_steps, batch_size=protocol.test_batch or None)


def carries_state(protocol: Protocol, algorithm: str) -> bool:
    """Whether the inner optimizer's state is carried from task to task: by Reptile alone."""
    return algorithm == "reptile" and protocol.inner_state == "carried"


def load(protocol: Protocol, folder: Path, *, download: bool, seed: int) -> Splits:
    """The data set, from `folder` or a folder of its name in it."""
    name = {"omniglot": "omniglot", "miniimagenet": "mini_imagenet"}.get(protocol.dataset, "cifar100")
    place = folder / name if (folder / name).is_dir() else folder
    if protocol.dataset == "omniglot":
        return jax_meta.datasets.load_omniglot(
            place, split=protocol.split, seed=seed, size=protocol.size, resample=protocol.resample, download=download
        )
    if protocol.dataset == "miniimagenet":
        return jax_meta.datasets.load_mini_imagenet(place, size=protocol.size)
    return jax_meta.datasets.load_cifar100(place, split=protocol.split, download=download)


def make_model(protocol: Protocol):
    """The network."""
    if protocol.model == "dense":
        return jax_meta.models.MLP((256, 128, 64, 64), protocol.ways, normalise=True)
    if protocol.model == "resnet12":
        return jax_meta.models.ResNet12(protocol.ways)
    return jax_meta.models.Conv4(
        protocol.ways, protocol.filters, protocol.downsample, protocol.head, protocol.learned_scale
    )


def make_inner(protocol: Protocol) -> optax.GradientTransformation:
    """The inner optimizer."""
    if protocol.inner_optimizer == "adam":
        return optax.adam(protocol.inner_learning_rate, b1=0.0)
    return optax.sgd(protocol.inner_learning_rate)


def make_outer(protocol: Protocol, algorithm: str) -> optax.GradientTransformation:
    """The outer optimizer, with its schedule and clip."""
    rate: Any = protocol.outer_learning_rate
    if protocol.outer_decay == "linear":
        rate = optax.linear_schedule(rate, 0.0, protocol.steps)
    optimizer = optax.adam(rate) if protocol.outer_optimizer == "adam" else optax.sgd(rate)
    if protocol.clip:
        optimizer = optax.chain(optax.clip(protocol.clip), optimizer)
    return jax_meta.carry_state(optimizer) if carries_state(protocol, algorithm) else optimizer


def make_samplers(protocol: Protocol, algorithm: str, splits: Splits) -> dict[str, Sampler]:
    """Of training, validation and test tasks. Transfer learning trains on queries alone, as many as it has shots."""
    augment = jax_meta.tasks.in_turn(jax_meta.tasks.flip, jax_meta.tasks.shift) if protocol.augmented else None
    training: dict[str, Any] = {
        "shots": protocol.train_shots,
        "queries": protocol.queries,
        "rotations": protocol.rotations,
        "augment": augment,
    }
    testing: dict[str, Any] = {
        "shots": protocol.shots,
        "queries": protocol.test_queries,
        "rotations": protocol.test_rotations,
    }
    if algorithm == "transfer":
        training["queries"] = max(protocol.queries, protocol.train_shots)
    common: dict[str, Any] = {"ways": protocol.ways, "prepare": make_prepare(protocol)}
    return {
        "train": jax_meta.tasks.episodes(splits.train, **common, **training),
        "val": jax_meta.tasks.episodes(splits.val, **common, **testing),
        "test": jax_meta.tasks.episodes(splits.test, **common, **testing),
    }


def make_prepare(protocol: Protocol):
    """From uint8 to what the network takes: as both papers do it, from 0 to 1."""
    return jax_meta.tasks.inverted if protocol.inverted else jax_meta.tasks.unit_interval
