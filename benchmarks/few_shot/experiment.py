"""A protocol made real: the data, the model, the meta-learner; its training, validation and test."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from benchmarks.few_shot.protocol import Protocol
from benchmarks.harness.jax_networks import compiled_soon
from benchmarks.harness.progress import Begin
from jax_meta import LossFn, MetaLearner, Sampler, TrainState
from jax_meta.datasets import ClassImages, Splits
from jax_meta.evaluation import Measure
from jax_meta.runs.progress import in_words

ALGORITHMS = {name: getattr(jax_meta, name) for name in ("maml", "fomaml", "reptile", "transfer")}
PART = 50  # at most so many meta-steps in one compiled call
VALIDATIONS, FEWEST_VALIDATIONS = 40, 4
VALIDATION_TASKS, VALIDATION_STEPS = 100, 10


class Experiment(NamedTuple):
    protocol: Protocol  # what it was made from
    algorithm: str  # by its name in `ALGORITHMS`
    learner: MetaLearner  # for training
    tester: MetaLearner  # whose `adapt` is that of validation and test
    optimizer: optax.GradientTransformation  # of the outer loop
    params: Any  # the model's, before the first meta-step
    loss_fn: LossFn  # the mean cross-entropy
    measure: Measure  # accuracies of an adapted model, transductive and not
    samplers: dict[str, Sampler]  # of training, validation and test tasks
    task_batch_size: int | None  # tasks at a time: one for convolutions on CPU, else all


def make_experiment(protocol: Protocol, algorithm: str, splits: Splits, key: jax.Array) -> Experiment:
    model = make_model(protocol)
    loss_fn, measure = jax_meta.classification(model.apply), jax_meta.transduction(model.apply)
    params = compiled_soon(model.init)(key, jnp.zeros((1, *splits.train.images.shape[2:]), jnp.float32))
    learners, outer = make_learners(protocol, algorithm, loss_fn), make_outer(protocol, algorithm)
    samplers = make_samplers(protocol, algorithm, splits)
    at_once = 1 if jax.default_backend() == "cpu" and protocol.model != "dense" else None
    return Experiment(protocol, algorithm, *learners, outer, params, loss_fn, measure, samplers, at_once)


def make_learners(protocol: Protocol, algorithm: str, loss_fn: LossFn) -> tuple[MetaLearner, MetaLearner]:
    """The meta-learner as it trains, and as it adapts at validation and test."""
    rate = protocol.inner_learning_rate
    inner = optax.adam(rate, b1=0.0) if protocol.inner_optimizer == "adam" else optax.sgd(rate)
    train, test = ALGORITHMS[algorithm], jax_meta.transfer
    if carries_state(protocol, algorithm):
        train = test = jax_meta.carried_reptile
    options: dict = {"num_steps": protocol.inner_steps, "batch_size": protocol.inner_batch or None}
    if protocol.inner_order == "balanced":  # which Reptile's protocols alone ask for
        options["order"] = jax_meta.balanced
    tester = test(loss_fn, inner, num_steps=protocol.test_steps, batch_size=protocol.test_batch or None)
    return train(loss_fn, inner, **options), tester


def carries_state(protocol: Protocol, algorithm: str) -> bool:
    """Whether the inner optimizer's state is carried from task to task: by Reptile alone."""
    return algorithm == "reptile" and protocol.inner_state == "carried"


def load(protocol: Protocol, folder: Path, *, download: bool, seed: int) -> Splits:
    """The data set, from `folder` or a folder of its name in it."""
    name = {"omniglot": "omniglot", "miniimagenet": "mini_imagenet"}.get(protocol.dataset, "cifar100")
    place = folder / name if (folder / name).is_dir() else folder
    split, size = protocol.split, protocol.size
    if name == "omniglot":
        options: dict = {"seed": seed, "size": size, "resample": protocol.resample, "download": download}
        return jax_meta.datasets.load_omniglot(place, split=split, **options)
    if name == "mini_imagenet":
        return jax_meta.datasets.load_mini_imagenet(place, size=size)
    return jax_meta.datasets.load_cifar100(place, split=split, download=download)


def make_model(protocol: Protocol):
    if protocol.model == "dense":
        return jax_meta.models.MLP((256, 128, 64, 64), protocol.ways, normalise=True)
    if protocol.model == "resnet12":
        return jax_meta.models.ResNet12(protocol.ways)
    options = protocol.downsample, protocol.head, protocol.learned_scale
    return jax_meta.models.Conv4(protocol.ways, protocol.filters, *options)


