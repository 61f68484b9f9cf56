"""Meta-learning by gradient descent as pure functions of JAX.

A meta-learner is three functions, `init`, `adapt` and `gradient`; with `adapted = adapt(params, task.support)`:

| learner    | `gradient(params, task)`                                               |
|------------|------------------------------------------------------------------------|
| `transfer` | `grad(loss)(params, task.query)`                                       |
| `maml`     | `grad(lambda p: loss(adapt(p, task.support), task.query))(params)`     |
| `fomaml`   | `grad(loss)(adapted, task.query)`                                      |
| `reptile`  | `params - adapted`                                                     |
| `anil`     | that of `maml`, with `adapt` moving the head only                      |
| `meta_sgd` | that of `maml`, with respect to `(params, step_sizes)`                 |
| `imaml`    | `cg(lambda v: v + hvp(v) / strength, grad(loss)(adapted, task.query))` |
"""

from importlib.metadata import version
from pathlib import Path

from jax_meta import datasets, tasks
from jax_meta.algorithms.anil import anil
from jax_meta.algorithms.imaml import imaml
from jax_meta.algorithms.maml import fomaml, maml
from jax_meta.algorithms.meta_sgd import MetaSGDParams, meta_sgd
from jax_meta.algorithms.reptile import ReptileParams, carried_reptile, carry_state, interpolate, reptile
from jax_meta.algorithms.transfer import transfer
from jax_meta.base import AdaptFn, GradientFn, LossFn, LossGradient, MetaLearner, Sampler, Task, TrainState
from jax_meta.checks import check_finite
from jax_meta.evaluation import Estimate, estimate, evaluate, learning_curves, transduction
from jax_meta.host.sources import HostTasks, OutOfTasksError, host_tasks
from jax_meta.inner import adapt, balanced, shuffled
from jax_meta.installation import check_alone
from jax_meta.losses import classification, regression
from jax_meta.meta_step import init, meta_gradient, next_tasks, train_step
from jax_meta.networks import layers, models
from jax_meta.networks.convolution import convolution
from jax_meta.outer import fit, fit_tasks
from jax_meta.runs.checkpoints import load_state
from jax_meta.runs.compilation import cache_compilation
from jax_meta.runs.loop import train
from jax_meta.runs.records import read_records
from jax_meta.saved.files import LoadedModel, load_model, save_model

check_alone(Path(__file__).parent)

__version__ = version("jax-metalearn")

__all__ = [
    "AdaptFn",
    "Estimate",
    "GradientFn",
    "HostTasks",
    "LoadedModel",
    "LossFn",
    "LossGradient",
    "MetaLearner",
    "MetaSGDParams",
    "OutOfTasksError",
    "ReptileParams",
    "Sampler",
    "Task",
    "TrainState",
    "adapt",
    "anil",
    "balanced",
    "cache_compilation",
    "carried_reptile",
    "carry_state",
    "check_finite",
    "classification",
    "convolution",
    "datasets",
    "estimate",
    "evaluate",
    "fit",
    "fit_tasks",
    "fomaml",
    "host_tasks",
    "imaml",
    "init",
    "interpolate",
    "layers",
    "learning_curves",
    "load_model",
    "load_state",
    "maml",
    "meta_gradient",
    "meta_sgd",
    "models",
    "next_tasks",
    "read_records",
    "regression",
    "reptile",
    "save_model",
    "shuffled",
    "tasks",
    "train",
    "train_step",
    "transduction",
    "transfer",
]


def __dir__() -> list[str]:
    """What tab completion offers: the public names, and no module of the library's own workings."""
    return [*__all__, "__version__"]
