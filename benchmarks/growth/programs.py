"""The programs that are timed: `fit` as one size grows and the others stay; and with one part of a meta-step more each.

The programs of the parts draw the same tasks, since `fit` draws them. Until one computes a gradient its parameters stay
as they are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jax_meta
from benchmarks.harness.jax_networks import Learning, Program, compile_fit, our_learning, our_loss
from benchmarks.harness.results import counted
from benchmarks.harness.rounds import Tell, median_seconds, timed
from benchmarks.harness.workloads import OUTER_LEARNING_RATE, Workload, sine

FIRST_GUESS = 100.0
MOST_STEPS = 2**14
PARTS = (
    "drawing the tasks",
    "query loss, forward",
    "inner steps on the support set",
    "back through all of it, and a plain update",
    "Adam instead of the plain update",
)


class Setting(NamedTuple):
    """A size of the problem; the defaults are the base around which one at a time is varied."""

    tasks: int = 4  # tasks a meta-step
    inner_steps: int = 1
    shots: int = 10  # support points, and as many queries
    width: int = 40  # of both hidden layers

    def workload(self) -> Workload:
        """Second-order MAML on sines of this size, with steps so small that a hundred do not diverge."""
        workload = sine(self.tasks, self.inner_steps, width=self.width)
        return workload._replace(shots=self.shots, queries=self.shots, learning_rate=1e-3)

    def __str__(self) -> str:
        return f"{counted(self.tasks, 'task')} x {counted(self.inner_steps, 'step')}"


BASE = Setting()
CASES = (Setting(tasks=1), Setting(tasks=25), Setting(tasks=25, inner_steps=5))
"""Those whose meta-step is split into its parts."""
POWERS = Setting(tasks=1, inner_steps=1, shots=1, width=2)
"""At most so does the work grow with each: a guess that keeps the first run of a setting short."""


class Fit(NamedTuple):
    """The power law `constant * value**exponent`, fitted to values of `lowest` and above."""

    exponent: float
    constant: float
    lowest: float


def fit_exponent(values: Sequence[float], times: Sequence[float]) -> Fit:
    """Least squares in the logarithms over the upper half of the range, in logarithms, and over two values at least."""
    log_values, log_times = np.log(values), np.log(times)
    middle = (log_values.min() + log_values.max()) / 2
    count = max(2, int((log_values >= middle - 1e-9).sum()))
    upper = np.argsort(log_values)[-count:]
    exponent, intercept = np.polyfit(log_values[upper], log_times[upper], 1)
    return Fit(float(exponent), float(np.exp(intercept)), float(np.asarray(values)[upper[0]]))


def local_exponents(values: Sequence[float], times: Sequence[float]) -> list[float]:
    """The slope between each pair of neighbours."""
    return (np.diff(np.log(times)) / np.diff(np.log(values))).tolist()


def steps_in(seconds: float, microseconds: float) -> int:
    """How many meta-steps of so many microseconds fit in the seconds: a power of 2, which splits evenly in parts."""
    fitting = max(1.0, min(MOST_STEPS, seconds * 1e6 / microseconds))
    return int(2 ** np.floor(np.log2(fitting)))


def compile_setting(setting: Setting, num_steps: int) -> Program:
    return compile_fit(setting.workload(), num_steps)


def time_once(program: Program) -> float:
    """Microseconds a meta-step in one call, after one to warm up; FloatingPointError if it trained to NaN."""
    jax_meta.check_finite(program.run()[1])
    return timed(program.run) / program.num_steps * 1e6


def prepare(scans: dict[str, list[int]], seconds: float, tell: Tell) -> dict[Setting, Program]:
    """Compiles every setting with as many meta-steps as take up to `seconds`, guessed from the setting before it."""
    programs: dict[Setting, Program] = {}
    for name, values in scans.items():
        guess, before = FIRST_GUESS, getattr(BASE, name)
        for value in sorted(values):
            setting = BASE._replace(**{name: value})
            if setting not in programs:
                tell(f"{name.replace('_', ' ')} {value:,}")
                guess *= max(1.0, value / before) ** getattr(POWERS, name)
                programs[setting] = compile_setting(setting, steps_in(seconds, guess))
                guess, before = time_once(programs[setting]), value
    return programs


def nested_learners(workload: Workload) -> dict[str, Learning]:
    """By the part that each program adds to the one before; the first two sum the support set, so that it is drawn."""
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


def compile_parts(setting: Setting, num_steps: int) -> dict[str, Program]:
    workload = setting.workload()
    learners = nested_learners(workload)
    return {part: compile_fit(workload, num_steps, learning=learning) for part, learning in learners.items()}


def prepare_split(cases: Sequence[Setting], seconds: float, tell: Tell) -> dict[tuple[Setting, str], Program]:
    """The programs of every case, the largest of which takes up to `seconds`."""
    programs = {}
    for setting in cases:
        tell(str(setting))
        whole = compile_setting(setting, steps_in(seconds, FIRST_GUESS * setting.tasks * setting.inner_steps))
        parts = compile_parts(setting, steps_in(seconds, time_once(whole)))
        programs.update({(setting, part): program for part, program in parts.items()})
    return programs


def measure(programs: dict[Any, Program], repeats: int, tell: Tell) -> dict[Any, float]:
    """Median microseconds a meta-step of each program; all take turns."""
    runs = {key: program.run for key, program in programs.items()}
    seconds = median_seconds(runs, repeats, lambda doing: tell(f"round {doing.rpartition(' ')[2]}"))
    return {key: seconds[key] / program.num_steps * 1e6 for key, program in programs.items()}


def describe_scans(
    scans: dict[str, list[int]], programs: dict[Setting, Program], microseconds: dict[Setting, float]
) -> dict[str, dict]:
    told = {}
    for name, scanned in scans.items():
        values = sorted(scanned)
        settings = [BASE._replace(**{name: value}) for value in values]
        times = [microseconds[setting] for setting in settings]
        told[name] = {
            "values": values,
            "microseconds": times,
            "compile_seconds": [programs[setting].compile_seconds for setting in settings],
            "meta_steps_in_a_turn": [programs[setting].num_steps for setting in settings],
            "local_exponents": local_exponents(values, times),
            "fit": fit_exponent(values, times)._asdict(),
        }
    return told


def describe_split(cases: Sequence[Setting], microseconds: dict[tuple[Setting, str], float]) -> dict[str, dict]:
    """Of each case: the programs' times, and what each part adds, in microseconds a meta-step."""
    told = {}
    for setting in cases:
        times = [microseconds[setting, part] for part in PARTS]
        told[str(setting)] = {
            "microseconds_of_programs": dict(zip(PARTS, times, strict=True)),
            "microseconds_of_parts": dict(zip(PARTS, np.diff(times, prepend=0.0).tolist(), strict=True)),
        }
    return told
