"""A mean and its interval, over tasks or seeds."""

from typing import NamedTuple

import jax
import numpy as np
from scipy.special import stdtrit

from jax_meta.mean import widen


class Estimate(NamedTuple):
    """A mean and the half-width of its 95% interval: `mean ± half_width`."""

    mean: jax.Array | np.ndarray
    half_width: jax.Array | np.ndarray


def estimate(values: jax.Array | np.ndarray, *, axis: int = 0) -> Estimate:
    """The mean along an axis of independent values, with its 95% interval by Student's t, t(n - 1) s / √n.

    For 1,000 tasks t is 1.962, as good as the papers' 1.96; for five seeds it is 2.78.

    Args:
        values: one value a task, or a seed, along `axis`; at least two. Bools, integers and floats of fewer bits are
            taken in floats of at least 32.
        axis: the axis to average over. Default: the first.

    Returns:
        An `Estimate`, each field without `axis`. s is the sample standard deviation.

    Raises:
        ValueError: for fewer than two values.

    Example:
        >>> import jax.numpy as jnp, jax_meta
        >>> mean, half_width = jax_meta.estimate(jnp.array([1.0, 2.0, 3.0]))
        >>> assert mean == 2 and half_width > 1
    """
    values = widen(values)
    count = values.shape[axis]
    if count < 2:
        raise ValueError(f"an interval needs at least 2 values along axis {axis}, got {count}: evaluate on more tasks.")
    half_width = float(stdtrit(count - 1, 0.975)) / count**0.5 * values.std(axis=axis, ddof=1)
    return Estimate(values.mean(axis=axis), half_width)
