"""Time per meta-step as one quantity grows and the others stay, and the exponent of its growth."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import jax_meta
from benchmarks.harness.compilation import Program, compile_fit
from benchmarks.harness.progress import Tell
from benchmarks.harness.rounds import median_seconds, timed
from benchmarks.harness.workloads import Workload, sine

FIRST_GUESS = 100.0
MOST_STEPS = 2**14


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


BASE = Setting()
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


def compile_setting(setting: Setting, num_steps: int) -> Program:
    return compile_fit(setting.workload(), num_steps)


def steps_in(seconds: float, microseconds: float) -> int:
    """How many meta-steps of so many microseconds fit in the seconds: a power of 2, which splits evenly in parts."""
    fitting = max(1.0, min(MOST_STEPS, seconds * 1e6 / microseconds))
    return int(2 ** np.floor(np.log2(fitting)))


def time_once(program: Program) -> float:
    """Microseconds a meta-step in one call, after one to warm up; FloatingPointError if it trained to NaN."""
    _, history = jax.block_until_ready(program.run())
    jax_meta.check_finite(history)
    return timed(program.run) / program.num_steps * 1e6


def prepare(scans: Mapping[str, Sequence[int]], seconds: float, tell: Tell) -> dict[Setting, Program]:
    """Compiles every setting with as many meta-steps as take up to `seconds`, guessed from the setting before it."""
    programs: dict[Setting, Program] = {}
    for name, values in scans.items():
        guess, before = FIRST_GUESS, getattr(BASE, name)
        for value in sorted(values):
            setting = BASE._replace(**{name: value})
            if setting in programs:
                continue
            tell(f"{name.replace('_', ' ')} {value:,}")
            guess *= max(1.0, value / before) ** getattr(POWERS, name)
            programs[setting] = compile_setting(setting, steps_in(seconds, guess))
            guess, before = time_once(programs[setting]), value
    return programs


def measure(programs: Mapping[Any, Program], repeats: int, tell: Tell) -> dict[Any, float]:
    """Median microseconds a meta-step of each program; all take turns."""
    runs = {key: program.run for key, program in programs.items()}
    seconds = median_seconds(runs, repeats, lambda doing: tell(f"round {doing.rpartition(' ')[2]}"))
    return {key: seconds[key] / program.num_steps * 1e6 for key, program in programs.items()}


def describe_scans(
    scans: Mapping[str, Iterable[int]], programs: Mapping[Setting, Program], microseconds: Mapping[Setting, float]
) -> dict[str, dict[str, Any]]:
    """For each quantity that was varied: times, compile seconds and exponents."""
    told = {}
    for name, values in scans.items():
        settings = {value: BASE._replace(**{name: value}) for value in sorted(values)}
        times = [microseconds[setting] for setting in settings.values()]
        told[name] = {
            "values": list(settings),
            "microseconds": times,
            "compile_seconds": [programs[setting].compile_seconds for setting in settings.values()],
            "meta_steps_in_a_turn": [programs[setting].num_steps for setting in settings.values()],
            "local_exponents": local_exponents(list(settings), times),
            "fit": fit_exponent(list(settings), times)._asdict(),
        }
    return told
