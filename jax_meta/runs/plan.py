"""When a run records, validates and saves."""

from typing import NamedTuple

from jax_meta.checks import check_num_steps


class Plan(NamedTuple):
    """When what happens, in meta-steps; every boundary is a multiple of `record_every`, or the end."""

    num_meta_steps: int
    record_every: int
    validate_every: int
    save_seconds: float


def is_validated(plan: Plan, step: int) -> bool:
    """Whether a meta-step is one for validation and a checkpoint: every so many, and the last."""
    return step % plan.validate_every == 0 or step == plan.num_meta_steps


def make_plan(num_meta_steps: int, record_every: int | None, validate_every: int | None, save_seconds: float) -> Plan:
    """The plan, with its defaults; raises ValueError for what does not fit together."""
    check_num_steps(num_meta_steps, "num_meta_steps")
    record_every = max(1, num_meta_steps // 200) if record_every is None else record_every
    validate_every = 10 * record_every if validate_every is None else validate_every
    if record_every < 1:
        raise ValueError(f"record_every must be 1 or more, got {record_every}.")
    if validate_every < 1 or validate_every % record_every:
        raise ValueError(f"validate_every must be a multiple of record_every, {record_every}, got {validate_every}.")
    if not save_seconds >= 0:
        raise ValueError(f"save_seconds must be 0 or more, got {save_seconds}.")
    return Plan(num_meta_steps, record_every, validate_every, save_seconds)
