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

Rotations = Literal["none", "random", "classes"]


class Protocol(NamedTuple):
    dataset: str  # omniglot, cifar_fs, fc100 or miniimagenet
    name: str  # maml, reptile, or cpu: a shorter run than theirs
    split: Any  # which classes are for training and which for test
    resample: Literal["lanczos", "nearest"] = "nearest"  # of Omniglot, see `jax_meta.datasets.load_omniglot`
    size: int = 28  # height and width of the images, pixels
    inverted: bool = True  # whether ink is 1 and paper 0
    rotations: Rotations = "random"  # in training, see `jax_meta.tasks.sample_episodes`
    test_rotations: Rotations = "random"  # at validation and test
    augmented: bool = False  # whether training images are flipped and shifted at random
    model: str = "conv4"  # or dense, MAML's network without convolution, or resnet12
    filters: int = 64  # of conv4
    downsample: Literal["pool", "stride"] = "stride"  # of conv4
    head: Literal["flatten", "mean"] = "mean"  # of conv4
    learned_scale: bool = False  # whether normalisation has a learned scale besides its bias
    ways: int = 5  # classes in a task
    shots: int = 1  # support images of a class at test
    train_shots: int = 1  # support images of a class in training
    queries: int = 1  # query images of a class in training
    test_queries: int = 1  # query images of a class at test
    inner_optimizer: str = "sgd"  # or adam, with β1 = 0
    inner_state: Literal["fresh", "carried"] = "fresh"  # fresh for each task, or see `jax_meta.carried_reptile`
    inner_learning_rate: float = 2.0  # on the mean loss
    inner_steps: int = 1  # in training
    inner_batch: int = 0  # support images in an inner step of training; 0 for all
    inner_order: Literal["shuffled", "balanced"] = "shuffled"  # balanced: each class equally often in every inner step
    test_steps: int = 10  # inner steps measured at test
    test_batch: int = 0  # support images in an inner step at test; 0 for all
    outer_optimizer: str = "adam"  # or sgd: interpolation
    outer_learning_rate: float = 1e-3  # its first value
    outer_decay: str = "constant"  # or linear, to 0 at the last meta-step
    clip: float = 0.0  # of each entry of the outer gradient to ± this; 0 for no clip
    tasks: int = 32  # a meta-step
    steps: int = 60_000  # meta-steps
    test_tasks: int = 1_000  # tasks that the accuracy is averaged over
    transduction: str = "both reported"  # queries classified all together, and each with the support set alone


def make_protocol(dataset: str, name: str, *, algorithm: str, ways: int, shots: int) -> Protocol:
    """The protocol of that name for a data set and algorithm, with the papers' settings for so many ways and shots."""
    if name == "cpu":
        name = "cpu_reptile" if algorithm == "reptile" else "cpu_maml"
    make = {"maml": maml, "reptile": reptile, "cpu_maml": cpu_maml, "cpu_reptile": cpu_reptile}[name]
    return make(dataset, ways, shots)


def maml(dataset: str, ways: int, shots: int) -> Protocol:
    """Finn, Abbeel, Levine, arXiv:1703.03400, section 5.2, appendix A.1, and the authors' code."""
    protocol = both(dataset, "maml", ways, shots)._replace(train_shots=shots)
    if dataset == "omniglot":
        steps, tasks = (5, 16) if ways >= 20 else (1, 32)
        return protocol._replace(head="mean", queries=shots, test_queries=shots, inner_steps=steps, tasks=tasks)
    protocol = protocol._replace(queries=15, test_queries=15, inner_learning_rate=0.01 * ways, inner_steps=5)
    return protocol._replace(clip=10 / ways, tasks=2 if shots > 1 else 4)


def reptile(dataset: str, ways: int, shots: int) -> Protocol:
    """Nichol, Achiam, Schulman, arXiv:1803.02999, appendix A, and the commands of the authors' code."""
    protocol = both(dataset, "reptile", ways, shots)._replace(learned_scale=True, tasks=5, steps=100_000)
    protocol = protocol._replace(inner_optimizer="adam", inner_state="carried", inner_learning_rate=1e-3)
    protocol = protocol._replace(outer_optimizer="sgd", outer_learning_rate=1.0, outer_decay="linear")
    protocol = protocol._replace(train_shots=10, inner_batch=10, test_steps=50)
    if dataset != "omniglot":
        return protocol._replace(train_shots=15, inner_steps=8, test_batch=15 if shots > 1 else 5)
    protocol = protocol._replace(inverted=False, rotations="classes", test_rotations="none")
    if ways < 20:
        return protocol._replace(inner_steps=5, test_batch=5)
    return protocol._replace(inner_learning_rate=5e-4, inner_steps=10, inner_batch=20, test_batch=10, steps=200_000)


def cpu_maml(dataset: str, ways: int, shots: int) -> Protocol:
    """MAML's, on half its tasks a meta-step, with an outer learning rate that falls to 0: for minutes, not hours."""
    protocol = maml(dataset, ways, shots)
    tasks = max(1, protocol.tasks // 2)
    return protocol._replace(name="cpu", tasks=tasks, steps=14_000, outer_learning_rate=2e-3, outer_decay="linear")


def cpu_reptile(dataset: str, ways: int, shots: int) -> Protocol:
    """Reptile's, with SGD inside, Adam outside, and ink of 1, which learns faster: for minutes, not hours.

    Each of its inner steps is on new images, as many of each class as there are shots at test.
    """
    protocol = reptile(dataset, ways, shots)._replace(name="cpu", steps=9_000, learned_scale=False)
    protocol = protocol._replace(inverted=dataset == "omniglot", inner_order="balanced", inner_batch=ways * shots)
    protocol = protocol._replace(inner_optimizer="sgd", inner_state="fresh", inner_learning_rate=0.2)
    protocol = protocol._replace(outer_optimizer="adam", outer_learning_rate=1e-3)
    return protocol._replace(inner_steps=max(1, protocol.train_shots // shots))


def both(dataset: str, name: str, ways: int, shots: int) -> Protocol:
    """What both papers do: on mini-ImageNet, and here on CIFAR's splits, Conv4-32 with pooling, images as they are."""
    if dataset == "omniglot":
        return Protocol(dataset, name, "maml", head="flatten", ways=ways, shots=shots)
    split, size = ("ravi", 84) if dataset == "miniimagenet" else (dataset, 32)
    protocol = Protocol(dataset, name, split, size=size, inverted=False, rotations="none", test_rotations="none")
    return protocol._replace(filters=32, downsample="pool", head="flatten", ways=ways, shots=shots)