def make_outer(protocol: Protocol, algorithm: str) -> optax.GradientTransformation:
    rate: Any = protocol.outer_learning_rate
    if protocol.outer_decay == "linear":
        rate = optax.linear_schedule(rate, 0.0, protocol.steps)
    optimizer = optax.adam(rate) if protocol.outer_optimizer == "adam" else optax.sgd(rate)
    if protocol.clip:
        optimizer = optax.chain(optax.clip(protocol.clip), optimizer)
    return jax_meta.carry_state(optimizer) if carries_state(protocol, algorithm) else optimizer


def make_samplers(protocol: Protocol, algorithm: str, splits: Splits) -> dict[str, Sampler]:
    """Of training, validation and test tasks. Transfer learning trains on queries alone, as many as it has shots."""
    tasks, shots, queries = jax_meta.tasks, protocol.train_shots, protocol.queries
    training: dict = {"shots": shots}
    training["queries"] = max(queries, shots) if algorithm == "transfer" else queries
    training["augment"] = tasks.in_turn(tasks.flip, tasks.shift) if protocol.augmented else None
    testing: dict = {"shots": protocol.shots, "queries": protocol.test_queries, "rotations": protocol.test_rotations}
    sampler = partial(make_sampler, protocol)
    tested = {"val": sampler(splits.val, **testing), "test": sampler(splits.test, **testing)}
    return {"train": sampler(splits.train, **training), **tested}


def make_sampler(protocol: Protocol, images: ClassImages, **options: Any) -> Sampler:
    """Tasks of images, from uint8 to what the network takes, as both papers do it: from 0 to 1."""
    prepare = jax_meta.tasks.inverted if protocol.inverted else jax_meta.tasks.unit_interval
    options = {"ways": protocol.ways, "rotations": protocol.rotations, **options}
    return jax_meta.tasks.episodes(images, prepare=prepare, **options)


def train(
    experiment: Experiment, state: TrainState, folder: Path, settings: dict, begin: Begin
) -> tuple[TrainState, list[dict]]:
    """Trains to the protocol's last meta-step, from the folder's newest checkpoint if there is one."""
    protocol = experiment.protocol
    at_most = max(1, protocol.steps // FEWEST_VALIDATIONS)  # so that the curves of a short run have points, too
    between_validations = max(min(PART, at_most), protocol.steps // VALIDATIONS)
    name, trained = f"{experiment.algorithm} on {protocol.dataset}", (experiment.learner, experiment.optimizer)
    with begin(name, protocol.steps) as tell:
        return jax_meta.train(
            *trained,
            experiment.samplers["train"],
            state,
            num_meta_steps=protocol.steps,
            num_tasks=protocol.tasks,
            task_batch_size=experiment.task_batch_size,
            folder=folder,
            settings=settings,
            record_every=next(part for part in range(PART, 0, -1) if between_validations % part == 0),
            validate=make_validation(experiment),
            validate_every=between_validations,
            name=name,
            report=in_words(lambda doing, now: tell(doing, now.step)),
        )


def make_validation(experiment: Experiment) -> Callable[[Any], dict[str, jax.Array]]:
    """The transductive accuracy on validation tasks, the same each time and for every seed: all of it one program."""
    steps = min(VALIDATION_STEPS, experiment.protocol.test_steps)
    options = {"num_steps": steps, "task_batch_size": experiment.task_batch_size}

    @jax.jit
    def validate(params, sampler, task_key, key):
        tasks = sampler(task_key, VALIDATION_TASKS)
        metrics = jax_meta.evaluate(experiment.tester, experiment.loss_fn, params, tasks, key, **options)
        return {"accuracy": metrics["accuracy"][:, -1].mean()}

    return lambda params: validate(params, experiment.samplers["val"], jax.random.key(1), jax.random.key(2))


def test(experiment: Experiment, params: Any, begin: Begin) -> dict[str, np.ndarray]:
    """Accuracies `[test_tasks, test_steps + 1]` on held-out classes, transductive and inductive."""
    num_tasks = experiment.protocol.test_tasks
    part = next(size for size in range(min(100, num_tasks), 0, -1) if num_tasks % size == 0)
    options: dict = {"num_steps": experiment.protocol.test_steps, "task_batch_size": experiment.task_batch_size}
    curves = jax.jit(partial(jax_meta.learning_curves, experiment.tester, experiment.measure, **options))
    parts = []
    with begin("test tasks", num_tasks) as tell:
        for index in range(num_tasks // part):
            tell("" if index else "compiles", index * part)
            task_key, key = jax.random.split(jax.random.fold_in(jax.random.key(3), index))
            parts.append(jax.tree.map(np.asarray, curves(params, experiment.samplers["test"](task_key, part), key)))
    return {name: np.concatenate([accuracies[name] for accuracies in parts]) for name in parts[0]}
