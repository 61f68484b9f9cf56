"""Learning curves against a closed form, and intervals that cover what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_meta
from jax_meta import Task, transduction
from tests.learners import assert_equal

KEY = jax.random.key(0)
STEP_SIZE = 0.1


def distance(params, batch, key):
    """½ (θ - b)² + ½ (θ - c)², the mean over examples (b, c), with its parts as metrics."""
    del key
    first, second = ((params - centers) ** 2 / 2 for centers in batch)
    loss = (first + second).mean()
    return loss, {"loss": loss, "first": first.mean()}


LEARNER = jax_meta.maml(distance, optax.sgd(STEP_SIZE), num_steps=1)


def random_tasks(num_tasks):
    centers = jax.random.normal(KEY, (4, num_tasks, 3))
    return Task((centers[0], centers[1]), (centers[2], centers[3]))


@pytest.mark.parametrize("task_batch_size", [None, 1, 3, 7])
def test_curves_follow_the_closed_form_after_every_step(task_batch_size):
    """SGD contracts θ towards the mean m of the centers: θ_i = m + (1 - 2α)^i (θ_0 - m)."""
    tasks, start = random_tasks(7), 2.0
    curves = jax_meta.evaluate(
        LEARNER, distance, jnp.array(start), tasks, KEY, num_steps=6, task_batch_size=task_batch_size
    )
    assert curves.keys() == {"loss", "first"}
    mean = np.mean(np.asarray(tasks.support), axis=(0, 2))[:, None]
    params = mean + (1 - 2 * STEP_SIZE) ** np.arange(7) * (start - mean)
    first, second = ((params[:, :, None] - np.asarray(leaf)[:, None]) ** 2 / 2 for leaf in tasks.query)
    np.testing.assert_allclose(curves["first"], first.mean(axis=2), rtol=1e-12)
    np.testing.assert_allclose(curves["loss"], (first + second).mean(axis=2), rtol=1e-12)


def test_no_steps_measure_the_initialization():
    tasks = random_tasks(4)
    curves = jax_meta.evaluate(LEARNER, distance, jnp.array(1.0), tasks, KEY, num_steps=0)
    assert curves["loss"].shape == (4, 1)
    losses = [distance(1.0, jax.tree.map(lambda leaf, i=i: leaf[i], tasks.query), KEY)[0] for i in range(4)]
    np.testing.assert_allclose(curves["loss"][:, 0], losses, rtol=1e-12)


def with_nan(batch):
    """The batch of tasks with NaN in the first example of task 1."""
    return jax.tree.map(lambda leaf: leaf.at[1, 0].set(jnp.nan), batch)


def test_nan_before_the_first_step_is_an_error():
    tasks = random_tasks(3)
    with pytest.raises(FloatingPointError, match=r"1 of 3 tasks is NaN before the first inner step, of task 1.*labels"):
        jax_meta.evaluate(
            LEARNER, distance, jnp.array(2.0), tasks._replace(query=with_nan(tasks.query)), KEY, num_steps=2
        )


def test_parameters_that_are_nan_are_an_error():
    with pytest.raises(FloatingPointError, match=r"4 of 4 tasks is NaN.*meta-parameters"):
        jax_meta.evaluate(LEARNER, distance, jnp.array(jnp.nan), random_tasks(4), KEY, num_steps=1)


def test_nan_from_the_first_step_on_is_told():
    """An accuracy would be that of the first class there, which every row of NaN is taken for."""
    tasks = random_tasks(3)
    tasks = tasks._replace(support=with_nan(tasks.support))
    with pytest.warns(RuntimeWarning, match="1 of 3 tasks is NaN or infinite from inner step 1 on.*labels"):
        curves = jax_meta.evaluate(LEARNER, distance, jnp.array(2.0), tasks, KEY, num_steps=2)
    assert_equal(jnp.isfinite(curves["loss"]).all(axis=1), [True, False, True])


def test_a_learner_that_diverges_is_measured_to_the_end_and_told():
    """θ grows by 1e100 a step, and its square leaves double precision at the second."""
    learner = jax_meta.maml(distance, optax.sgd(-5e99), num_steps=1)
    with pytest.warns(RuntimeWarning, match=r"3 of 3 tasks is NaN or infinite from inner step 2 on.*diverges"):
        curves = jax_meta.evaluate(learner, distance, jnp.array(2.0), random_tasks(3), KEY, num_steps=4)
    assert jnp.isfinite(curves["loss"][:, :2]).all()


def test_what_is_traced_is_returned_as_it_is():
    learner = jax_meta.maml(distance, optax.sgd(-5e99), num_steps=1)
    measure = jax.jit(lambda start: jax_meta.evaluate(learner, distance, start, random_tasks(3), KEY, num_steps=4))
    assert not jnp.isfinite(measure(jnp.array(2.0))["loss"][:, 2:]).any()


def test_accuracies_of_nan_are_nan():
    task = Task((jnp.eye(2), jnp.arange(2)), (jnp.eye(2), jnp.zeros(2, int)))
    accuracies = transduction(lambda params, images: images @ params)(jnp.full((2, 2), jnp.nan), task, KEY)
    assert all(jnp.isnan(accuracy) for accuracy in accuracies.values())


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_estimate_is_student_s_interval(axis):
    values = np.random.default_rng(0).normal(size=(5, 5))
    mean, half_width = jax_meta.estimate(jnp.asarray(values), axis=axis)
    np.testing.assert_allclose(mean, values.mean(axis=axis), rtol=1e-12)
    # 2.776445 is the 97.5% quantile of Student's t with 4 degrees of freedom, as tables give it
    np.testing.assert_allclose(half_width, 2.776445 * values.std(axis=axis, ddof=1) / np.sqrt(5), rtol=1e-6)


@pytest.mark.parametrize("count", [3, 10, 200])
def test_intervals_cover_the_mean_95_times_in_100(count):
    draws = np.random.default_rng(count).normal(loc=1.0, size=(count, 20_000))
    mean, half_width = jax_meta.estimate(draws)
    covered = np.mean(np.abs(mean - 1.0) < half_width)
    assert abs(covered - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 20_000)


def normalised_apply(params, images):
    """Logits from images that are normalised by the batch at hand, as convolutional networks do it."""
    return (images - images.mean(axis=0, keepdims=True)) @ params


def test_transduction_measures_both_ways_to_classify():
    """Queries all of one class: together their mean takes the signal away, and each with the support set keeps it."""
    support = jnp.array([[2.0, 0.0], [0.0, 2.0]])
    query = jnp.array([[2.0, 0.1], [2.0, 0.3], [2.0, 0.2]])
    task = Task((support, jnp.arange(2)), (query, jnp.zeros(3, jnp.int32)))
    accuracies = transduction(normalised_apply)(jnp.eye(2), task, jax.random.key(0))
    expected = []
    for image in query:
        logits = normalised_apply(jnp.eye(2), jnp.concatenate([support, image[None]]))[-1]
        expected.append(logits.argmax() == 0)
    assert accuracies["inductive"] == np.mean(expected) == 1
    together = normalised_apply(jnp.eye(2), query).argmax(-1) == 0
    assert accuracies["transductive"] == np.mean(together)
    assert accuracies["transductive"] < 1


@pytest.mark.parametrize("task_batch_size", [None, 1, 2])
def test_learning_curves_see_the_support_set(task_batch_size):
    """The support loss, as `evaluate` would give it for tasks whose query set is their support set."""
    tasks = random_tasks(3)

    def measure(params, task, key):
        return {"support loss": distance(params, task.support, key)[0]}

    options = {"num_steps": 2, "task_batch_size": task_batch_size}
    curves = jax_meta.learning_curves(LEARNER, measure, jnp.array(2.0), tasks, KEY, **options)
    same = Task(tasks.support, tasks.support)
    expected = jax_meta.evaluate(LEARNER, distance, jnp.array(2.0), same, KEY, num_steps=2)["loss"]
    np.testing.assert_allclose(curves["support loss"], expected)
