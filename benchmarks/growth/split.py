"""A meta-step taken apart: programs that are each `jax_meta.fit` with one part more, and the differences in time.

All draw the same tasks, since `fit` draws them. Until a program computes a gradient its parameters stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from benchmarks.growth import scaling
from benchmarks.growth.scaling import Program, Setting
from benchmarks.harness.compilation import Learning, compile_fit, our_learning
from benchmarks.harness.jax_networks import our_loss
from benchmarks.harness.progress import Tell
from benchmarks.harness.results import counted
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Workload

CASES = (Setting(tasks=1), Setting(tasks=25), Setting(tasks=25, inner_steps=5))
PARTS = (
    "drawing the tasks",
    "query loss, forward",
    "inner steps on the support set",
    "back through all of it, and a plain update",
    "Adam instead of the plain update",
)


def nested_learners(workload: Workload) -> dict[str, Learning]:
    """Learner and outer optimizer of each program, by the part that it adds to the one before.

    The first two have the sum of the support set among their metrics, so that it is drawn.
    """
    loss_fn, (maml, adam) = our_loss(workload), our_learning(workload)

    def draw(params, task, key):
        return {"loss": optax.tree.sum(task.query), "support": optax.tree.sum(task.support)}

    def query_loss(params, task, key):
        return {"loss": loss_fn(params, task.query, key)[0], "support": optax.tree.sum(task.support)}

    def adapted_loss(params, task, key):
        adapt_key, loss_key = jax.random.split(key)
        return loss_fn(maml.adapt(params, task.support, adapt_key), task.query, loss_key)[1]

    def without_gradient(metrics):
        return maml._replace(gradient=lambda *inputs: (optax.tree.zeros_like(inputs[0]), metrics(*inputs)))

    programs = [(without_gradient(metrics), optax.set_to_zero()) for metrics in (draw, query_loss, adapted_loss)]
    programs += [(maml, optax.sgd(OUTER_LEARNING_RATE)), (maml, adam)]
    return dict(zip(PARTS, programs, strict=True))


def compile_programs(setting: Setting, num_steps: int) -> dict[str, Program]:
    """Every nested program at this size."""
    workload = setting.workload()
    learners = nested_learners(workload)
    return {part: compile_fit(workload, num_steps, learning=learning) for part, learning in learners.items()}


def prepare_split(cases: Sequence[Setting], seconds: float, tell: Tell) -> dict[tuple[Setting, str], Program]:
    """The programs of every case, the largest of which takes up to `seconds`."""
    programs = {}
    for setting in cases:
        tell(describe_case(setting))
        guess = scaling.FIRST_GUESS * setting.tasks * setting.inner_steps
        whole = scaling.compile_setting(setting, scaling.steps_in(seconds, guess))
        num_steps = scaling.steps_in(seconds, scaling.time_once(whole))
        programs.update({(setting, part): program for part, program in compile_programs(setting, num_steps).items()})
    return programs


def describe_case(setting: Setting) -> str:
    return f"{counted(setting.tasks, 'task')} x {counted(setting.inner_steps, 'step')}"


def describe_split(
    cases: Sequence[Setting], microseconds: Mapping[tuple[Setting, str], float]
) -> dict[str, dict[str, Any]]:
    """Of each case: the programs' times, and what each part adds, in microseconds a meta-step."""
    told = {}
    for setting in cases:
        times = [microseconds[setting, part] for part in PARTS]
        told[describe_case(setting)] = {
            "microseconds_of_programs": dict(zip(PARTS, times, strict=True)),
            "microseconds_of_parts": dict(zip(PARTS, np.diff(times, prepend=0.0).tolist(), strict=True)),
        }
    return told
