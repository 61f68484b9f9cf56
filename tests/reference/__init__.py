"""The algorithms once more, in PyTorch and from the papers' equations: what `jax_meta` is compared with.

Nothing is clever here: parameters are a dict of tensors, models are functions, tasks and steps are Python loops, and
every derivative is `torch.autograd`.
"""

from tests.reference.convert import torch_params, torch_tasks
from tests.reference.inner import adam, momentum, sgd
from tests.reference.learners import fit, fomaml, maml, meta_gradient, published, reptile, transfer
from tests.reference.models import attention, convolution, cross_entropy, mlp, squared_error

__all__ = [
    "adam",
    "attention",
    "convolution",
    "cross_entropy",
    "fit",
    "fomaml",
    "maml",
    "meta_gradient",
    "mlp",
    "momentum",
    "published",
    "reptile",
    "sgd",
    "squared_error",
    "torch_params",
    "torch_tasks",
    "transfer",
]
