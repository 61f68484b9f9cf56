"""`convolution` is `flax.linen.Conv` in value, gradient and Hessian-vector product, in every formulation."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jax_meta.networks.convolution import ROLES, UNROLL_TASKS, convolution, form, on_any_platform, on_cpu
from jax_meta.networks.convolution_cpu import BY_PATCHES, BY_XLA, Geometry
from jax_meta.networks.trilinear import others

TOLERANCE = {"rtol": 1e-10, "atol": 1e-11}
CASES = {
    "same": ((6, 6), 4, (3, 3), 1, "SAME"),
    "one channel": ((6, 6), 1, (3, 3), 1, "SAME"),
    "strided": ((7, 6), 4, (3, 3), 2, "SAME"),
    "strided, one channel": ((8, 8), 1, (3, 3), 2, "SAME"),
    "valid": ((6, 5), 4, (3, 3), 1, "VALID"),
    "valid, windows short of the edge": ((6, 6), 4, (3, 3), 2, "VALID"),
    "oblong": ((5, 8), 4, (2, 3), (1, 2), "SAME"),
    "strides beyond the kernel": ((7, 7), 4, (1, 1), 3, "SAME"),
    "large kernel": ((4, 4), 2, (5, 4), 1, "SAME"),
}


def make(case, *, tasks=None, features=3, examples=2):
    image, channels, window, strides, padding = CASES[case]
    lead, generator = () if tasks is None else (tasks,), np.random.default_rng(0)
    images = generator.normal(size=(*lead, examples, *image, channels))
    kernel = generator.normal(size=(*lead, *window, channels, features))
    return images, kernel, {"strides": strides, "padding": padding}


def by_flax(images, kernel, *, strides, padding):
    module = nn.Conv(kernel.shape[-1], kernel.shape[:2], strides, padding, use_bias=False)
    return module.apply({"params": {"kernel": kernel}}, images)


def curved(function, options):
    """A loss with derivatives of every order in both arguments."""
    return lambda images, kernel: jnp.sum(jnp.sin(function(images, kernel, **options)) ** 2)


@pytest.mark.parametrize("case", CASES)
def test_value_gradient_and_hessian_vector_product_are_flax(case):
    images, kernel, options = make(case)
    directions = (jnp.cos(images), jnp.cos(kernel))

    @partial(jax.jit, static_argnums=0)
    def derivatives(function, images, kernel):
        gradient = jax.grad(curved(function, options), (0, 1))
        return function(images, kernel, **options), *jax.jvp(gradient, (images, kernel), directions)

    ours, theirs = (derivatives(function, images, kernel) for function in (convolution, by_flax))
    jax.tree.map(lambda a, b: assert_allclose(a, b, **TOLERANCE), ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_reverse_over_reverse_is_forward_over_reverse(case):
    images, kernel, options = make(case)
    gradient = jax.grad(curved(convolution, options), (0, 1))
    directions = (jnp.cos(images), jnp.cos(kernel))

    def slope(images, kernel):
        return sum(jnp.vdot(a, b) for a, b in zip(gradient(images, kernel), directions, strict=True))

    @jax.jit
    def both(images, kernel):
        return jax.jvp(gradient, (images, kernel), directions)[1], jax.grad(slope, (0, 1))(images, kernel)

    jax.tree.map(lambda a, b: assert_allclose(a, b, **TOLERANCE), *both(images, kernel))


@pytest.mark.parametrize("tasks", [3, UNROLL_TASKS + 1])
@pytest.mark.parametrize("case", ["same", "strided", "one channel"])
def test_vmap_is_a_loop_over_tasks(case, tasks):
    images, kernels, options = make(case, tasks=tasks)

    def hessian_vector_product(images, kernel):
        gradient = jax.grad(curved(convolution, options), 1)
        return jax.jvp(lambda kernel: gradient(images, kernel), (kernel,), (jnp.cos(kernel),))[1]

    for function in (hessian_vector_product, lambda images, kernel: convolution(images, kernel, **options)):
        single = jax.jit(function)
        loop = np.stack([single(*pair) for pair in zip(images, kernels, strict=True)])
        assert_allclose(jax.jit(jax.vmap(function))(images, kernels), loop, **TOLERANCE)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, None), (None, 3), (2, 1)])
def test_vmap_over_any_axis(axes):
    images, kernel, options = make("strided")
    inputs = [
        value if axis is None else np.stack([value, 2 * value], axis)
        for value, axis in zip((images, kernel), axes, strict=True)
    ]
    mapped = jax.jit(jax.vmap(lambda *pair: convolution(*pair, **options), axes))(*inputs)
    single = np.asarray(convolution(images, kernel, **options))
    factor = 2 ** sum(axis is not None for axis in axes)
    assert_allclose(mapped, np.stack([single, factor * single]), **TOLERANCE)


def test_nested_vmap_with_a_shared_kernel():
    images, kernel, options = make("same", tasks=4)
    grid = images.reshape(2, 2, *images.shape[1:])

    @jax.jit
    def single(images, kernel):
        return convolution(images, kernel, **options)

    mapped = jax.jit(jax.vmap(jax.vmap(single, (0, None)), (0, 0)))(grid, kernel[:2])
    for row in range(2):
        for column in range(2):
            assert_allclose(mapped[row, column], single(grid[row, column], kernel[row]), **TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_every_formulation_is_the_trilinear_form(case):
    images, kernel, options = make(case)

    @jax.jit
    def reference(images, kernel):
        outputs, transpose = jax.vjp(lambda *pair: by_flax(*pair, **options), images, kernel)
        cotangent = jnp.cos(outputs)
        return {"outputs": outputs, **dict(zip(("images", "kernel"), transpose(cotangent), strict=True))}, cotangent

    expected, cotangent = reference(images, kernel)
    strides = options["strides"] if isinstance(options["strides"], tuple) else (options["strides"],) * 2
    padding = tuple(jax.lax.padtype_to_pads(images.shape[1:3], kernel.shape[:2], strides, options["padding"]))
    geometry = Geometry(images.shape[1:3], kernel.shape[:2], strides, padding)
    known = {"images": images, "kernel": kernel, "outputs": cotangent}

    @jax.jit
    def formulations(known):
        results = {}
        for wanted in ROLES:
            pair = [known[role] for role in others(ROLES, wanted)]
            results[wanted] = [BY_XLA[wanted](*pair, geometry=geometry, row_step=row_step) for row_step in (1, 2)]
            results[wanted] += [BY_PATCHES[wanted](*pair, geometry=geometry)]
            results[wanted] += [form(wanted, {role: known[role][None] for role in others(ROLES, wanted)}, geometry)[0]]
        return results

    for wanted, results in formulations(known).items():
        for result in results:
            assert_allclose(result, expected[wanted], **TOLERANCE)


def test_the_lowering_of_other_platforms_agrees():
    images, kernels, _ = make("strided", tasks=3)
    geometry = Geometry((7, 6), (3, 3), (2, 2), ((1, 1), (0, 1)))
    options = {"wanted": "outputs", "geometry": geometry}
    ours, theirs = (jax.jit(partial(rule, **options))(images, kernels) for rule in (on_cpu, on_any_platform))
    assert_allclose(ours, theirs, **TOLERANCE)
    text = (
        jax.jit(lambda *pair: jax.vmap(convolution)(*pair)).trace(images, kernels).lower(lowering_platforms=("cuda",))
    )
    assert "feature_group_count = 3" in text.as_text()


def test_single_precision_agrees():
    images, kernel, options = make("same")
    single = np.float32(images), np.float32(kernel)
    result = convolution(*single, **options)
    assert result.dtype == jnp.float32
    exact = by_flax(*map(np.float64, single), **options)
    assert_allclose(result, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "kernel"),
    [
        (jnp.zeros((2, 4, 4, 3)), jnp.zeros((3, 3, 1, 5))),
        (jnp.zeros((2, 4, 4)), jnp.zeros((3, 3, 1, 5))),
        (jnp.zeros((2, 4, 4, 1), jnp.uint8), jnp.zeros((3, 3, 1, 5))),
    ],
)
def test_what_does_not_fit_is_refused(images, kernel):
    with pytest.raises(ValueError, match=r"convolution needs images"):
        convolution(images, kernel)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"does not fit into images"):
        convolution(jnp.zeros((1, 2, 2, 1)), jnp.zeros((3, 3, 1, 1)), padding="VALID")
