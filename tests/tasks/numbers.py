"""The smallest learner there is, of one number, and batches of tasks for it that NumPy draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_meta
from jax_meta import Task

KEY = jax.random.key(0)
NUM_TASKS = 2
OUTER = optax.sgd(0.1, momentum=0.5)


def distance(params, batch, key):
    """Half the mean squared distance of a number to those of the batch."""
    loss = ((batch[0] - params) ** 2).mean() / 2
    return loss, {"loss": loss}


LEARNER = jax_meta.maml(distance, optax.sgd(0.2), num_steps=1)


def start(params=3.0, key=KEY):
    params = jnp.asarray(params)
    return jax_meta.TrainState(params, OUTER.init(params), key, jnp.array(0, jnp.int32))


def as_task(numbers):
    """`[num_tasks, examples, 1]` in every place of a task."""
    return Task((numbers, numbers), (numbers, numbers))


def draw(rng, num_tasks):
    return as_task(rng.normal(1.0, size=(num_tasks, 3, 1)))


def batches(steps, key=KEY):
    """Those that `draw` makes for the first steps of the run of that key."""
    words = np.ravel(jax.random.key_data(key)).tolist()
    return [draw(np.random.default_rng([*words, step]), NUM_TASKS) for step in range(steps)]


def fit_tasks(steps, state=None, **options):
    """What any way to train on these batches must give."""
    tasks = jax.tree.map(lambda *leaves: np.stack(leaves), *batches(steps))
    return jax_meta.fit_tasks(LEARNER, OUTER, tasks, start() if state is None else state, **options)


fit = partial(jax_meta.fit, LEARNER, OUTER, num_tasks=NUM_TASKS)
train = partial(jax_meta.train, LEARNER, OUTER, num_tasks=NUM_TASKS, report=lambda progress: None)


def assert_same(left, right):
    """The same state, to the bit."""
    jax.tree.map(np.testing.assert_array_equal, left._replace(key=0), right._replace(key=0))
