"""What people download, read into `ClassImages`: images by class, to draw tasks from."""

from jax_meta.datasets.cifar100 import load_cifar100
from jax_meta.datasets.image_folder import load_image_folder
from jax_meta.datasets.images import ClassImages, Splits, select, select_names
from jax_meta.datasets.mini_imagenet import load_mini_imagenet
from jax_meta.datasets.omniglot import load_omniglot

__all__ = [
    "ClassImages",
    "Splits",
    "load_cifar100",
    "load_image_folder",
    "load_mini_imagenet",
    "load_omniglot",
    "select",
    "select_names",
]


def __dir__() -> list[str]:
    return __all__
