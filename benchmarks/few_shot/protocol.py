"""Protocols: all that reproductions of the papers silently differ in, by name.

What the authors' codes do, and their papers leave out:

- MAML's inner loss on images is a sum over the ways (of a mean over the shots), and ours a mean: its α of 0.4 at 5 ways
  is 2.0 here, its 0.1 at 20 ways 2.0, and its 0.01 on mini-ImageNet 0.05. Its outer loss is that sum, too, so that its
  clip of each outer gradient to ±10 on mini-ImageNet is one to ±10 / ways here.
- MAML inverts Omniglot (ink is 1) and turns each class of a task by a random quarter turn, in training and at test.
  Its queries are as many as its shots. Its normalisation always uses the batch at hand: it is transductive.
- Reptile does not invert, makes four classes of each character in training, and turns nothing at test. Its tests have
  one query a class. Its inner Adam has β1 = 0 and keeps its second moment from task to task, at test, too: fresh, its
  first step would be ±α whatever the gradient. Its outer step falls linearly from 1 to 0 over the run.
"""

from typing import Any, Literal, NamedTuple


class Protocol(NamedTuple):
    """All that fixes an experiment but its seed.

    Attributes:
        dataset: omniglot, cifar_fs, fc100 or miniimagenet.
        name: maml, reptile, or cpu: a shorter run than theirs.
        split: which classes are for training and which for test.
        resample: how Omniglot's images are resized, see `jax_meta.datasets.load_omniglot`.
        size: height and width of the images, pixels.
        inverted: whether ink is 1 and paper 0.
        rotations: in training, see `jax_meta.tasks.sample_episodes`.
        test_rotations: at validation and test.
        augmented: whether training images are flipped and shifted at random.
        model: conv4, dense (MAML's network without convolution) or resnet12.
        filters: of conv4.
        downsample: of conv4, pool or stride.
        head: of conv4, flatten or mean.
        learned_scale: whether normalisation has a learned scale besides its bias.
        ways: classes in a task.
        shots: support images of a class at test.
        train_shots: support images of a class in training.
        queries: query images of a class in training.
        test_queries: query images of a class at test.
        inner_optimizer: sgd, or adam with β1 = 0.
        inner_state: fresh for each task, or carried from task to task, see `jax_meta.carried_reptile`.
        inner_learning_rate: on the mean loss.
        inner_steps: in training.
        inner_batch: support images in an inner step of training; 0 for all.
        inner_order: of the images of a pass, shuffled, or balanced: each class equally often in every inner step.
        test_steps: inner steps measured at test.
        test_batch: support images in an inner step at test; 0 for all.
        outer_optimizer: adam, or sgd: interpolation.
        outer_learning_rate: its first value.
        outer_decay: constant, or linear, to 0 over the run.
        clip: each entry of the outer gradient to ± this; 0 for no clip.
        tasks: a meta-step.
        steps: meta-steps.
        test_tasks: tasks that the accuracy is averaged over.
        transduction: the table has both: queries classified all together, and each with the support set alone.
    """

    dataset: str
    name: str
    split: Any
    resample: Literal["lanczos", "nearest"] = "nearest"
    size: int = 28
    inverted: bool = True
    rotations: Literal["none", "random", "classes"] = "random"
    test_rotations: Literal["none", "random", "classes"] = "random"
    augmented: bool = False
    model: str = "conv4"
    filters: int = 64
    downsample: Literal["pool", "stride"] = "stride"
    head: Literal["flatten", "mean"] = "mean"
    learned_scale: bool = False
    ways: int = 5
    shots: int = 1
    train_shots: int = 1
    queries: int = 1
    test_queries: int = 1
    inner_optimizer: str = "sgd"
    inner_state: Literal["fresh", "carried"] = "fresh"
    inner_learning_rate: float = 2.0
    inner_steps: int = 1
    inner_batch: int = 0
    inner_order: Literal["shuffled", "balanced"] = "shuffled"
    test_steps: int = 10
    test_batch: int = 0
    outer_optimizer: str = "adam"
    outer_learning_rate: float = 1e-3
    outer_decay: str = "constant"
    clip: float = 0.0
    tasks: int = 32
    steps: int = 60_000
    test_tasks: int = 1_000
    transduction: str = "both reported"


