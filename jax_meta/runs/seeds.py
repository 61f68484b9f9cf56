"""Many networks in one run: a state whose leaves have a leading `[seeds]` axis."""

import jax
import numpy as np
import optax

from jax_meta.base import MetaLearner, Metrics, Sampler, TrainState
from jax_meta.checks import leading_sizes
from jax_meta.outer import fit_unchecked


def check_seeds(state: TrainState) -> None:
    """Raises ValueError where a state is neither of one network nor of many at the same meta-step."""
    steps = np.asarray(state.step)
    if steps.ndim == 0:
        return
    if steps.ndim > 1 or not steps.size or np.any(steps != steps.flat[0]):
        raise ValueError(
            f"the state's step is {steps.tolist()}, and must be one number, or one for each seed, all equal: make the "
            "states of many seeds with jax.vmap of jax_meta.init over their parameters and keys."
        )
    leading_sizes(state, "the state", "seeds")


def fit_seeds(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_tasks: Sampler,
    states: TrainState,
    **options,
) -> tuple[TrainState, Metrics]:
    """`jax_meta.fit` for many networks at once, each with tasks of its own key: metrics `[seeds, num_meta_steps]`."""

    def fit_one(sample_tasks, state):
        return fit_unchecked(learner, optimizer, sample_tasks, state, **options)

    return jax.vmap(fit_one, in_axes=(None, 0))(sample_tasks, states)
