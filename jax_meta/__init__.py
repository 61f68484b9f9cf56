"""Meta-learning by gradient descent as pure functions of JAX.

A meta-learner is three functions, `init`, `adapt` and `gradient`; with `adapted = adapt(params, task.support)`:

| learner          | `gradient(params, task)`                                                      |
|------------------|-------------------------------------------------------------------------------|
| `transfer`       | `grad(loss)(params, task.query)`                                              |
| `maml`           | `grad(lambda p: loss(adapt(p, task.support), task.query))(params)`            |
| `fomaml`         | `grad(loss)(adapted, task.query)`                                             |
| `reptile`        | `params - adapted`                                                            |
| `anil`           | that of `maml`, with `adapt` moving the head only                             |
| `boil`           | that of `maml`, with `adapt` moving all but the head                          |
| `cavia`          | that of `maml`, with `adapt` moving a context only, from zero                 |
| `proto_maml`     | that of `maml`, with `adapt` from a head of the support set's prototypes      |
| `meta_optimizer` | that of `maml`, with respect to `params` and any parameters of the optimizer  |
| `meta_sgd`       | the same, of a step size for each number                                      |
| `maml_plus_plus` | the same, of a step size for each tensor and step; losses after all steps     |
| `meta_curvature` | the same, of matrices that transform each tensor's gradient                   |
| `kfo`            | the same, of matrices that adapt themselves                                   |
| `lstm_optimizer` | the same, of an LSTM that makes the steps; the sum of losses along the way    |
| `protonet`       | `grad(lambda p: loss(with_head(p, prototypes(p, support)), task.query))(p)`   |
| `r2d2`           | the same, with the head that ridge regression gives                           |
| `imaml`          | `cg(lambda v: v + hvp(v) / strength, grad(loss)(adapted, task.query))`        |
| `leap`           | that of the length of the way from `params` to `adapted` on the loss surface  |
| `warpgrad`       | of warp layers: that of the loss one step from each point of the way          |
| `es_maml`        | that of `maml`, estimated from values of the loss at random points            |
"""

from importlib.metadata import version
from pathlib import Path

from jax_meta import datasets, tasks
from jax_meta.algorithms.anil import anil
from jax_meta.algorithms.boil import boil
from jax_meta.algorithms.cavia import cavia
from jax_meta.algorithms.es_maml import es_maml
from jax_meta.algorithms.imaml import imaml
from jax_meta.algorithms.kfo import KFOParams, kfo
from jax_meta.algorithms.leap import leap
from jax_meta.algorithms.lstm_optimizer import LSTMOptimizerParams, lstm_optimizer
from jax_meta.algorithms.maml import fomaml, maml
from jax_meta.algorithms.maml_plus_plus import MAMLPlusPlusParams, maml_plus_plus, multi_step_weights
from jax_meta.algorithms.meta_curvature import MetaCurvatureParams, meta_curvature
from jax_meta.algorithms.meta_optimizer import OptimizerParams, meta_optimizer
from jax_meta.algorithms.meta_sgd import MetaSGDParams, meta_sgd
from jax_meta.algorithms.proto_maml import proto_maml
from jax_meta.algorithms.protonet import protonet
from jax_meta.algorithms.r2d2 import R2D2Params, r2d2
from jax_meta.algorithms.reptile import ReptileParams, carried_reptile, carry_state, interpolate, reptile
from jax_meta.algorithms.transfer import transfer
from jax_meta.algorithms.warpgrad import warpgrad
from jax_meta.base import AdaptFn, GradientFn, LossFn, LossGradient, MetaLearner, Sampler, Task, TrainState
from jax_meta.checks import check_finite
from jax_meta.estimates import Estimate, estimate
from jax_meta.evaluation import evaluate, learning_curves, transduction
from jax_meta.fine_tuning import FineTuningHistory, fine_tune
from jax_meta.host.sources import HostTasks, OutOfTasksError, host_tasks
from jax_meta.inner import adapt, balanced, shuffled
from jax_meta.installation import check_alone
from jax_meta.losses import classification, regression
from jax_meta.meta_step import init, meta_gradient, next_tasks, train_step
from jax_meta.networks import layers, models
from jax_meta.networks.convolution import convolution
from jax_meta.outer import fit, fit_tasks
from jax_meta.runs.compilation import cache_compilation
from jax_meta.runs.loading import load_state
from jax_meta.runs.loop import train
from jax_meta.runs.records import read_records
from jax_meta.saved.files import LoadedModel, load_model, save_model

check_alone(Path(__file__).parent)

__version__ = version("jax-metalearn")

__all__ = [
    "AdaptFn",
    "Estimate",
    "FineTuningHistory",
    "GradientFn",
    "HostTasks",
    "KFOParams",
    "LSTMOptimizerParams",
    "LoadedModel",
    "LossFn",
    "LossGradient",
    "MAMLPlusPlusParams",
    "MetaCurvatureParams",
    "MetaLearner",
    "MetaSGDParams",
    "OptimizerParams",
    "OutOfTasksError",
    "R2D2Params",
    "ReptileParams",
    "Sampler",
    "Task",
    "TrainState",
    "adapt",
    "anil",
    "balanced",
    "boil",
    "cache_compilation",
    "carried_reptile",
    "carry_state",
    "cavia",
    "check_finite",
    "classification",
    "convolution",
    "datasets",
    "es_maml",
    "estimate",
    "evaluate",
    "fine_tune",
    "fit",
    "fit_tasks",
    "fomaml",
    "host_tasks",
    "imaml",
    "init",
    "interpolate",
    "kfo",
    "layers",
    "leap",
    "learning_curves",
    "load_model",
    "load_state",
    "lstm_optimizer",
    "maml",
    "maml_plus_plus",
    "meta_curvature",
    "meta_gradient",
    "meta_optimizer",
    "meta_sgd",
    "models",
    "multi_step_weights",
    "next_tasks",
    "proto_maml",
    "protonet",
    "r2d2",
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
    "warpgrad",
]


def __dir__() -> list[str]:
    """What tab completion offers: the public names, and no module of the library's own workings."""
    return [*__all__, "__version__"]