def make_protocol(dataset: str, name: str, *, algorithm: str, ways: int, shots: int) -> Protocol:
    """The protocol of that name for a data set and algorithm, with the papers' settings for so many ways and shots."""
    if name == "cpu":
        name = "cpu_reptile" if algorithm == "reptile" else "cpu_maml"
    make = {"maml": maml, "reptile": reptile, "cpu_maml": cpu_maml, "cpu_reptile": cpu_reptile}[name]
    return make(dataset, ways, shots)


def maml(dataset: str, ways: int, shots: int) -> Protocol:
    """Finn, Abbeel, Levine, arXiv:1703.03400, section 5.2, appendix A.1, and the authors' code."""
    if dataset == "omniglot":
        many = ways >= 20
        return Protocol(
            dataset,
            "maml",
            "maml",
            ways=ways,
            shots=shots,
            train_shots=shots,
            queries=shots,
            test_queries=shots,
            inner_steps=5 if many else 1,
            tasks=16 if many else 32,
        )
    return colour(dataset, "maml", ways, shots)._replace(
        train_shots=shots,
        queries=15,
        test_queries=15,
        inner_learning_rate=0.01 * ways,
        inner_steps=5,
        clip=10 / ways,
        tasks=2 if shots > 1 else 4,
    )


def reptile(dataset: str, ways: int, shots: int) -> Protocol:
    """Nichol, Achiam, Schulman, arXiv:1803.02999, appendix A, and the commands of the authors' code."""
    many = ways >= 20
    protocol = (
        Protocol(
            dataset,
            "reptile",
            "maml",
            inverted=False,
            rotations="classes",
            test_rotations="none",
            head="flatten",
            ways=ways,
            shots=shots,
            train_shots=10,
            inner_learning_rate=5e-4 if many else 1e-3,
            inner_steps=10 if many else 5,
            inner_batch=20 if many else 10,
            test_batch=10 if many else 5,
            steps=200_000 if many else 100_000,
        )
        if dataset == "omniglot"
        else colour(dataset, "reptile", ways, shots)._replace(
            train_shots=15,
            inner_learning_rate=1e-3,
            inner_steps=8,
            inner_batch=10,
            test_batch=15 if shots > 1 else 5,
            steps=100_000,
        )
    )
    return protocol._replace(
        learned_scale=True,
        queries=1,
        test_queries=1,
        inner_optimizer="adam",
        inner_state="carried",
        test_steps=50,
        outer_optimizer="sgd",
        outer_learning_rate=1.0,
        outer_decay="linear",
        tasks=5,
    )


def cpu_maml(dataset: str, ways: int, shots: int) -> Protocol:
    """MAML's, on half its tasks a meta-step, with an outer learning rate that falls to 0: for minutes, not hours."""
    protocol = maml(dataset, ways, shots)
    return protocol._replace(
        name="cpu", tasks=max(1, protocol.tasks // 2), steps=14_000, outer_learning_rate=2e-3, outer_decay="linear"
    )


def cpu_reptile(dataset: str, ways: int, shots: int) -> Protocol:
    """Reptile's, with SGD inside, Adam outside, and ink of 1, which learns faster: for minutes, not hours.

    Each of its inner steps is on new images, as many of each class as there are shots at test.
    """
    protocol = reptile(dataset, ways, shots)
    return protocol._replace(
        name="cpu",
        inverted=dataset == "omniglot",
        learned_scale=False,
        inner_optimizer="sgd",
        inner_state="fresh",
        inner_learning_rate=0.2,
        inner_steps=max(1, protocol.train_shots // shots),
        inner_batch=ways * shots,
        inner_order="balanced",
        outer_optimizer="adam",
        outer_learning_rate=1e-3,
        steps=9_000,
    )


def colour(dataset: str, name: str, ways: int, shots: int) -> Protocol:
    """What both papers do on mini-ImageNet, here for CIFAR's splits, too: Conv4-32 with pooling, images as they are."""
    return Protocol(
        dataset,
        name,
        "ravi" if dataset == "miniimagenet" else dataset,
        size=84 if dataset == "miniimagenet" else 32,
        inverted=False,
        rotations="none",
        test_rotations="none",
        filters=32,
        downsample="pool",
        head="flatten",
        ways=ways,
        shots=shots,
    )
