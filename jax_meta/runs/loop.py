"""`train`: the loop on the host around the compiled `fit`."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jax_meta.base import LossGradient, MetaLearner, Metrics, Params, Sampler, TrainState
from jax_meta.devices import replicate
from jax_meta.host.ahead import running
from jax_meta.host.sources import HostTasks, OutOfTasksError, as_argument
from jax_meta.outer import fit_unchecked
from jax_meta.runs import failure, interrupts
from jax_meta.runs.arrays import step_of
from jax_meta.runs.checkpoints import Score, accuracy_or_loss
from jax_meta.runs.files import Run, RunFiles, open_files
from jax_meta.runs.identity import identify, trace_step
from jax_meta.runs.plan import Plan, is_validated, make_plan
from jax_meta.runs.processes import agreed, ends_together, is_main
from jax_meta.runs.progress import Progress, Report, shown
from jax_meta.runs.records import Record, check_names, summarise
from jax_meta.runs.seeds import check_seeds, fit_seeds
from jax_meta.sampling import check_sampler

Validate = Callable[[Params], Mapping[str, Any]]


def train(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler | HostTasks,
    state: TrainState,
    *,
    num_meta_steps: int,
    num_tasks: int = 1,
    task_batch_size: int | None = None,
    mesh: Mesh | None = None,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    record_every: int | None = None,
    validate: Validate | None = None,
    validate_every: int | None = None,
    score: Score = accuracy_or_loss,
    keep: int = 2,
    save_seconds: float = 60.0,
    non_finite: Literal["stop", "skip"] = "stop",
    tensorboard: bool = False,
    name: str | None = None,
    report: Report | None = None,
    fit: Callable[..., tuple[TrainState, Metrics]] = fit_unchecked,
) -> tuple[TrainState, list[Record]]:
    """Meta-trains up to meta-step `num_meta_steps`, in parts, each a compiled `fit`; what is done is never lost.

    Between the parts it shows progress, writes metrics, validates and saves. The same call again goes on from the
    newest checkpoint in `folder`, and ends in the very parameters and metrics, bit for bit, of a run that was never
    stopped. SIGTERM and Ctrl-C save first, and then do what they do (a second one does not wait).

    In `folder`: `metrics.jsonl`, a line a record; `times.jsonl`, the seconds since the start, pauses left out;
    `progress.log`, the lines of progress; `run.json`, what the run is; `checkpoints/`, by Orbax.

    A folder is of one run. Before anything is compiled, the meta-step is traced, and a digest of its program, of all
    arrays in it, of the sampler's and of the state is compared with the folder's: a run of another learner, loss,
    optimizer, sampler, data set or first state is refused. That costs about a tenth of what compiling does, and a pass
    of SHA-256 over the arrays. Not compared are `task_batch_size`, the mesh, and when what is recorded. Another
    `validate` does not change the training: the run goes on, and says that its validations are not those of before.
    Digests are of one version of the libraries and one kind of device: with another, which is told, the numbers and
    names that the functions were made with are compared.

    Args:
        learner: the algorithm.
        optimizer: the outer optimizer.
        sample_tasks: as in `jax_meta.fit`, or `jax_meta.host_tasks`, which says what a stopped run needs to go on.
        state: from `jax_meta.init`; where the folder has a checkpoint, that takes its place. To train many networks at
            once, each with tasks of its own key, one whose leaves have a leading `[seeds]`, as `jax.vmap` of
            `jax_meta.init` makes it: the metrics are then means over the seeds, too, and `validate` is given all.
        num_meta_steps: the meta-step to reach. A finished run goes on when a later call asks for more.
        num_tasks: tasks a meta-step. Default: 1.
        task_batch_size: as in `jax_meta.meta_gradient`.
        mesh: as in `jax_meta.fit`. It may span the devices of several processes, all of which call `train`: the first
            writes, and when one is lost the others end with exit code 1, to be started again, in any number. Give
            `jax.distributed.initialize` a `heartbeat_timeout_seconds` to bound the time in which a loss is noticed.
        folder: of this run alone; made if missing. Default: nothing is written.
        settings: what else makes this run this run, such as a protocol, as JSON holds it. A folder whose run differs in
            these is refused, naming them.
        record_every: meta-steps a part; their mean metrics are one record. Default: a 200th of `num_meta_steps`.
        validate: `(params) -> {name: scalar}`, recorded as `val_<name>`. Default: none.
        validate_every: meta-steps between validations, a multiple of `record_every`; the end is validated, too.
            Default: ten records.
        score: of a validation's metrics, the larger the better; the checkpoint of the best is kept, see
            `jax_meta.load_state`. Default: the accuracy, or minus the loss; of others none is the best.
        keep: the newest checkpoints kept. Default: 2.
        save_seconds: save at the first part that ends so long after the last save, besides every `validate_every`
            meta-steps, at the end, and when stopped. Default: 60.
        non_finite: "stop" where a metric or a parameter is NaN or infinite, or "skip", for an optimizer that is an
            `optax.apply_if_finite`: its updates are left out, and counted as `skipped` in the records.
        tensorboard: write event files, too, into `folder/tensorboard`; needs the extra `tensorboard`.
        name: what messages call the run. Default: the learner's.
        report: is told a `Progress` after each part. Default: a bar, or, where there is no terminal, a line for each
            validation and at least every half minute.
        fit: takes the meta-steps of a part, with the signature of `jax_meta.fit`. Default: that. What one of your own
            does is not known: its folder is told apart by the numbers and names that the learner, the optimizer and
            the sampler were made with, so put what else it depends on into `settings`.

    Returns:
        The state after the last step, and the records, dicts with `step` and the mean of each metric.

    Raises:
        ValueError: for options out of range, a metric called `step`, and as in `jax_meta.fit`, before anything
            runs; for a folder of another run, naming what differs, of one that is beyond `num_meta_steps`, and of none
            that has files under the names of a run's.
        FloatingPointError: under "stop", naming the meta-step, and how to draw its tasks again; the last finite state
            is saved in `folder/last_finite`.
        OSError: if the folder is in use or cannot be written; what was saved before stays.
        OutOfTasksError: if tasks of the host end early; what was learned until then is recorded and saved.

    Example:
        >>> import jax, jax.numpy as jnp, jax_meta, optax, tempfile
        >>> from jax_meta.tasks import sinusoid
        >>> learner = jax_meta.maml(jax_meta.regression(lambda a, x: a * jnp.sin(x)), optax.sgd(0.1), num_steps=1)
        >>> state = jax_meta.init(learner, optax.sgd(0.1), jnp.zeros(()), jax.random.key(0))
        >>> options = {"folder": tempfile.mkdtemp(), "report": lambda progress: None}
        >>> state, records = jax_meta.train(
        ...     learner, optax.sgd(0.1), sinusoid.sample_tasks, state, num_meta_steps=4, **options
        ... )
        >>> assert state.step == 4 and records == jax_meta.read_records(options["folder"])
    """
    plan = make_plan(num_meta_steps, record_every, validate_every if validate else None, save_seconds)
    if keep < 1:
        raise ValueError(f"keep must be 1 or more, got {keep}.")
    failure.check_policy(non_finite, state)
    check_seeds(state)
    if step_of(state) > num_meta_steps:
        raise ValueError(
            f"the state is at meta-step {step_of(state)}, beyond the {num_meta_steps} asked for: ask for more."
        )
    check_metrics = partial(check_names, validated=validate is not None, skips=failure.skipped(state) is not None)
    sampler, traced = as_argument(sample_tasks), None  # what the host does, or a `fit` of the user's own, is not known
    functions = {"learner": learner.gradient, "optimizer": optimizer.update, "sampler": sample_tasks}
    looked_at = folder is None and getattr(jax.config, "jax_disable_jit", False)  # which is how one looks at numbers
    if isinstance(sampler, HostTasks):
        functions["sampler"] = "tasks of the host"
    elif fit is fit_unchecked and not looked_at:
        check_sampler(sampler, state.key.reshape(-1)[0] if np.ndim(state.step) else state.key, num_tasks)
        traced = trace_step(learner, optimizer, sampler, state, num_tasks)
        check_metrics(traced.out_info[1])
    if fit is fit_unchecked and np.ndim(state.step):
        fit = fit_seeds
    described = {**(settings or {}), "num_tasks": num_tasks}
    asked = Run(
        name or name_of(learner), described, partial(identify, traced, functions, validate, sampler), num_meta_steps
    )
    sample_tasks, state = replicate((sampler, state), mesh)

    def take(state: TrainState, count: int) -> tuple[TrainState, Metrics]:
        options: dict[str, Any] = {"num_tasks": num_tasks, "task_batch_size": task_batch_size, "mesh": mesh}
        if isinstance(sampler, HostTasks) and fit is fit_unchecked:
            options["look"] = check_metrics
        return fit(learner, optimizer, sample_tasks, state, num_meta_steps=count, **options)

    def advance(state: TrainState, count: int) -> tuple[TrainState, Metrics]:
        ended = None
        try:
            following, history = jax.block_until_ready(take(state, count))
        except OutOfTasksError as error:
            ended, following, history = error, error.state, error.history
        if not failure.is_finite(following, history, non_finite):
            last, again = state, not isinstance(sampler, HostTasks) or sampler.seek is None
            if again:
                last, history = failure.find_failure(take, state, count, non_finite)
            place = None if folder is None else Path(folder)
            raise failure.stop(asked.name, last, history, place, num_tasks, again=again)
        if ended:
            raise ended
        return following, history

    with ExitStack() as stack:
        files = stack.enter_context(open_files(folder, asked, state, keep=keep, tensorboard=tensorboard))
        tell = stack.enter_context(shown(asked.name, report if is_main() else lambda progress: None, files.log))
        received = stack.enter_context(interrupts.noted_signals())
        stack.enter_context(ends_together())
        if isinstance(sample_tasks, HostTasks):
            sample_tasks = stack.enter_context(running(sample_tasks, state, end=num_meta_steps))
        state, signal = run(plan, files, state, advance, partial(measure, plan, validate, score), tell, received)
    if signal:
        interrupts.act(signal)
    return state, files.records


def run(
    plan: Plan,
    files: RunFiles,
    state: TrainState,
    advance: Callable[[TrainState, int], tuple[TrainState, Metrics]],
    measure: Callable[[TrainState, Metrics], tuple[Record, float | None]],
    tell: Report,
    received: list[int],
) -> tuple[TrainState, int]:
    """The loop: the state that it reached, and the signal that ended it early, or 0."""
    state = files.resume(state)
    saved, saved_step = time.monotonic(), step_of(state)
    tell(Progress(step_of(state), plan.num_meta_steps, 0.0, files.records[-1] if files.records else {}))
    while (begin := step_of(state)) < plan.num_meta_steps:
        target = min(plan.num_meta_steps, (begin // plan.record_every + 1) * plan.record_every)
        start = time.monotonic()
        try:
            state, history = advance(state, target - begin)
        except OutOfTasksError as ended:
            if step_of(ended.state) > begin:
                record, score = measure(ended.state, ended.history)
                files.record(record, time.monotonic() - start)
                files.save(ended.state, score)
            elif begin > saved_step:
                files.save(state, None)
            raise
        speed = (target - begin) / (time.monotonic() - start)
        record, score = measure(state, history)
        files.record(record, time.monotonic() - start)
        late = time.monotonic() - saved >= plan.save_seconds
        signal, is_late = agreed(max(received, default=0), late)
        if signal or is_late or is_validated(plan, target):
            files.save(state, score)
            saved, saved_step = time.monotonic(), target
        tell(Progress(target, plan.num_meta_steps, speed, record))
        if signal:
            return state, int(signal)
    return state, 0


def measure(
    plan: Plan, validate: Validate | None, score: Score, state: TrainState, history: Metrics
) -> tuple[Record, float | None]:
    """The record of a part, and the score of its validation, or None."""
    step, validation = step_of(state), None
    if validate and is_validated(plan, step):
        validation = {name: float(np.mean(np.asarray(value))) for name, value in validate(state.params).items()}
    record = summarise(step, history, validation)
    if (left_out := failure.skipped(state)) is not None:
        record["skipped"] = left_out
    return record, None if validation is None else score(validation)


def name_of(learner: MetaLearner) -> str:
    """The name of the function that made the learner, so far as its gradient tells."""
    gradient = learner.gradient
    function = gradient.loss if isinstance(gradient, LossGradient) else gradient
    return getattr(function, "__qualname__", "learner").partition(".")[0]
